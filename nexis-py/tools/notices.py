"""Writes the notices of every Rust crate whose code is compiled into the extension module.

    python notices.py FEATURES [cargo argument ...] > NOTICES

Which crates those are is cargo's own word (`cargo tree`, normal dependencies, this machine's platform); the texts are
the files that each crate carries. Crates with the same text stand above it together. A crate that names its licence
and carries no text is listed with its authors and where it comes from.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

# In the crate's own folder or one below; a licence of vendored code lies beside that code.
TEXT = re.compile(r"(licen[cs]e|copying|notice|unlicense|patents|copyright)([-._].*)?", re.IGNORECASE)
LONGEST = 1 << 20


def cargo(*arguments: str) -> str:
    return subprocess.run(["cargo", *arguments], check=True, capture_output=True, text=True).stdout


def texts(folder: Path) -> list[tuple[str, str]]:
    """Name and text of each licence file of a crate, in order."""
    found = []
    for path in sorted([*folder.iterdir(), *folder.glob("*/*")]):
        plain = path.is_file() and not path.is_symlink() and path.suffix not in {".rs", ".py", ".toml", ".json"}
        if plain and TEXT.fullmatch(path.name) and path.stat().st_size <= LONGEST:
            text = path.read_text(encoding="utf-8", errors="replace")
            lines = [line.rstrip() for line in text.splitlines()]
            found.append((path.name, "\n".join(lines).strip()))
    return found


def main(features: str, options: list[str]) -> None:
    tree = cargo("tree", "--locked", "-p", "nexis-py", "-e", "normal", "--features", features,
                 "--prefix", "none", "--format", "{p}", *options)
    wanted = {tuple(line.split()[:2]) for line in tree.splitlines() if line.strip()}
    # Of all features: what this build does not have, the tree does not name.
    metadata = cargo("metadata", "--locked", "--all-features", "--format-version", "1", *options)
    packages = json.loads(metadata)["packages"]
    crates = sorted(
        (p for p in packages if (p["name"], "v" + p["version"]) in wanted and p["source"] is not None),
        key=lambda p: (p["name"], p["version"]),
    )
    outside = len({name for name, _ in wanted}) - sum(p["source"] is None and (p["name"], "v" + p["version"]) in wanted
                                                     for p in packages)
    if not crates or len({p["name"] for p in crates}) != outside:
        sys.exit(f"notices: cargo tree names {outside} crates, cargo metadata has {len(crates)} of them")

    by_text: dict[str, list[str]] = defaultdict(list)
    bare = []
    print("Compiled into this distribution's extension module, with the licences under which they are offered:\n")
    for crate in crates:
        label = f"{crate['name']} {crate['version']}"
        print(f"  {label}: {crate['license'] or 'see its licence file'}")
        files = texts(Path(crate["manifest_path"]).parent)
        for _, text in files:
            if label not in by_text[text]:
                by_text[text].append(label)
        if not files:
            bare.append(crate)
    if bare:
        print("\nThese carry no licence text of their own beside the name above:\n")
        for crate in bare:
            authors = ", ".join(crate["authors"]) or "no authors named"
            print(f"  {crate['name']} {crate['version']} ({authors}) {crate['repository'] or ''}".rstrip())
    for text, labels in sorted(by_text.items(), key=lambda item: item[1]):
        print("\n" + "=" * 80 + "\n" + ", ".join(labels) + "\n" + "-" * 80 + "\n" + text)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])

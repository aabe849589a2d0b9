"""Writes `python/nexis/_nexis.pyi` from the extension module itself.

`python tools/stubs.py` writes the file; with `--check` it writes nothing and fails where the file would change.
Other arguments go to maturin, such as `--profile release`.

PyO3 leaves in a library built with the feature `stubs` what it knows of each class and function, and
`maturin generate-stubs` reads that out; a type that Rust does not tell stands in the function's
`#[pyo3(signature = ...)]`. This script adds what both leave to others: imports for those types, and the constants
that are set when the module is loaded, which it takes from the installed one.
"""

from __future__ import annotations

import argparse
import difflib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

CRATE = Path(__file__).resolve().parent.parent
STUB = CRATE / "python" / "nexis" / "_nexis.pyi"
HEADER = "# Written by tools/stubs.py; change the Rust side and run it again.\n"
IMPORTS = {
    "Any": "from typing import Any",
    "Callable": "from collections.abc import Callable",
    "Mapping": "from collections.abc import Mapping",
    "NDArray": "from numpy.typing import NDArray",
    "Sequence": "from collections.abc import Sequence",
    "numpy": "import numpy",
}
BY_PYTHON = {"__all__", "__doc__", "__file__", "__loader__", "__name__", "__package__", "__spec__"}
INCOMPLETE = re.compile(r"^def __getattr__\(name: str\) -> Incomplete: \.\.\.\n", re.MULTILINE)


def introspect(arguments: list[str]) -> str:
    """The stub as maturin writes it."""
    with tempfile.TemporaryDirectory() as out:
        command = [
            sys.executable,
            "-m",
            "maturin",
            "generate-stubs",
            "--quiet",
            "--features",
            "stubs",
            "--out",
            out,
        ]
        command += ["--manifest-path", str(CRATE / "Cargo.toml"), *arguments]
        subprocess.run(command, check=True)
        stubs = [path for path in Path(out).rglob("*.pyi") if path.read_text().strip()]
        if len(stubs) != 1:
            raise SystemExit(f"one stub was expected of maturin, not {len(stubs)}: {stubs}")
        return stubs[0].read_text()


def constants(text: str) -> list[str]:
    """What the module has and introspection does not see: what is set when it is loaded."""
    from nexis import _nexis

    names = "".join(f'    "{name}",\n' for name in sorted(_nexis.__all__))
    lines = [f"__all__ = [\n{names}]\n"]
    for name, value in sorted(vars(_nexis).items()):
        if name in BY_PYTHON or re.search(rf"^(class|def) {name}\b|^{name}:", text, re.MULTILINE):
            continue
        if type(value) not in (str, int):
            raise SystemExit(f"_nexis.{name} is not described: give it a place in the #[pymodule]")
        lines.append(f"{name}: {type(value).__name__}")
    return lines


def merged(imports: list[str]) -> list[str]:
    """One line for each module, as a block."""
    names: dict[str, set[str]] = {}
    for line in imports:
        module, _, of_module = line.removeprefix("from ").removeprefix("import ").partition(" import ")
        names.setdefault(module, set()).update(filter(None, re.split(r",\s*", of_module)))
    lines = [
        f"from {m} import {', '.join(sorted(n))}" if n else f"import {m}" for m, n in sorted(names.items())
    ]
    return ["\n".join(lines)]


def finish(text: str) -> str:
    """Whole and importable: quotes off, imports in, nothing left open."""
    text = re.sub(r'(: |-> )"([^"\n]+)"', r"\1\2", text)
    text = INCOMPLETE.sub("", text)
    lines = text.splitlines()
    imports = [line for line in lines if line.startswith(("from ", "import "))]
    body = "\n".join(line for line in lines if line not in imports).strip("\n")
    if "Incomplete" in body:
        raise SystemExit("a type is not told: write it into the #[pyo3(signature = ...)]")
    imports = [re.sub(r"\bIncomplete, |, Incomplete\b", "", line) for line in imports]
    imports = [line for line in imports if not line.endswith("import Incomplete")]
    imported = {name for line in imports for name in re.findall(r"\w+", line.partition("import")[2])}
    for name, statement in IMPORTS.items():
        if name not in imported and re.search(rf"\b{name}\b", body):
            imports.append(statement)
    return HEADER + "\n\n".join([*merged(imports), "\n".join(constants(text)), body]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Write the extension's type stub, or check that it is up to date."
    )
    parser.add_argument("--check", action="store_true", help="fail where the file would change")
    options, arguments = parser.parse_known_args()
    wanted = finish(introspect(arguments))
    found = STUB.read_text() if STUB.exists() else ""
    if not options.check:
        STUB.write_text(wanted)
        return 0
    if wanted == found:
        return 0
    lines = difflib.unified_diff(found.splitlines(), wanted.splitlines(), str(STUB), "as built", lineterm="")
    print("\n".join(lines))
    return 1


if __name__ == "__main__":
    sys.exit(main())

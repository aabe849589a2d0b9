"""Writes `python/nexis/_nexis.pyi` from the extension module itself.

    python tools/stubs.py            writes the file
    python tools/stubs.py --check    writes nothing, and fails where the file would change

PyO3 leaves in a library built with the feature `stubs` what it knows of each class and function, and
`maturin generate-stubs` reads that out; a type that Rust does not tell stands in the function's
`#[pyo3(signature = ...)]`. This script adds what both leave to others: the import of `typing`, and the exceptions,
which it takes from the installed module.
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
INCOMPLETE = re.compile(r"^def __getattr__\(name: str\) -> Incomplete: \.\.\.\n", re.MULTILINE)


def introspect(arguments: list[str]) -> str:
    """The stub as maturin writes it."""
    with tempfile.TemporaryDirectory() as out:
        command = ["maturin", "generate-stubs", "--quiet", "--features", "stubs", "--out", out, *arguments]
        subprocess.run([*command, "--manifest-path", str(CRATE / "Cargo.toml")], check=True)
        stubs = [path for path in Path(out).rglob("*.pyi") if path.read_text().strip()]
        if len(stubs) != 1:
            raise SystemExit(f"one stub was expected of maturin, not {len(stubs)}: {stubs}")
        return stubs[0].read_text()


def exceptions() -> list[str]:
    """The exception classes of the installed module, bases before what derives from them."""
    from nexis import _nexis

    classes = [
        value
        for value in vars(_nexis).values()
        if isinstance(value, type) and issubclass(value, BaseException)
    ]
    classes.sort(key=lambda c: (len(c.__mro__), c.__name__))
    return [f"class {c.__name__}({', '.join(b.__name__ for b in c.__bases__)}): ..." for c in classes]


def finish(text: str) -> str:
    """Whole and importable: quotes off, imports and exceptions in."""
    text = re.sub(r'(: |-> )"([^"\n]+)"', r"\1\2", text)
    classes = exceptions()
    text = INCOMPLETE.sub("", text)
    if "Incomplete" not in text.replace("import Incomplete", ""):
        text = re.sub(r"(from _typeshed import .*)Incomplete, ", r"\1", text)
        text = re.sub(r"from _typeshed import Incomplete\n", "", text)
    lines = text.splitlines()
    imports = [line for line in lines if line.startswith(("from ", "import "))]
    body = "\n".join(line for line in lines if line not in imports).strip("\n")
    if re.search(r"\btyping\.", body) and "import typing" not in imports:
        imports.append("import typing")
    imports.sort(key=lambda line: line.split()[1])
    return HEADER + "\n".join(imports) + "\n\n" + "\n\n".join([*classes, body]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the extension's type stub, or check that it is up to date.")
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

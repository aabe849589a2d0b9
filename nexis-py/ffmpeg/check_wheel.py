"""Checks a wheel before anybody gets it: what is in it, and which libraries its module asks for.

    python check_wheel.py WHEEL yes|no

`yes`: FFmpeg is inside, so nothing but the C and C++ runtimes may be asked for.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

RUNTIMES = re.compile(r"(libc|libm|libdl|libpthread|librt)\.so\.\d+|libgcc_s\.so\.1|libstdc\+\+\.so\.6|ld-linux[-\w]*\.so\.\d+")
NEEDED_FILES = ("nexis/__init__.py", "nexis/py.typed", "nexis/models/registry.toml", "nexis/models/demo/card.toml")


def main(wheel: Path, static: bool) -> None:
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        names = archive.namelist()
        missing = [name for name in NEEDED_FILES if name not in names]
        if not any(re.fullmatch(r"nexis/models/demo/.*\.safetensors", name) for name in names):
            missing.append("the weights of nexis/models/demo")
        notices = ["/LICENSE", "/OPENH264-BSD-2-Clause.txt", "/RUST-CRATES-NOTICES.txt"] + (["/FFMPEG-NOTICE.txt"] if static else [])
        missing += [notice for notice in notices if not any(name.endswith(notice) for name in names)]
        if missing:
            sys.exit(f"{wheel.name} lacks {', '.join(missing)}")
        unwanted = [name for name in names if "/train/" in name or "__pycache__" in name]
        if unwanted:
            sys.exit(f"{wheel.name} has what nobody needs: {', '.join(unwanted[:5])}")
        modules = [name for name in names if re.fullmatch(r"nexis/_nexis\b.*\.(so|dylib)", name)]
        if len(modules) != 1:
            sys.exit(f"{wheel.name} has {len(modules)} extension modules, not one")
        module = archive.extract(modules[0], folder)
        if not module.endswith(".so"):
            print(f"{wheel.name}: {len(names)} files; what its module links to was not looked at")
            return
        text = subprocess.run(["readelf", "-d", module], check=True, capture_output=True, text=True).stdout
    asked = re.findall(r"\(NEEDED\).*\[(.+)\]", text)
    others = [name for name in asked if not RUNTIMES.fullmatch(name)]
    if static and others:
        sys.exit(f"{wheel.name} needs libraries that it does not bring: {', '.join(others)}")
    print(f"{wheel.name}: {len(names)} files; its module needs {', '.join(asked)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), {"yes": True, "no": False}[sys.argv[2]])

"""What the type checker is told is what is there."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nexis
import pytest

CRATE = Path(__file__).resolve().parents[1]
PROFILE = [f"--profile={name}" for name in [os.environ.get("NEXIS_STUBS_PROFILE")] if name]
STUB = CRATE / "python" / "nexis" / "_nexis.pyi"


def may_write_anew() -> None:
    """Writing the stub anew compiles the extension once more, so it is done where it is asked for: the stub against
    the extension that is installed is compared in any case, by `test_stubs_and_modules_agree`."""
    if not PROFILE:
        pytest.skip("set NEXIS_STUBS_PROFILE to dev or release to write the stub anew")
    if importlib.util.find_spec("maturin") is None or shutil.which("cargo") is None:
        pytest.skip("maturin and cargo are needed to write the stub anew")


def test_the_package_is_marked_as_typed() -> None:
    folder = Path(nexis.__file__).parent
    assert (folder / "py.typed").is_file() and (folder / "_nexis.pyi").is_file()
    assert (folder / "_nexis.pyi").read_text() == STUB.read_text()


def test_stubs_and_modules_agree() -> None:
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    command = [sys.executable, "-m", "mypy.stubtest", "nexis"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CRATE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_stub_is_what_the_rust_side_says() -> None:
    may_write_anew()
    command = [sys.executable, str(CRATE / "tools" / "stubs.py"), "--check", *PROFILE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_changed_stub_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_write_anew()
    spec = importlib.util.spec_from_file_location("stubs", CRATE / "tools" / "stubs.py")
    assert spec is not None and spec.loader is not None
    stubs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stubs)
    changed = tmp_path / "_nexis.pyi"
    changed.write_text(re.sub(r"^def interval_seed\(.*\n", "", STUB.read_text(), flags=re.MULTILINE))
    assert changed.read_text() != STUB.read_text()
    monkeypatch.setattr(stubs, "STUB", changed)
    monkeypatch.setattr(sys, "argv", ["stubs.py", "--check", *PROFILE])
    assert stubs.main() == 1

"""The examples run, and use every public name."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import nexis
import nexis.protocol
import pytest

CRATE = Path(__file__).resolve().parents[1]
EXAMPLES = CRATE / "examples"


def run(name: str, *arguments: object, cwd: Path, **environment: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **environment}, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def names_used(source: str, package: str, *, module: str) -> set[str]:
    """The attributes of `package` that are read, and the names imported from `module`."""
    used = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == package:
            used.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and node.module == module:
            used.update(alias.name for alias in node.names)
    return used


def test_every_public_name_is_used() -> None:
    source = (EXAMPLES / "every_name.py").read_text(encoding="utf-8")
    assert set(nexis.__all__) - names_used(source, "nexis", module="nexis") == set()
    of_protocol = names_used(source, "protocol", module="nexis.protocol")
    assert set(nexis.protocol.__all__) - of_protocol == set()


def test_a_name_that_is_not_used_is_found() -> None:
    source = "import nexis\nfrom nexis.protocol import score\nnexis.verify(nexis.protocol)\n"
    assert names_used(source, "nexis", module="nexis") == {"verify", "protocol"}
    assert names_used(source, "protocol", module="nexis.protocol") == {"score"}


def test_every_name_runs(honest: Path, tmp_path: Path) -> None:
    assert "accept" in run("every_name.py", honest, cwd=tmp_path)


def test_check_a_package_draws_its_curve(buckets: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "curve.png"
    said = run("check_a_package.py", buckets, picture, cwd=tmp_path)
    assert picture.read_bytes().startswith(b"\x89PNG")
    report = nexis.verify(buckets, all_rows=True, progress=False)
    for submission in report.submissions:
        assert f"{submission.miner_hotkey} {submission.verdict}" in said
    honest_rows = sum(len(s.rows) for s in report.submissions if s.accepted)
    assert f"{honest_rows} right pairs, {honest_rows * (honest_rows - 1)} wrong pairs" in said
    # The curve falls from everything to nothing: every pair reaches 0, and a higher threshold accepts no more.
    table = re.findall(r"^ +(\d\.\d\d) +(\d+)% +(\d+)%$", said, re.MULTILINE)
    assert [float(t) for t, _, _ in table] == pytest.approx([step / 10 for step in range(11)])
    for column in (1, 2):
        shares = [int(line[column]) for line in table]
        assert shares[0] == 100 and shares == sorted(shares, reverse=True)


def test_the_curve_is_printed_without_matplotlib(buckets: Path, tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError('not installed')\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    said = run("check_a_package.py", buckets, cwd=tmp_path, PYTHONPATH=path)
    assert "install matplotlib" in said and "threshold  right  wrong" in said


@pytest.mark.parametrize("name", ["every_name.py", "check_a_package.py"])
def test_the_examples_are_typed(name: str) -> None:
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", str(EXAMPLES / name)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CRATE, check=False)
    assert done.returncode == 0, done.stdout

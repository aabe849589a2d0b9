"""What the tests share: fixtures of the repository, and packages that the `nexis` program draws."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
VECTORS = REPOSITORY / "tests" / "vectors"
MEDIA = REPOSITORY / "tests" / "fixtures" / "media"

HONEST = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
CHEAT = "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty"
INTERVAL = 7_756_900


def _has_models() -> bool:
    found = importlib.util.find_spec("nexis")
    folders = found.submodule_search_locations if found is not None else None
    return any((Path(folder) / "models" / "registry.toml").is_file() for folder in folders or ())


# A wheel brings its models. A development install takes those of the repository.
if not _has_models():
    os.environ.setdefault("NEXIS_MODELS", str(REPOSITORY / "models"))


def _binary() -> Path | None:
    named = os.environ.get("NEXIS_BINARY")
    if named:
        return Path(named)
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    built = (target / profile / "nexis" for profile in ("release", "debug"))
    return next((path for path in built if path.is_file()), None)


@pytest.fixture(scope="session")
def binary() -> Path:
    """The `nexis` program: `NEXIS_BINARY`, else what cargo built last."""
    path = _binary()
    if path is None:
        pytest.skip("no nexis program: set NEXIS_BINARY, or run cargo build --release -p nexis-node")
    assert path.is_file(), f"NEXIS_BINARY names {path}, which is not there"
    return path


@pytest.fixture(scope="session")
def buckets(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two miners' buckets of one interval: an honest one, and one whose clip is not the clip of its digest."""
    folder = tmp_path_factory.mktemp("buckets")
    for hotkey, more in (
        (HONEST, ["--seed", "610008", "--rows", "2"]),
        (CHEAT, ["--seed", "700000", "--rows", "1", "--attack", "clip_sha256_mismatch"]),
    ):
        synth = [binary, "synth", "package", "--hotkey", hotkey, "--interval", str(INTERVAL)]
        subprocess.run([*synth, *more, "--out", folder], check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="session")
def honest(buckets: Path) -> Path:
    """The honest miner's interval folder."""
    return buckets / HONEST.lower() / str(INTERVAL)


@pytest.fixture(scope="session")
def clip(honest: Path) -> Path:
    """A clip of the honest miner's: five seconds of 1280x720."""
    return min((honest / "clips").iterdir())

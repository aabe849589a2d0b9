"""The network's two checks, decided here: same calls, same codes as the whole verifier."""

from __future__ import annotations

import io
import logging
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nexis
import pytest
from conftest import HONEST, INTERVAL
from nexis.compat import CaptionSemanticChecker, NatureCategoryChecker

Image = pytest.importorskip("PIL.Image")
parquet = pytest.importorskip("pyarrow.parquet")

# As a validator of the network writes the two calls.
HOSTED_CAPTION: dict[str, Any] = {
    "enabled": True,
    "api_key": "sk-secret",
    "model": "gpt-4o-mini",
    "timeout_sec": 20,
    "max_samples": 8,
    "provider": "openai",
    "base_url": None,
}
HOSTED_CATEGORY: dict[str, Any] = {
    "enabled": True,
    "api_key": "",
    "timeout_sec": 20,
    "max_samples": 8,
    "base_url": "https://example.org/v1/",
    "model": "gemini-flash",
}
ATTACKS = [
    None,
    "caption_semantic_injection_keyword",
    "caption_semantic_mismatch",
    "category_caption_reject",
    "category_strict_reject",
]


@pytest.fixture(scope="module")
def verifier() -> nexis.Verifier:
    return nexis.Verifier()


@pytest.fixture(scope="module")
def package(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str | None], Path]:
    """Makes the interval folder of a package with a fault, once each."""
    root = tmp_path_factory.mktemp("packages")

    def make(attack: str | None) -> Path:
        out = root / (attack or "honest")
        if not out.exists():
            synth = [str(binary), "synth", "package", "--hotkey", HONEST, "--interval", str(INTERVAL)]
            synth += ["--seed", "610008", "--rows", "2", "--out", str(out)]
            synth += ["--attack", attack] if attack else []
            subprocess.run(synth, check=True, stdout=subprocess.DEVNULL)
        return out / HONEST.lower() / str(INTERVAL)

    return make


def rows_of(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = parquet.read_table(folder / "dataset.parquet").to_pylist()
    return rows


def frames_of(folder: Path, rows: list[dict[str, Any]], out: Path) -> dict[str, list[Path]]:
    """Six frames of each clip as PNG and the first-frame picture after them, as validators of the network do."""
    paths: dict[str, list[Path]] = {}
    for row in rows:
        taken = out / row["clip_id"]
        taken.mkdir(parents=True, exist_ok=True)
        paths[row["clip_id"]] = []
        for number, frame in enumerate(nexis.decode(folder / row["clip_uri"])):
            path = taken / f"{number}.png"
            Image.fromarray(frame).save(path)
            paths[row["clip_id"]].append(path)
        paths[row["clip_id"]].append(folder / row["first_frame_uri"])
    return paths


def expected_codes(report: nexis.Report) -> dict[str, list[str]]:
    """The verifier's codes of phases 6 and 7 by class of check. The network stops at an injected caption."""
    codes = [code for submission in report.submissions for code in submission.failures]
    injected = {
        code.split(":")[1] for code in codes if code.startswith("caption_semantic_injection_keyword:")
    }
    caption = [
        code
        for code in codes
        if code.startswith("caption_semantic_")
        and not (code.startswith("caption_semantic_mismatch:") and code.split(":")[1] in injected)
    ]
    return {"caption": sorted(caption), "category": sorted(c for c in codes if c.startswith("category_"))}


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_a_row_earns_the_codes_that_its_clip_earns(
    attack: str | None,
    package: Callable[[str | None], Path],
    verifier: nexis.Verifier,
    tmp_path: Path,
) -> None:
    folder = package(attack)
    rows = rows_of(folder)
    frames = frames_of(folder, rows, tmp_path)
    expected = expected_codes(verifier.verify(folder, all_rows=True, progress=False))
    captions = CaptionSemanticChecker(**HOSTED_CAPTION, verifier=verifier)
    categories = NatureCategoryChecker(**HOSTED_CATEGORY, verifier=verifier)
    for sampled in (rows, [SimpleNamespace(**row) for row in rows]):
        found = captions.check(sampled=sampled, frame_paths_by_clip_id=frames)
        assert sorted(found) == expected["caption"]
        found += categories.check(sampled=sampled, frame_paths_by_clip_id=frames)
        assert sorted(found) == sorted(expected["caption"] + expected["category"])
        assert attack is None or attack in {code.split(":")[0] for code in found}


def test_scores_of_frames_are_the_clips(
    package: Callable[[str | None], Path], verifier: nexis.Verifier, tmp_path: Path
) -> None:
    folder = package(None)
    row = rows_of(folder)[0]
    clip = folder / row["clip_uri"]
    of_clip, of_labels = verifier.score(clip, row["caption"]), verifier.classify(clip)
    pictures = frames_of(folder, [row], tmp_path)[row["clip_id"]][:6]
    for frames in (nexis.decode(clip), list(nexis.decode(clip)), [Image.open(path) for path in pictures]):
        of_frames = verifier.score_frames(frames, row["caption"])
        assert of_frames.alignment == of_clip.alignment
        assert of_frames.category == of_clip.category
        assert of_frames.verdict == of_clip.verdict
        found = verifier.classify_frames(frames)
        assert found.decision == of_labels.decision
        assert (found.nature_score, found.rival_score, found.margin) == (
            of_labels.nature_score,
            of_labels.rival_score,
            of_labels.margin,
        )


def test_frames_that_are_none_are_refused(verifier: nexis.Verifier) -> None:
    numpy = pytest.importorskip("numpy")
    wide, tall = numpy.zeros((36, 64, 3), "uint8"), numpy.zeros((64, 36, 3), "uint8")
    for frames in ([], [wide, tall], "frames", numpy.zeros((2, 8, 8, 3), "float32")):
        with pytest.raises((TypeError, ValueError)):
            verifier.score_frames(frames, "a calm lake below green hills")
    # Labels are per frame, and too few frames decide nothing.
    few = verifier.classify_frames([wide, wide])
    assert few.decision == "reject" and few.nature_score is None


def test_codes_come_in_the_order_of_the_rows(
    package: Callable[[str | None], Path], verifier: nexis.Verifier
) -> None:
    row = rows_of(package(None))[0]
    sampled = [
        {**row, "clip_id": name, "caption": f"{row['caption']} It is a {word}."}
        for name, word in (("z", "match"), ("a", "lake"), ("m", "True"))
    ]
    checker = CaptionSemanticChecker(verifier=verifier)
    assert checker.check(sampled=sampled, frame_paths_by_clip_id={}) == [
        "caption_semantic_injection_keyword:z",
        "caption_semantic_injection_keyword:m",
    ]


def test_missing_frames(
    package: Callable[[str | None], Path], verifier: nexis.Verifier, tmp_path: Path
) -> None:
    folder = package(None)
    row = rows_of(folder)[0]
    clip = row["clip_id"]
    all_frames = frames_of(folder, [row], tmp_path)[clip]
    captions = CaptionSemanticChecker(verifier=verifier)
    categories = NatureCategoryChecker(verifier=verifier)
    missing = [f"category_strict_frames_missing:{clip}"]
    two = [all_frames[0], all_frames[1], all_frames[0], tmp_path / "nowhere.png"]
    none: list[dict[str, list[Path]]] = [{}, {clip: []}, {clip: [tmp_path / "nowhere.png"]}]
    for frames in none:
        assert captions.check(sampled=[row], frame_paths_by_clip_id=frames) == []
        assert categories.check(sampled=[row], frame_paths_by_clip_id=frames) == missing
    assert categories.check(sampled=[row], frame_paths_by_clip_id={clip: two}) == missing
    # Three are enough, whatever form the paths have.
    three = [str(path) for path in all_frames[2:5]]
    six = categories.check(sampled=[row], frame_paths_by_clip_id={clip: all_frames})
    assert categories.check(sampled=[row], frame_paths_by_clip_id={clip: three}) == six
    # The gate needs no frames.
    city = rows_of(package("category_caption_reject"))[0]
    assert categories.check(sampled=[city], frame_paths_by_clip_id={}) == [
        f"category_caption_reject:{city['clip_id']}"
    ]


def test_what_the_network_switches_off_is_off(
    package: Callable[[str | None], Path], verifier: nexis.Verifier
) -> None:
    row = {**rows_of(package(None))[0], "caption": "This is a match."}
    for checker in (CaptionSemanticChecker, NatureCategoryChecker):
        for off in ({"enabled": False}, {"max_samples": 0}, {"max_samples": -3}):
            # A model that is not there is not asked for either.
            disabled = checker(local_model="no-such-model", **off)
            assert not disabled.active
            assert disabled.check(sampled=[row], frame_paths_by_clip_id={}) == []
        # Unlike a hosted check, a local one needs no key.
        assert checker(enabled=True, api_key="", max_samples=1).active
    several = [{**row, "clip_id": name} for name in "abc"]
    some = CaptionSemanticChecker(max_samples=2, verifier=verifier)
    assert [c[-1] for c in some.check(sampled=several, frame_paths_by_clip_id={})] == ["a", "b"]
    # A row that has nothing to look at is none of the samples.
    plain = {**row, "clip_id": "p", "caption": "A lake."}
    found = some.check(sampled=[plain, plain, *several], frame_paths_by_clip_id={})
    assert [c[-1] for c in found] == ["a", "b"]


def test_our_troubles_are_not_the_miners(
    package: Callable[[str | None], Path],
    verifier: nexis.Verifier,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = package(None)
    rows = rows_of(folder)[:2]
    frames = frames_of(folder, rows, tmp_path)
    one, two = (row["clip_id"] for row in rows)
    good = frames[one][2].read_bytes()
    for garbage in (b"", b"no picture", good[: len(good) // 2]):
        frames[one][2].write_bytes(garbage)
        for kind in (CaptionSemanticChecker, NatureCategoryChecker):
            with pytest.raises(nexis.CouldNotCheck, match=one) as caught:
                kind(verifier=verifier).check(sampled=rows, frame_paths_by_clip_id=frames)
            assert caught.value.__cause__ is not None
            # Let pass, and said; the other rows are judged as ever.
            caplog.clear()
            passing = kind(verifier=verifier, on_error="pass")
            found = passing.check(sampled=rows, frame_paths_by_clip_id=frames)
            alone = passing.check(sampled=rows[1:], frame_paths_by_clip_id={two: frames[two]})
            assert found == alone
            assert any(one in r.getMessage() and r.levelno == logging.ERROR for r in caplog.records)
    # The miner's own picture is no frame of ours: a damaged one is a frame that is not there.
    shutil.copytree(folder, tmp_path / "copy")
    picture = tmp_path / "copy" / rows[0]["first_frame_uri"]
    picture.write_bytes(b"no picture")
    only = {one: [frames[one][0], frames[one][1], picture]}
    assert (
        CaptionSemanticChecker(verifier=verifier).check(
            sampled=rows[:1], frame_paths_by_clip_id={one: [picture]}
        )
        == []
    )
    assert NatureCategoryChecker(verifier=verifier).check(sampled=rows[:1], frame_paths_by_clip_id=only) == [
        f"category_strict_frames_missing:{one}"
    ]


@pytest.mark.parametrize("kind", [CaptionSemanticChecker, NatureCategoryChecker])
def test_a_missing_model_is_ours(kind: Any, tmp_path: Path) -> None:
    row = {"clip_id": "c", "caption": "A calm lake.", "first_frame_uri": "frames/c.jpg"}
    picture = tmp_path / "c.png"
    Image.new("RGB", (64, 36)).save(picture)
    for model in ("no-such-model", tmp_path):
        checker = kind(local_model=model)
        with pytest.raises(nexis.CouldNotCheck):
            checker.check(sampled=[row], frame_paths_by_clip_id={"c": [picture]})
        with pytest.raises(nexis.CouldNotCheck):
            checker.load()
        lenient = kind(local_model=model, on_error="pass")
        assert lenient.check(sampled=[row], frame_paths_by_clip_id={"c": [picture]}) == []
        with pytest.raises(nexis.CouldNotCheck):
            lenient.load()
    with pytest.raises(ValueError, match="on_error"):
        kind(on_error="ignore")
    with pytest.raises(TypeError):
        kind(no_such_setting=1)


def test_wrong_use_is_explained(verifier: nexis.Verifier) -> None:
    checker = CaptionSemanticChecker(verifier=verifier)
    row = {"clip_id": "c", "caption": "A calm lake."}
    for sampled in ([{"clip_id": "c"}], [{"caption": "A lake."}], [3], [{**row, "caption": None}], 3):
        with pytest.raises(TypeError):
            checker.check(sampled=sampled, frame_paths_by_clip_id={})  # type: ignore[arg-type]
    wrong: list[Any] = [{"c": "c.png"}, {"c": Path("c.png")}, {"c": [3]}]
    for frames in wrong:
        with pytest.raises(TypeError):
            checker.check(sampled=[row], frame_paths_by_clip_id=frames)


def test_a_key_is_never_written(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "nexis"):
        CaptionSemanticChecker(**HOSTED_CAPTION)
        CaptionSemanticChecker(api_keys=["sk-other"])
    assert "api_key" in caplog.text and "sk-secret" not in caplog.text and "sk-other" not in caplog.text


def test_a_demonstration_says_so(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nexis.verifier._shared", {})
    made = CaptionSemanticChecker().load()
    # Both checks share one copy of the model.
    assert NatureCategoryChecker().load() is made
    warned = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warned) == 1 and (made.environment.notice or "?") in warned[0].getMessage()


def test_pictures_are_told_by_their_bytes(
    package: Callable[[str | None], Path], verifier: nexis.Verifier, tmp_path: Path
) -> None:
    # A validator may name its PNG files .jpg; a file that is neither is refused before it is decoded.
    folder = package(None)
    row = rows_of(folder)[0]
    clip = row["clip_id"]
    frames = frames_of(folder, [row], tmp_path)[clip]
    checker = CaptionSemanticChecker(verifier=verifier)
    plain = checker.check(sampled=[row], frame_paths_by_clip_id={clip: frames})
    renamed = [path.rename(path.with_suffix(".jpg")) for path in frames[:6]]
    assert checker.check(sampled=[row], frame_paths_by_clip_id={clip: renamed}) == plain
    bomb = io.BytesIO()
    Image.new("L", (8000, 8000)).save(bomb, "PNG")
    renamed[0].write_bytes(bomb.getvalue())
    with pytest.raises(nexis.CouldNotCheck, match="8000"):
        checker.check(sampled=[row], frame_paths_by_clip_id={clip: renamed})


BESIDE = """
    import sys
    from nexis.validator import caption_semantic
    from nexis_verify.compat import CaptionSemanticChecker, NatureCategoryChecker
    import nexis, nexis_verify

    assert caption_semantic.WHOSE == "the network's" and not hasattr(nexis, "verify")
    row = {"clip_id": "c", "caption": "This is a match.", "first_frame_uri": "frames/c.jpg"}
    for kind in (CaptionSemanticChecker, NatureCategoryChecker):
        print(*kind(enabled=True).check(sampled=[row], frame_paths_by_clip_id={}))
    try:
        CaptionSemanticChecker(local_model="no-such-model").load()
    except nexis_verify.CouldNotCheck as error:
        print(type(error).__name__)
"""


def test_it_works_beside_a_package_of_the_same_name(tmp_path: Path) -> None:
    # The network's own package is imported as `nexis` too: README, "Beside the network's own package".
    ours = Path(nexis.__file__).parent
    shutil.copytree(ours, tmp_path / "nexis_verify", ignore=shutil.ignore_patterns("__pycache__"))
    theirs = tmp_path / "nexis" / "validator"
    theirs.mkdir(parents=True)
    (theirs.parent / "__init__.py").touch()
    (theirs / "__init__.py").touch()
    (theirs / "caption_semantic.py").write_text('WHOSE = "the network\'s"\n')
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BESIDE)],
        capture_output=True, text=True, cwd=tmp_path, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()
    assert lines[0] == "caption_semantic_injection_keyword:c"
    assert lines[1] in ("category_caption_reject:c", "category_strict_frames_missing:c")
    assert lines[2] == "CouldNotCheck"

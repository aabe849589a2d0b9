"""Models, scores and embeddings."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nexis
import numpy as np
import pytest
from conftest import MEDIA
from test_verify import models, timeless

CAPTION = (
    "A wide river flows past green hills under a bright sky while soft clouds drift slowly over the far mountains "
    "and tall grass moves in the wind near the shore."
)


@pytest.fixture(scope="module")
def verifier() -> nexis.Verifier:
    return nexis.Verifier()


@pytest.fixture(scope="module")
def frames() -> np.ndarray[Any, Any]:
    return np.random.default_rng(7).integers(0, 256, (4, 90, 160, 3), dtype=np.uint8)


def test_a_score_is_the_programs(verifier: nexis.Verifier, binary: Path, clip: Path) -> None:
    command = [str(binary), "score", str(clip), "--caption", CAPTION, "--json", "--quiet", *models()]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode in (0, 1), done.stderr.decode()
    score = verifier.score(clip, CAPTION)
    assert timeless(score.to_dict()) == timeless(json.loads(done.stdout))
    assert score.verdict in ("accept", "reject")
    assert score.alignment.threshold == score.to_dict()["alignment"]["threshold"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        score.verdict = "accept"  # type: ignore[misc]


def test_a_clip_may_be_bytes_or_a_file(verifier: nexis.Verifier, clip: Path) -> None:
    expected = timeless(verifier.score(clip, CAPTION).to_dict())
    assert timeless(verifier.score(clip.read_bytes(), CAPTION).to_dict()) == expected
    with clip.open("rb") as file:
        assert timeless(verifier.score(file, CAPTION).to_dict()) == expected
    assert timeless(nexis.score(clip, CAPTION).to_dict()) == expected


def test_many_scores_come_in_the_order_of_their_clips(verifier: nexis.Verifier, honest: Path) -> None:
    clips = sorted((honest / "clips").iterdir())
    captions = [CAPTION, CAPTION.replace("river", "road"), "A cat sleeps on the sofa of a small room."]
    pairs = [(clip, caption) for caption in captions for clip in clips]
    together = verifier.score_many([clip for clip, _ in pairs], [caption for _, caption in pairs])
    alone = [verifier.score(clip, caption) for clip, caption in pairs]
    assert [timeless(s.to_dict()) for s in together] == [timeless(s.to_dict()) for s in alone]
    assert verifier.score_many([], []) == []
    with pytest.raises(ValueError):
        verifier.score_many(clips, [CAPTION])


def test_twenty_threads_score_as_one(verifier: nexis.Verifier, clip: Path) -> None:
    expected = timeless(verifier.score(clip, CAPTION).to_dict())
    with ThreadPoolExecutor(20) as pool:
        futures = [pool.submit(verifier.score, clip, CAPTION) for _ in range(20)]
        assert all(timeless(future.result().to_dict()) == expected for future in futures)


def test_twenty_threads_may_meet_at_the_first_use(clip: Path) -> None:
    # The default verifier is made once, whoever comes first.
    with ThreadPoolExecutor(20) as pool:
        environments = list(pool.map(lambda _: nexis.encode_text(["a lake"]).tobytes(), range(20)))
    assert len(set(environments)) == 1


def test_classification(verifier: nexis.Verifier, clip: Path) -> None:
    found = verifier.classify(clip).to_dict()
    assert found["decision"] in ("accept", "reject")
    # The rule of the protocol, recomputed from the labels that were given out.
    labels = next(value for value in found.values() if isinstance(value, list) and "winner" in value[0])
    assert len(labels) == 6
    for label in labels:
        assert sum(label["scores"].values()) == pytest.approx(1.0)
        assert label["winner"] == max(label["scores"], key=label["scores"].get)
    middle = [labels[i] for i in nexis.protocol.middle_three(6)]
    decided = nexis.protocol.category_decision(
        [
            {"winner": f["winner"], **{f"{k}_score": v for k, v in f["scores"].items() if k != "other"}}
            for f in middle
        ]
    )
    assert decided is not None
    for key in ("decision", "nature_score", "rival_score", "margin"):
        assert found[key] == decided[key]


def test_a_clip_that_cannot_be_decoded_is_named(verifier: nexis.Verifier, clip: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no clip at all")
    for call in (lambda c: verifier.score(c, CAPTION), verifier.classify):
        for broken in (text, b"garbage", MEDIA / "hostile" / "audio-only.mp4"):
            with pytest.raises(nexis.UndecodableClip):
                call(broken)
    with pytest.raises(FileNotFoundError):
        verifier.score(tmp_path / "nowhere.mp4", CAPTION)
    for wrong in (3, None, ["a"]):
        with pytest.raises(TypeError):
            verifier.score(wrong, CAPTION)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            verifier.score(clip, wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        verifier.score(clip, "  ")


def test_strange_captions_are_data(verifier: nexis.Verifier, clip: Path) -> None:
    for caption in ("<|endoftext|>" * 50, "\0\x01", "👨‍👩‍👧 é" * 200, "x" * 10_000, "a. " * 3000):
        score = verifier.score(clip, caption)
        assert 0.0 <= score.alignment.probability <= 1.0
    with pytest.raises((UnicodeError, TypeError, ValueError)):
        verifier.score(clip, "\ud800")


# Embeddings.


def test_embeddings_are_unit_float32_rows(verifier: nexis.Verifier, frames: np.ndarray[Any, Any]) -> None:
    images = verifier.encode_image(frames)
    texts = verifier.encode_text(["a lake", "a mountain in the morning", CAPTION])
    assert images.dtype == texts.dtype == np.float32
    assert images.shape == (4, texts.shape[1]) and texts.shape[0] == 3
    for rows in (images, texts):
        assert np.linalg.norm(rows.astype(np.float64), axis=1) == pytest.approx(1.0, abs=1e-6)


def test_a_row_depends_on_its_own_input_alone(verifier: nexis.Verifier, frames: np.ndarray[Any, Any]) -> None:
    together = verifier.encode_image(frames)
    alone = np.concatenate([verifier.encode_image(frame[None]) for frame in frames])
    assert np.array_equal(together, alone)
    captions = ["a lake", "a lake", CAPTION, "snow"]
    together = verifier.encode_text(captions)
    alone = np.concatenate([verifier.encode_text([caption]) for caption in captions])
    assert np.array_equal(together, alone)


class HasArray:
    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        return self.array


class HasDLPack:
    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


def test_frames_come_in_any_form(verifier: nexis.Verifier, frames: np.ndarray[Any, Any]) -> None:
    expected = verifier.encode_image(frames)
    wide = np.zeros((8, 90, 320, 3), np.uint8)
    wide[::2, :, ::2] = frames
    read_only = frames.copy()
    read_only.flags.writeable = False
    forms: dict[str, Any] = {
        "fortran": np.asfortranarray(frames),
        "strided": wide[::2, :, ::2],
        "transposed": np.ascontiguousarray(frames.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0),
        "read only": read_only,
        "list": list(frames),
        "tuple": tuple(frames),
        "__array__": HasArray(frames),
        "dlpack": HasDLPack(frames),
    }
    for name, form in forms.items():
        assert np.array_equal(verifier.encode_image(form), expected), name
    assert np.array_equal(verifier.encode_image(frames[::-1]), expected[::-1])


def test_pictures_of_pillow_are_frames(verifier: nexis.Verifier, frames: np.ndarray[Any, Any]) -> None:
    image = pytest.importorskip("PIL.Image")
    expected = verifier.encode_image(frames)
    pictures = [image.fromarray(frame) for frame in frames]
    assert np.array_equal(verifier.encode_image(pictures), expected)


def test_frames_of_a_clip_are_taken_as_they_come(verifier: nexis.Verifier, clip: Path) -> None:
    frames = nexis.decode(clip)
    assert verifier.encode_image(frames).shape[0] == 6


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 8, 8, 3), np.float32),
        np.zeros((2, 8, 8, 3), np.int64),
        np.zeros((2, 8, 8, 4), np.uint8),
        np.zeros((2, 8, 8), np.uint8),
        np.zeros((2, 0, 8, 3), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
        np.zeros((1, 1, 5000, 3), np.uint8),
        np.zeros((1, 2, 3, 4, 3), np.uint8),
        [],
        [np.zeros((8, 8), np.uint8)],
        ["a"],
        "frames",
        b"frames",
        3,
        None,
        object(),
    ],
    ids=str,
)
def test_frames_that_make_no_sense_are_refused(verifier: nexis.Verifier, wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        verifier.encode_image(wrong)
    assert str(caught.value)


@pytest.mark.parametrize(
    "wrong", [[], "a lake", [3], [b"a"], None, 3, [""], ["x" * 1_000_000]], ids=lambda w: str(w)[:20]
)
def test_captions_that_make_no_sense_are_refused(verifier: nexis.Verifier, wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        verifier.encode_text(wrong)
    assert str(caught.value)


# Models and devices.


def models_folder() -> Path:
    return Path(models()[1])


def test_a_model_by_id_by_folder_and_by_another_root(
    verifier: nexis.Verifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = verifier.encode_text(["a lake"])
    demo = models_folder() / "demo"
    for model in (demo, str(demo)):
        assert np.array_equal(nexis.Verifier(model).encode_text(["a lake"]), expected)
    copied = tmp_path / "own"
    shutil.copytree(demo, copied / "mine", ignore=shutil.ignore_patterns("train"))
    assert np.array_equal(nexis.Verifier("mine", models_dir=copied).encode_text(["a lake"]), expected)
    monkeypatch.setenv("NEXIS_MODELS", str(copied))
    found = nexis.Verifier("mine")
    assert np.array_equal(found.encode_text(["a lake"]), expected)
    assert (
        found.environment.to_dict()["model"]["digests"] == verifier.environment.to_dict()["model"]["digests"]
    )


def test_the_environment_names_what_makes_the_results(verifier: nexis.Verifier) -> None:
    environment = verifier.environment
    assert environment.nexis == nexis.__version__
    assert environment.device == "cpu"
    assert environment.notice, "a demonstration model says that it is one"
    assert len(environment.card or "") == 64
    with pytest.raises(dataclasses.FrozenInstanceError):
        environment.device = "gpu"  # type: ignore[misc]


def test_a_model_that_is_not_there_is_explained(tmp_path: Path) -> None:
    with pytest.raises(nexis.ModelUnavailable, match="demo"):
        nexis.Verifier("no-such-model")
    with pytest.raises(nexis.ModelUnavailable):
        nexis.Verifier(tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(models_folder() / "demo", broken, ignore=shutil.ignore_patterns("train"))
    weights = broken / "model.safetensors"
    os.truncate(weights, 1000)
    with pytest.raises(nexis.ModelUnavailable, match="model.safetensors"):
        nexis.Verifier(broken)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(nexis.DeviceUnavailable, match="cuda:0"):
        nexis.Verifier(device="cuda:0")
    for wrong in ("tpu", "cuda", "CPU", ""):
        with pytest.raises(ValueError):
            nexis.Verifier(device=wrong)
    assert nexis.Verifier(device="cpu").environment.device == "cpu"


def test_the_precision_is_named_and_never_replaced() -> None:
    exact, other = nexis.Verifier(), nexis.Verifier(precision="f32")
    assert exact.environment.model is not None and other.environment.model is not None
    assert exact.environment.model.precision == "exact-f32"
    assert other.environment.model.precision == "f32"
    with pytest.raises(ValueError, match="exact, fast or f32"):
        nexis.Verifier(precision="half")  # type: ignore[arg-type]
    try:
        fast = nexis.Verifier(precision="fast")
    except nexis.ModelUnavailable as refused:
        assert "AVX512-BF16" in str(refused)
    else:
        assert fast.environment.model is not None
        assert fast.environment.model.precision == "fast-bf16"


@pytest.mark.parametrize(
    "options",
    [
        {"batch": 0},
        {"batch": 10**9},
        {"threads": -1},
        {"threads": 10**6},
        {"max_wall_s": 0},
        {"max_wall_s": float("nan")},
        {"policy": "lenient"},
        {"batch": "many"},
        {"batch": -1},
        {"batch": 1 << 64},
        {"threads": -1},
        {"threads": 10**30},
        {"model": 3},
        {"no_such_option": 1},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        nexis.Verifier(**options)

"""Decoding against what FFmpeg's own program gave, and clips in every form in which Python has them."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import nexis
import numpy as np
import pytest
from conftest import MEDIA

CASES = json.loads((MEDIA / "clips.json").read_text(encoding="utf-8"))
BY_NAME = {case["file"]: case for case in CASES}
SOME = MEDIA / "clips" / "h264-bframes.mp4"


def digest(frame: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(frame).tobytes()).hexdigest()


@pytest.mark.parametrize("name", BY_NAME)
def test_the_six_frames_are_ffmpegs_to_the_byte(name: str) -> None:
    case = BY_NAME[name]
    frames = nexis.decode(MEDIA / "clips" / name)
    assert frames.dtype == np.uint8
    assert frames.shape == (6, case["height"], case["width"], 3)
    assert [digest(frame) for frame in frames] == [expected for _, expected in case["chosen"]]


@pytest.mark.parametrize("name", BY_NAME)
def test_probing_says_what_ffprobe_says(name: str) -> None:
    case = BY_NAME[name]
    probe = nexis.probe(MEDIA / "clips" / name)
    assert (probe.codec, probe.pixel_format) == (case["codec"], case["pixel_format"])
    assert (probe.width, probe.height, probe.rotation) == (case["width"], case["height"], case["rotation"])
    assert probe.has_audio is case["audio"]
    assert probe.duration_seconds == pytest.approx(case["duration"], abs=1e-9)
    assert probe.fps == pytest.approx(case["fps"], abs=1e-6)


def test_at_gives_the_frame_of_each_instant_in_the_order_asked_for() -> None:
    case = BY_NAME["h264-bframes.mp4"]
    instants = [time for time, _ in case["chosen"]]
    expected = dict((time, sha) for time, sha in case["chosen"])
    asked = [instants[4], instants[0], instants[4], instants[2]]
    assert [digest(frame) for frame in nexis.decode(SOME, at=asked)] == [expected[t] for t in asked]
    # Before the first frame there is none: the first answers.
    assert digest(nexis.decode(SOME, at=[-1.0])[0]) == case["first"]
    assert digest(nexis.decode(SOME, at=np.array([0.0]))[0]) == case["first"]
    # After the last frame, the last.
    assert np.array_equal(nexis.decode(SOME, at=[1e6])[0], nexis.decode(SOME, at=[4.999])[0])


def test_a_clip_may_be_a_path_bytes_or_an_open_file() -> None:
    expected = nexis.decode(SOME)
    data = SOME.read_bytes()
    with SOME.open("rb") as file:
        forms = [str(SOME), SOME, data, bytearray(data), memoryview(data), io.BytesIO(data), file]
        for form in forms:
            assert np.array_equal(nexis.decode(form), expected), type(form)
    assert nexis.probe(data) == nexis.probe(SOME)


def test_the_array_is_the_callers_own() -> None:
    frames = nexis.decode(SOME)
    again = nexis.decode(SOME)
    frames[:] = 0
    assert again.any()
    assert frames.flags.c_contiguous and frames.flags.writeable


@pytest.mark.parametrize(
    "name",
    ["audio-only.mp4", "changing-size.mp4", "huge.mp4", "mpeg4.mp4", "two-hours.mp4", "two-videos.mp4"],
)
def test_hostile_clips_are_refused_as_the_clips_fault(name: str) -> None:
    path = MEDIA / "hostile" / name
    for clip in (path, path.read_bytes()):
        with pytest.raises(nexis.UndecodableClip) as caught:
            nexis.decode(clip)
        assert str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\0\0\0\x08ftyp",
        b"\x1a\x45\xdf\xa3",
        b"\xff" * 4096,
        b"just text",
        bytes(range(256)) * 64,
    ],
)
def test_garbage_is_refused_as_the_clips_fault(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    for clip in (path, data, io.BytesIO(data)):
        for call in (nexis.decode, nexis.probe):
            with pytest.raises(nexis.UndecodableClip):
                call(clip)


def test_a_truncated_clip_is_refused(tmp_path: Path) -> None:
    data = SOME.read_bytes()
    for part in range(1, 8):
        with pytest.raises(nexis.UndecodableClip):
            nexis.decode(data[: len(data) * part // 8])


def test_what_is_no_clip_at_all_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        nexis.decode(tmp_path / "nowhere.mp4")
    with pytest.raises((IsADirectoryError, ValueError, OSError)):
        nexis.probe(tmp_path)
    text = tmp_path / "notes.txt"
    text.write_text("notes")
    wrong: list[Any] = [3, None, 1.5, ["a.mp4"], {"clip": 1}, object(), io.StringIO("text")]
    for clip in wrong:
        with pytest.raises(TypeError):
            nexis.decode(clip)
    with text.open() as file, pytest.raises(TypeError):
        nexis.decode(file)
    with pytest.raises((ValueError, FileNotFoundError)):
        nexis.decode("nul\0byte.mp4")


@pytest.mark.parametrize(
    "at", ["1.0", [float("nan")], [float("inf")], ["x"], [[0.0]], [0.0] * 1_000_000, object()]
)
def test_instants_that_make_no_sense_are_refused(at: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        nexis.decode(SOME, at=at)
    assert not isinstance(caught.value, nexis.UndecodableClip)


def test_a_probe_is_frozen_and_says_itself() -> None:
    probe = nexis.probe(SOME)
    with pytest.raises(dataclasses.FrozenInstanceError):
        probe.width = 3  # type: ignore[misc]
    assert "96" in repr(probe) and "h264" in repr(probe)
    assert json.loads(probe.to_json()) == probe.to_dict()
    assert probe.to_dict()["codec"] == "h264"

"""Clips and captions become packages, and the report says what is wrong with them and how to mend it."""

from __future__ import annotations

import csv
import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nexis
import pyarrow.parquet
import pytest
from conftest import HONEST, INTERVAL, MEDIA

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "pack_and_verify.py"


def items_of(folder: Path) -> list[dict[str, Any]]:
    """The items that an interval's package could have been packed from."""
    rows = pyarrow.parquet.read_table(folder / "dataset.parquet").to_pylist()
    wanted = ("caption", "source_video_url", "clip_start_sec")
    return [{"clip": folder / row["clip_uri"], **{key: row[key] for key in wanted}} for row in rows]


@pytest.fixture(scope="session")
def verifier() -> nexis.Verifier:
    return nexis.Verifier(threads=2)


@pytest.fixture(scope="session")
def small(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interval folder with one clip of another size."""
    out = tmp_path_factory.mktemp("small")
    attack = ["--attack", "invalid_resolution", "--rows", "1", "--seed", "610008"]
    command = [binary, "synth", "package", "--hotkey", HONEST, "--interval", str(INTERVAL), *attack, "--out", out]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out / HONEST.lower() / str(INTERVAL)


def test_what_fits_is_copied_and_judged_as_before(
    honest: Path, verifier: nexis.Verifier, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    report = nexis.pack(
        items_of(honest),
        tmp_path,
        hotkey=HONEST,
        interval=INTERVAL,
        model=verifier,
        progress=lambda done, rows: told.append((done, rows)),
    )
    assert report.folder == tmp_path / str(INTERVAL) and report.verified
    assert report.manifest["miner_hotkey"] == HONEST and report.manifest["record_count"] == len(report.rows)
    before = verifier.verify(honest, all_rows=True)
    assert report.accepted is before.accepted
    assert report.report is not None
    judged = report.report.submissions[0].rows
    for row, again, original in zip(report.rows, judged, before.submissions[0].rows, strict=True):
        assert row.treatment == "copied" and row.reasons == ()
        packed = (report.folder / row.record["clip_uri"]).read_bytes()
        assert packed == Path(row.clip).read_bytes()
        assert row.clip_id == original.clip_id == again.clip_id
        assert row.clip_id == nexis.protocol.clip_id(row.record["source_video_id"], row.record["clip_start_sec"], 5.0)
        assert again.alignment == original.alignment and again.category == original.category
    steps = 2 * len(report.rows)
    assert told and told[-1] == (steps, steps)
    # Any other front door says the same of it.
    assert verifier.verify(report.folder, all_rows=True).accepted is report.accepted


def test_what_does_not_fit_is_refused_or_scaled(small: Path, verifier: nexis.Verifier, tmp_path: Path) -> None:
    items = items_of(small)
    probe = nexis.probe(items[0]["clip"])
    assert (probe.width, probe.height) != (1280, 720)
    with pytest.raises(ValueError, match=rf"it is {probe.width}x{probe.height}, not 1280x720.*letterbox or crop"):
        nexis.pack(items, tmp_path, hotkey=HONEST, interval=INTERVAL, verify=False)
    assert list(tmp_path.iterdir()) == []
    for fit in ("letterbox", "crop"):
        out = tmp_path / fit
        report = nexis.pack(items, out, hotkey=HONEST, interval=INTERVAL, fit=fit, model=verifier)  # type: ignore[arg-type]
        assert report.rows[0].treatment == "encoded"
        made = nexis.probe(report.folder / report.rows[0].record["clip_uri"])
        assert (made.width, made.height, made.duration_seconds) == (1280, 720, 5.0)
        assert not [p for row in report.rows for p in row.problems if p.code.startswith("invalid_resolution")]


def test_what_would_fail_comes_with_its_code_and_a_remedy(
    honest: Path, verifier: nexis.Verifier, tmp_path: Path
) -> None:
    first = items_of(honest)[0]
    url = "https://youtu.be/AAAAAAAAAAA"
    items = [
        {**first, "source_video_url": url, "clip_start_sec": 0},
        {**first, "source_video_url": url, "clip_start_sec": 3.5},
        {**first, "source_video_url": "https://youtu.be/BBBBBBBBBBB", "caption": "A lake."},
    ]
    for model in (verifier, None):
        options: dict[str, Any] = {"model": model} if model else {"verify": False}
        report = nexis.pack(items, tmp_path, hotkey=HONEST, interval=INTERVAL, overwrite=True, **options)
        assert not report.accepted and report.verified is (model is not None)
        ids = [row.clip_id for row in report.rows]
        overlap = f"overlap_lt_5s:AAAAAAAAAAA:{ids[0]}:{ids[1]}"
        assert [overlap in [p.code for p in row.problems] for row in report.rows] == [True, True, False]
        short = [p for p in report.rows[2].problems if p.code == f"short_caption:{ids[2]}"]
        assert len(short) == 1 and short[0].rejects and "20 words" in short[0].remedy
        assert "20 words" in str(report) and "_repr_html_" in dir(report) and ids[2] in report._repr_html_()
        if report.report is not None:
            failures = set(report.report.submissions[0].failures)
            named = {p.code for row in report.rows for p in row.problems if p.rejects}
            assert failures == named | {p.code for p in report.problems if p.rejects}


def test_reports_are_frozen_and_pickle(honest: Path, tmp_path: Path) -> None:
    report = nexis.pack(items_of(honest), tmp_path, hotkey=HONEST, interval=INTERVAL, verify=False)
    assert report.report is None and "not verified" in repr(report)
    assert pickle.loads(pickle.dumps(report)) == report
    assert report.to_dict()["rows"][0]["record"]["clip_id"] == report.rows[0].clip_id
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.folder = Path()  # type: ignore[misc]


def test_every_item_at_fault_is_named(honest: Path, tmp_path: Path) -> None:
    first = items_of(honest)[0]
    text = tmp_path / "letter.mp4"
    text.write_text("dear validator\n" * 99)

    def refused(kind: type[Exception], *items: dict[str, Any], **more: Any) -> str:
        with pytest.raises(kind) as raised:
            nexis.pack(items, tmp_path / "out", hotkey=HONEST, interval=INTERVAL, verify=False, **more)
        return str(raised.value)

    message = refused(nexis.UndecodableClip, first, {**first, "clip": text}, {**first, "caption": " "})
    assert "item 1 (" in message and "letter.mp4" in message and "item 2 (" in message and "caption" in message
    assert "nowhere" in refused(FileNotFoundError, {**first, "clip": tmp_path / "nowhere.mp4"})
    assert "96x64" in refused(ValueError, {**first, "clip": MEDIA / "clips" / "av1.mp4"})
    assert "item 0" in refused(ValueError, first, first)
    assert "items[0]: caption is missing" in refused(ValueError, {**first, "caption": None})
    assert "items[0]" in refused(TypeError, {**first, "capton": "?"})
    assert "items[0]: caption" in refused(TypeError, {**first, "caption": 3})
    assert "fit" in refused(ValueError, first, fit="stretch")
    with pytest.raises(ValueError, match="7756900"):
        nexis.pack([first], tmp_path / "out", hotkey=HONEST, interval=INTERVAL + 1, verify=False)
    for hotkey in ("5abc", "", HONEST[:-1], HONEST.lower(), f" {HONEST}"):
        with pytest.raises(ValueError, match="hotkey .*it is no SS58 address"):
            nexis.pack([first], tmp_path / "out", hotkey=hotkey, interval=INTERVAL, verify=False)
    for name in ("interval", "netuid", "threads"):
        for wrong in (-1, 1 << 64, -(1 << 70), 10**5000):
            given: dict[str, Any] = {"interval": INTERVAL, name: wrong}
            with pytest.raises(ValueError, match=f"{name}: 0 to 18446744073709551615, not "):
                nexis.pack([first], tmp_path / "out", hotkey=HONEST, verify=False, **given)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_a_package_is_not_overwritten_unasked(honest: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"hotkey": HONEST, "interval": INTERVAL, "verify": False}
    nexis.pack(items_of(honest), tmp_path, **options)
    with pytest.raises(ValueError, match="already there"):
        nexis.pack(items_of(honest), tmp_path, **options)
    nexis.pack(items_of(honest)[:1], tmp_path, overwrite=True, **options)
    assert [path.name for path in tmp_path.iterdir()] == [str(INTERVAL)]


def test_ctrl_c_leaves_no_half_package(small: Path, tmp_path: Path) -> None:
    items = [{**items_of(small)[0], "clip_start_sec": 10.0 * i} for i in range(40)]
    for item in items:
        item["clip"] = str(item["clip"])
    script = tmp_path / "long.py"
    out = tmp_path / "out"
    script.write_text(
        "import signal\n"
        "import nexis\n"
        # Whoever was started in the background ignores Ctrl-C, and so do those that it starts.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"items = {items!r}\n"
        f"nexis.pack(items, {str(out)!r}, hotkey={HONEST!r}, interval={INTERVAL}, fit='crop', verify=False, threads=1)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE, env=dict(os.environ))
    waited = 0
    while process.poll() is None and not (out.exists() and any(out.glob(".*/clips/*.mp4"))):
        time.sleep(0.05)
        waited += 1
        assert waited < 2400, "no clip was ever written"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode != 0 and b"KeyboardInterrupt" in errors, errors
    assert list(out.iterdir()) == []


def test_the_example_packs_and_verifies(honest: Path, tmp_path: Path) -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 40
    items = items_of(honest)
    table = tmp_path / "clips.csv"

    def write(rows: list[dict[str, Any]]) -> None:
        with open(table, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["clip", "caption", "source_video_url", "clip_start_sec"])
            writer.writeheader()
            writer.writerows(rows)

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(EXAMPLE), str(table), str(tmp_path / "bucket"), HONEST, str(INTERVAL)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    write(items)
    done = run()
    expected = nexis.verify(honest, all_rows=True).accepted
    assert done.returncode == (0 if expected else 1), done.stdout + done.stderr
    assert "2 rows" in done.stdout
    write([{**items[0], "caption": "A lake."}])
    done = run()
    assert done.returncode == 1 and "short_caption:" in done.stdout and "20 words" in done.stdout, done.stderr
    write([{**items[0], "clip": "nowhere.mp4"}])
    done = run()
    assert done.returncode == 2 and "nowhere.mp4" in done.stderr

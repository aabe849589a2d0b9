"""Reports equal the program's, whatever the threads, and become tables."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nexis
import pytest
from conftest import CHEAT, HONEST, INTERVAL


def timeless(value: Any) -> Any:
    """The same without what varies from run to run."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in ("checked_at", "timings_ms")}
    if isinstance(value, list):
        return [timeless(item) for item in value]
    return value


def program(binary: Path, *arguments: object) -> Any:
    command = [str(binary), "verify", *map(str, arguments), "--json", "--quiet", *models()]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode in (0, 1, 2), done.stderr.decode()
    return json.loads(done.stdout)


def models() -> list[str]:
    """The program is to use the very models that the package uses."""
    packaged = Path(nexis.__file__).parent / "models"
    folder = os.environ.get("NEXIS_MODELS") or str(packaged)
    return ["--models-dir", folder]


@pytest.fixture(scope="module")
def verifier() -> nexis.Verifier:
    return nexis.Verifier()


@pytest.fixture(scope="module")
def report(verifier: nexis.Verifier, buckets: Path) -> nexis.Report:
    return verifier.verify(buckets, all_rows=True, progress=False)


def test_a_report_is_the_programs_field_for_field(binary: Path, buckets: Path, report: nexis.Report) -> None:
    expected = program(binary, buckets, "--all-rows")
    found = report.to_dict()
    assert timeless(found) == timeless(expected)
    assert json.loads(report.to_json()) == found
    # The times are there, only not compared.
    assert found["submissions"][0]["checked_at"]
    assert found["submissions"][0]["rows"][0]["timings_ms"].keys() == (
        expected["submissions"][0]["rows"][0]["timings_ms"].keys()
    )


def test_every_option_means_what_it_means_to_the_program(
    binary: Path, buckets: Path, honest: Path, tmp_path: Path
) -> None:
    rows = json.loads((honest / "manifest.json").read_text())
    known = tmp_path / "record_info.json"
    known.write_text('{"video_v1": {"https://www.youtube.com/watch?v=AAAAAAAAAAA": ["0.000"]}}')
    expected = program(
        binary, honest.parent, "--interval", INTERVAL, "--hotkey", HONEST, "--validator-hotkey", CHEAT,
        "--record-info", known, "--policy", "strict", "--evidence", tmp_path / "a",
    )  # fmt: skip
    found = nexis.verify(
        honest.parent, interval=INTERVAL, hotkey=HONEST, validator_hotkey=CHEAT, record_info=known,
        policy="strict", evidence=tmp_path / "b", progress=False,
    )  # fmt: skip
    assert timeless(found.to_dict()) == timeless(expected)
    assert rows["record_count"] == found.submissions[0].record_count
    records = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert records and records == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}


def test_each_form_of_path_is_taken(verifier: nexis.Verifier, honest: Path) -> None:
    as_interval = verifier.verify(str(honest), progress=False)
    as_bucket = verifier.verify(honest.parent, progress=False)
    assert timeless(as_interval.to_dict()) == timeless(as_bucket.to_dict())
    assert [s.miner_hotkey for s in as_interval.submissions] == [HONEST]


def test_threads_and_batches_change_nothing(buckets: Path, report: nexis.Report) -> None:
    alone = nexis.Verifier(threads=1, batch=1)
    assert timeless(alone.verify(buckets, all_rows=True, progress=False).to_dict()) == timeless(
        report.to_dict()
    )


def test_the_attributes_are_the_json(report: nexis.Report) -> None:
    found = report.to_dict()
    assert report.environment.to_dict() == found["environment"]
    assert report.weights == found["weights"]
    assert len(report.submissions) == 2
    by_miner = {s.miner_hotkey: s for s in report.submissions}
    cheat = by_miner[CHEAT]
    assert cheat.verdict == "reject" and cheat.accepted is False and cheat.score == 0.0
    assert any(code.startswith("clip_sha256_mismatch:") for code in cheat.failures)
    honest = by_miner[HONEST]
    assert honest.record_count == 2 and len(honest.rows) == 2
    for submission, written in zip(report.submissions, found["submissions"], strict=True):
        assert submission.to_dict() == written
        for row, written_row in zip(submission.rows, written["rows"], strict=True):
            assert row.to_dict() == written_row
            assert row.clip_id == written_row["clip_id"]
            if row.alignment is not None:
                assert row.alignment.probability == written_row["alignment"]["probability"]
                assert row.alignment.verdict in ("accept", "reject")
            if row.category is not None:
                assert len(row.category.frames) == 3


def test_results_are_frozen_to_the_bottom(report: nexis.Report) -> None:
    row = next(row for s in report.submissions for row in s.rows if row.alignment is not None)
    assert row.alignment is not None and row.category is not None
    parts: list[tuple[Any, str]] = [
        (report, "submissions"),
        (report.environment, "nexis"),
        (report.submissions[0], "verdict"),
        (row, "clip_id"),
        (row.alignment, "probability"),
        (row.category, "decision"),
        (row.category.frames[0], "winner"),
    ]
    for part, name in parts:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, name, None)
    # What is handed out as plain data is a copy.
    report.to_dict()["submissions"].clear()
    assert len(report.to_dict()["submissions"]) == 2
    with pytest.raises((AttributeError, TypeError)):
        report.submissions.append(None)  # type: ignore[attr-defined]


def test_results_say_themselves(report: nexis.Report) -> None:
    assert "reject" in repr(report)
    for submission in report.submissions:
        assert submission.miner_hotkey in repr(submission) and submission.verdict in repr(submission)
    page = report._repr_html_()
    assert CHEAT in page and "reject" in page


def test_what_a_miner_wrote_is_no_markup(verifier: nexis.Verifier, honest: Path, tmp_path: Path) -> None:
    bucket = tmp_path / "<b onload=x>"
    shutil.copytree(honest, bucket / honest.name)
    manifest = bucket / honest.name / "manifest.json"
    written = json.loads(manifest.read_text())
    written["miner_hotkey"] = "<script>alert(1)</script>"
    manifest.write_text(json.dumps(written))
    page = verifier.verify(bucket, progress=False)._repr_html_()
    assert "<script>" not in page and "onload=x>" not in page


def test_a_table_has_a_line_per_judged_row(report: nexis.Report) -> None:
    pandas = pytest.importorskip("pandas")
    table = report.to_pandas()
    assert isinstance(table, pandas.DataFrame)
    rows = [(s, row) for s in report.submissions for row in s.rows]
    assert len(table) == len(rows)
    assert list(table["clip_id"]) == [row.clip_id for _, row in rows]
    assert list(table["miner_hotkey"]) == [s.miner_hotkey for s, _ in rows]


def test_the_arrow_table_is_the_same(report: nexis.Report) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = report.to_arrow()
    assert isinstance(table, pyarrow.Table)
    rows = [row for s in report.submissions for row in s.rows]
    assert table.num_rows == len(rows)
    assert table["clip_id"].to_pylist() == [row.clip_id for row in rows]


@pytest.mark.parametrize(("package", "method"), [("pandas", "to_pandas"), ("pyarrow", "to_arrow")])
def test_a_missing_package_is_named(
    report: nexis.Report, package: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=package):
        getattr(report, method)()


def test_rows_are_judged_outside_a_package_as_inside(
    verifier: nexis.Verifier, honest: Path, report: nexis.Report
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("pandas")
    table = parquet.read_table(honest / "dataset.parquet")
    inside = next(s for s in report.submissions if s.miner_hotkey == HONEST).rows
    for rows in (table.to_pylist(), table, table.to_pandas()):
        outside = verifier.verify_rows(rows, honest)
        assert [row.clip_id for row in outside] == [row.clip_id for row in inside]
        for one, other in zip(outside, inside, strict=True):
            assert one.alignment == other.alignment and one.category == other.category
            assert one.failures == other.failures and one.frames == other.frames


def test_bad_rows_are_named(verifier: nexis.Verifier, honest: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    row = parquet.read_table(honest / "dataset.parquet").to_pylist()[0]
    with pytest.raises(nexis.InvalidRow) as caught:
        verifier.verify_rows([row, {**row, "fps": -1}], honest)
    assert caught.value.field == "fps" and "1" in str(caught.value)
    broken = {key: value for key, value in row.items() if key != "caption"}
    with pytest.raises(nexis.InvalidRow) as caught:
        verifier.verify_rows([broken], honest)
    assert caught.value.field == "caption"
    for rows in (3, "rows", [3], row, [object()]):
        with pytest.raises((TypeError, ValueError)):
            verifier.verify_rows(rows, honest)  # type: ignore[arg-type]
    assert verifier.verify_rows([], honest) == []
    # An asset that is not there, or would be elsewhere, is the row's fault and no error.
    elsewhere = {**row, "clip_uri": "../../../etc/passwd"}
    gone = {**row, "clip_uri": "clips/gone.mp4"}
    found = verifier.verify_rows([elsewhere, gone], honest)
    assert [code.split(":")[0] for code in found[0].failures][:1] == ["invalid_asset_uri"]
    assert [code.split(":")[0] for code in found[1].failures][:1] == ["missing_clip_asset"]


def test_wrong_use_is_explained(verifier: nexis.Verifier, honest: Path, tmp_path: Path) -> None:
    with pytest.raises((FileNotFoundError, ValueError)) as caught:
        verifier.verify(tmp_path / "nowhere")
    assert "nowhere" in str(caught.value)
    with pytest.raises(ValueError):
        verifier.verify(tmp_path)
    with pytest.raises(ValueError):
        verifier.verify(min((honest / "clips").iterdir()))
    with pytest.raises(ValueError):
        nexis.verify(honest, policy="lenient", progress=False)  # type: ignore[arg-type]
    for interval in (-1, 1 << 64, 10**5000):
        with pytest.raises(ValueError, match="interval: 0 to 18446744073709551615, not "):
            verifier.verify(honest, interval=interval)
        with pytest.raises(ValueError, match="interval: 0 to 18446744073709551615, not "):
            verifier.verify_rows([], honest, interval=interval)
    with pytest.raises(TypeError, match="interval: "):
        verifier.verify(honest, interval="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='hotkey "5abc": it is no SS58 address'):
        verifier.verify(honest, hotkey="5abc")
    with pytest.raises(ValueError, match="validator_hotkey .*it is no SS58 address"):
        verifier.verify(honest, validator_hotkey=HONEST.lower())
    with pytest.raises(ValueError):
        verifier.verify(honest, interval=100)
    with pytest.raises(FileNotFoundError):
        verifier.verify(honest, record_info=tmp_path / "nowhere.json")
    garbage = tmp_path / "record_info.json"
    garbage.write_text("no json")
    with pytest.raises((nexis.NexisError, ValueError)):
        verifier.verify(honest, record_info=garbage)
    with pytest.raises(TypeError):
        verifier.verify(honest, no_such_option=True)
    with pytest.raises(TypeError):
        verifier.verify(3)  # type: ignore[arg-type]


def test_a_package_of_garbage_is_the_miners_fault(
    verifier: nexis.Verifier, honest: Path, tmp_path: Path
) -> None:
    folder = tmp_path / HONEST.lower() / honest.name
    shutil.copytree(honest, folder)
    (folder / "dataset.parquet").write_bytes(b"PAR1" + bytes(range(256)) * 8 + b"PAR1")
    found = verifier.verify(folder, progress=False).submissions[0]
    assert found.verdict == "reject" and found.failures == ("dataset_sha256_mismatch",)
    (folder / "manifest.json").write_text("[" * 100_000)
    found = verifier.verify(folder, progress=False).submissions[0]
    assert found.verdict == "reject" and found.failures == ("manifest_schema_invalid",)


def test_progress_is_told_to_the_caller(verifier: nexis.Verifier, buckets: Path) -> None:
    told: list[tuple[int, int]] = []
    report = verifier.verify(
        buckets, all_rows=True, progress=lambda judged, rows: told.append((judged, rows))
    )
    rows = sum(len(submission.rows) for submission in report.submissions)
    assert max(told) == (rows, rows)
    assert {total for _, total in told} == {rows}


def test_progress_that_fails_costs_nothing(
    verifier: nexis.Verifier, honest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)

    def fail(judged: int, rows: int) -> None:
        raise RuntimeError("no more paper")

    assert verifier.verify(honest, progress=fail).submissions[0].verdict in ("accept", "reject")
    assert seen


def test_reports_travel_between_processes(report: nexis.Report) -> None:
    again = pickle.loads(pickle.dumps(report))
    assert again == report and again.to_dict() == report.to_dict()


def test_nothing_is_written_where_nobody_looks(
    verifier: nexis.Verifier, honest: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    verifier.verify(honest)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")

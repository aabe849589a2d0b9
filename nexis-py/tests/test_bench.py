"""Scores on judged pairs and cards from them, against what the program prints."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import nexis
import pytest
from conftest import REPOSITORY

RANDOM = REPOSITORY / "tests" / "fixtures" / "models" / "quick_f32"


@pytest.fixture(scope="module")
def pairs(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "pairs"
    subprocess.run([binary, "synth", "pairs", folder, "--count", "60", "--quiet"], check=True)
    return folder / "pairs.jsonl"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def result(pairs: Path, cache: Path) -> nexis.BenchResult:
    return nexis.bench(pairs, ["demo", RANDOM], cache=cache, resamples=50, progress=False)


def without_cost(report: dict[str, Any]) -> dict[str, Any]:
    return {**report, "models": [{**m, "cost": None, "found": None} for m in report["models"]]}


def test_it_is_the_programs_report(
    binary: Path, pairs: Path, result: nexis.BenchResult, tmp_path: Path
) -> None:
    command = [binary, "bench", "align", pairs, "--models", f"demo,{RANDOM}", "--out", tmp_path, "--resamples", "50"]
    printed = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True).stdout
    assert without_cost(json.loads(printed)) == without_cost(result.raw)


def test_data_frames(result: nexis.BenchResult) -> None:
    pytest.importorskip("pandas")
    assert len(result.scores) == 60 and result.scores["demo"].between(0, 1).all()
    assert result.scores["label"].sum() == 30 and result.scores["group"].nunique() == 30
    assert result.models.loc["demo", "auc"] > 0.7
    assert result.models.loc["demo", "seconds_per_clip"] > 0
    whole = result.measures.query("subset == '' and measure == 'auc' and model == 'demo'").iloc[0]
    assert whole["low"] <= whole["value"] <= whole["high"]
    assert result.kappa.loc["demo", "demo"] == 1.0
    assert result.broken.empty and "60 pairs" in repr(result)


def test_precision_of_nothing_is_undefined(result: nexis.BenchResult) -> None:
    pandas = pytest.importorskip("pandas")
    model = result.raw["models"][0]
    measures = [
        {**measure, "value": None, "interval": None} if measure["key"] == "precision" else measure
        for measure in model["measures"]
    ]
    assert measures != model["measures"]
    none = nexis.BenchResult({**result.raw, "models": [{**model, "measures": measures}]}, {})
    precision = none.measures.query("subset == '' and measure == 'precision'").iloc[0]
    assert precision[["value", "low", "high"]].isna().all()
    assert none.models["precision"].dtype == float and pandas.isna(none.models.loc["demo", "precision"])


def test_numbers_that_make_no_sense_are_refused(pairs: Path) -> None:
    for name in ("resamples", "seed", "mistakes", "threads", "batch"):
        for wrong, error in ((-1, ValueError), (1 << 70, ValueError), (10**5000, ValueError), (True, TypeError), (1.5, TypeError)):
            options: dict[str, Any] = {name: wrong}
            with pytest.raises(error, match=name):
                nexis.bench(pairs, ["demo"], progress=False, **options)
    with pytest.raises(ValueError, match="folds: 0 to"):
        nexis.calibrate(pairs, "demo", folds=-1, progress=False)


def test_figures(result: nexis.BenchResult) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    plots: tuple[Any, ...] = ("roc", "precision_recall", "f1", "scores", "reliability")
    for plot in plots:
        ax = result.figure(plot)
        assert ax.get_xlabel() and (ax.lines or ax.patches)
    wrong: Any = "pie"
    with pytest.raises(ValueError, match="one of roc"):
        result.figure(wrong)


def test_a_card(pairs: Path, cache: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    out = tmp_path / "card.toml"
    made = nexis.calibrate(
        pairs, "demo", out=out, false_rejection=0.2, folds=3, cache=cache, resamples=50, root=pairs.parent, id="mine",
        progress=lambda done, rows: seen.append((done, rows)),
    )  # fmt: skip
    assert out.read_text() == made.card and "data_sha256" in made.card
    command = next(line for line in made.card.splitlines() if line.startswith("command"))
    assert f"root={json.dumps(str(pairs.parent))}" in command.replace('\\"', '"')
    assert "id=" in command and "part=" not in command and "Some(" not in command
    assert 0 < made.threshold < 1 and seen[-1] == (60, 60)
    pytest.importorskip("pandas")
    assert made.coefficients["whole"] == pytest.approx(dict(made.fit["coefficients"])["whole"])
    judged = nexis.bench(pairs, [f"demo@{out}"], cache=cache, resamples=50)
    assert judged.raw["models"][0]["threshold"] == pytest.approx(made.threshold)


def test_wrong_calls(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        nexis.bench(tmp_path / "nowhere.csv", ["demo"])
    with pytest.raises(ValueError, match="resamples"):
        nexis.bench(pairs, ["demo"], resamples=1)
    with pytest.raises(ValueError, match="share"):
        nexis.calibrate(pairs, "demo", false_rejection=0.7)

"""A second model beside the first, and a judge behind them: results are the program's, and say what decided."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import nexis
import pytest
from conftest import REPOSITORY
from nexis.compat import CaptionSemanticChecker
from test_verify import program, timeless

FILES = ("config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json")
DEMO = REPOSITORY / "models" / "demo"
JUDGE = REPOSITORY / "tests" / "fixtures" / "judges" / "qwen3_vl_tied_bf16"


def copied(model: Path, folder: Path, card: str) -> Path:
    """A model's files with this card."""
    folder.mkdir()
    for name in FILES:
        shutil.copy(model / name, folder / name)
    (folder / "card.toml").write_text(card)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random SigLIP whose card says P(match) 0.02 to every caption, and nature to every frame."""
    model = REPOSITORY / "tests" / "fixtures" / "models" / "siglip_f32"
    card = (DEMO / "card.toml").read_text()
    digest = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    listed = f'[model.digests]\n"model.safetensors" = "{digest}"\n\n'
    card = re.sub(r"\[model\.digests\]\n(.+\n)*\n", listed, card)
    card = re.sub(r"(?m)^coefficient = .*$", "coefficient = 0.0", card)
    card = re.sub(r"(?m)^intercept = .*$", f"intercept = {math.log(0.02 / 0.98)!r}", card)
    card = re.sub(r"(?m)^temperature = .*$", "temperature = 1e-9", card)
    card = re.sub(r"(?m)^(bias|gate_bias) = .*$", r"\1 = 0.0", card)
    nature = 'label = "nature"\nbias = 0.0\ngate_bias = 0.0\n'
    assert card.count(nature) == 1
    card = card.replace(nature, nature.replace("0.0", "6.0"))
    return copied(model, tmp_path_factory.mktemp("ensemble") / "tiny", card)


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demonstration model with a card that leaves every caption to a judge."""
    card = (DEMO / "card.toml").read_text()
    left = card.replace("[alignment]\n", "[alignment]\ndoubt = { from = 0.0, below = 1.0 }\n", 1)
    assert left != card
    return copied(DEMO, tmp_path_factory.mktemp("judge") / "doubtful", left)


def rows(report: nexis.Report) -> list[tuple[nexis.Alignment, nexis.Category]]:
    found = [(row.alignment, row.category) for submission in report for row in submission.rows]
    return [(alignment, category) for alignment, category in found if alignment and category]


def test_what_a_judge_decides_is_in_the_report(binary: Path, honest: Path, doubtful: Path) -> None:
    verifier = nexis.Verifier(doubtful, judge=JUDGE)
    report = verifier.verify(honest, progress=False)
    given = ("--model", doubtful, "--judge", JUDGE)
    assert timeless(report.to_dict()) == timeless(program(binary, honest, *given))
    judge = report.environment.judge
    assert judge is not None and judge == verifier.environment.judge
    assert (judge.identity.model.architecture, judge.threshold, judge.budget) == ("qwen3-vl", 0.5, 35)
    assert f"judge {judge.identity.model.id}" in repr(verifier)
    assert len(rows(report)) == 2
    for alignment, category in rows(report):
        decision = alignment.cascade
        assert decision is not None and decision.decided_by == "judge" and decision.yes is not None
        assert (alignment.verdict == "accept") == (decision.yes >= 0.5)
        assert category.cascade is not None and category.cascade.decided_by == "encoder"
        assert category.cascade.yes is None and alignment.ensemble is None
        assert decision.to_dict() == alignment.to_dict()["cascade"]
    assert pickle.loads(pickle.dumps(report)) == report

    spent = verifier.verify(honest, progress=False, judge_budget=1)
    assert timeless(spent.to_dict()) == timeless(program(binary, honest, *given, "--judge-budget", 1))
    by = sorted(alignment.cascade.decided_by for alignment, _ in rows(spent) if alignment.cascade)
    assert by == ["budget-spent", "judge"]
    assert spent.environment.judge is not None and spent.environment.judge.budget == 1
    # One call's budget is no other's.
    assert verifier.verify(honest, progress=False).environment == report.environment
    # The functions of the module take the same.
    again = nexis.verify(honest, model=doubtful, judge=JUDGE, judge_budget=1, progress=False)
    assert timeless(again.to_dict()) == timeless(spent.to_dict())


def test_clips_and_frames_are_asked_about_too(clip: Path, doubtful: Path) -> None:
    verifier = nexis.Verifier(doubtful, judge=JUDGE)
    score = verifier.score(clip, "a river in a green forest")
    decision = score.alignment.cascade
    assert decision is not None and decision.decided_by == "judge" and decision.yes is not None
    assert score.environment.judge is not None
    frames = nexis.decode(clip)
    framed = verifier.score_frames(frames, "a river in a green forest").alignment.cascade
    assert framed is not None and framed.decided_by == "judge"
    # Labels are the model's, and their environment names no judge.
    labels = verifier.classify(clip)
    assert labels.environment.judge is None and labels.environment.ensemble is None
    assert timeless(labels.to_dict()["labels"]) == timeless(nexis.Verifier(doubtful).classify(clip).to_dict()["labels"])


def test_two_models_decide_together(binary: Path, honest: Path, tiny: Path) -> None:
    verifier = nexis.Verifier(ensemble=tiny)
    report = verifier.verify(honest, progress=False)
    assert timeless(report.to_dict()) == timeless(program(binary, honest, "--ensemble", tiny))
    second = report.environment.ensemble
    assert second is not None and (second.model.id, second.model.architecture) == ("tiny", "siglip")
    assert len(second.card) == 64 and "with tiny" in repr(verifier)
    alone = rows(nexis.Verifier().verify(honest, progress=False))
    for (alignment, category), (first, _) in zip(rows(report), alone, strict=True):
        said = alignment.ensemble
        assert said is not None and said.second.probability == pytest.approx(0.02)
        assert (said.first, said.second.verdict) == (first.verdict, "reject")
        assert (alignment.probability, alignment.features) == (first.probability, first.features)
        # math, from the figures of the record; no lead is greater than 2.
        leads = [
            math.log(a.probability / (1 - a.probability)) - math.log(a.threshold / (1 - a.threshold))
            for a in (alignment, said.second)
        ]
        assert said.log_odds == pytest.approx([max(-2.0, min(2.0, lead)) for lead in leads])
        assert (alignment.verdict == "accept") == (sum(said.log_odds) > 0)
        decision = alignment.cascade
        assert decision is not None and (decision.decided_by, decision.yes) == ("log-odds", None)
        nature = category.ensemble
        assert nature is not None and nature.log_odds is not None and nature.second.nature_score is not None
        assert category.cascade is not None and category.cascade.decided_by == "agreement"
        assert len(nature.gate) == 2 and nature.to_dict() == category.to_dict()["ensemble"]
    assert pickle.loads(pickle.dumps(report)) == report
    assert json.loads(report.to_json()) == report.to_dict()


def test_tables_say_what_decided(honest: Path, doubtful: Path, tiny: Path) -> None:
    pytest.importorskip("pyarrow")
    report = nexis.Verifier(doubtful, ensemble=tiny, judge=JUDGE).verify(honest, progress=False)
    table = report.to_arrow()
    assert table["caption_decided_by"].to_pylist() == ["judge"] * 2
    assert table["caption_yes"].to_pylist() == [a.cascade.yes for a, _ in rows(report) if a.cascade]
    assert table["category_decided_by"].to_pylist() == ["agreement"] * 2
    assert table["category_yes"].to_pylist() == [None] * 2


def test_nothing_of_it_is_there_without_them(honest: Path) -> None:
    report = nexis.verify(honest, progress=False)
    assert "cascade" not in report.to_json() and "ensemble" not in report.to_json()
    assert report.environment.judge is None and report.environment.ensemble is None
    assert all(a.cascade is None and a.ensemble is None for a, _ in rows(report))


def test_the_networks_checks_take_such_a_verifier(clip: Path, tiny: Path, tmp_path: Path) -> None:
    verifier = nexis.Verifier(ensemble=tiny)
    wrong = verifier.score(clip, "four red buses in a tunnel").alignment
    row = {"clip_id": "c", "caption": "four red buses in a tunnel"}
    pictures = pytest.importorskip("PIL.Image")
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file, frame in zip(files, nexis.decode(clip), strict=False):
        pictures.fromarray(frame).save(file)
    codes = CaptionSemanticChecker(verifier=verifier).check(sampled=[row], frame_paths_by_clip_id={"c": files})
    assert (wrong.verdict, codes) == ("reject", ["caption_semantic_mismatch:c"])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"ensemble": "demo"}, "the same weights as demo"),
        ({"ensemble": JUDGE}, "answers questions"),
        ({"judge": "demo"}, "is an encoder"),
        ({"judge": "Qwen/Qwen3-VL-2B-Instruct"}, "nexis models fetch Qwen/Qwen3-VL-2B-Instruct"),
        ({"ensemble": "openai/clip-vit-base-patch32"}, "nexis models fetch openai/clip-vit-base-patch32"),
        ({"judge": "no-such-judge"}, "no-such-judge"),
    ],
)
def test_what_the_program_refuses_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(nexis.ModelUnavailable, match=re.escape(says)):
        nexis.Verifier(**given)


def test_a_budget_needs_a_judge_and_is_a_number(honest: Path, doubtful: Path) -> None:
    with pytest.raises(ValueError, match="judge_budget: there is no judge"):
        nexis.verify(honest, judge_budget=3, progress=False)
    verifier = nexis.Verifier(doubtful, judge=JUDGE)
    for wrong, error in ((-1, ValueError), (1 << 32, ValueError), (True, TypeError), ("3", TypeError)):
        with pytest.raises(error, match="judge_budget"):
            verifier.verify(honest, judge_budget=wrong, progress=False)  # type: ignore[arg-type]

"""What scores are worth on pairs that people have judged, and model cards from such pairs; as data frames and figures."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Union

from . import _nexis
from ._inputs import whole
from ._progress import Progress, watcher
from .verifier import PathLike, Precision, _models_roots

if TYPE_CHECKING:
    import pandas as _pandas  # type: ignore[import-not-found, import-untyped, unused-ignore]

__all__ = ["BenchResult", "Calibration", "bench", "calibrate"]

_log = logging.getLogger("nexis")

Plot = Union[
    Literal["roc"], Literal["precision_recall"], Literal["f1"], Literal["scores"], Literal["reliability"]
]


def _frames() -> Any:
    try:
        import pandas
    except ImportError as error:
        why = 'pandas is needed for data frames: pip install "nexis-verify[tables]"; the plain figures are in .raw'
        raise ImportError(why) from error
    return pandas


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("matplotlib is needed for figures: pip install matplotlib") from error
    return pyplot.subplots(figsize=(5.2, 4.2))[1]


def _value(measure: dict[str, Any]) -> float:
    """A figure; NaN, as data frames have it, where it is undefined."""
    value = measure["value"]
    return float("nan") if value is None else float(value)


class BenchResult:
    """What the scores of one or more models are worth. `raw` is the report as `nexis bench align --json` prints it."""

    def __init__(self, raw: dict[str, Any], scores: dict[str, Any]) -> None:
        self.raw = raw
        self._scores = scores

    def __repr__(self) -> str:
        data = self.raw["data"]
        names = ", ".join(model["name"] for model in self.raw["models"])
        return f"BenchResult({data['scored']} pairs, {data['broken']} broken: {names})"

    @property
    def scores(self) -> _pandas.DataFrame:
        """One row a pair: where it stands, its label, group and subset, and each model's score. Models with a card have
        a column for the probability and one for its logit, by which they are ranked."""
        return _frames().DataFrame(self._scores)

    @property
    def measures(self) -> _pandas.DataFrame:
        """One row a figure: model, subset (empty for all pairs), measure, value, and where 95 % of the resamples lie.
        The value is NaN where it is undefined, as the precision is where nothing is accepted."""
        rows = []
        for model in self.raw["models"]:
            parts = [("", model["measures"])]
            parts += [(subset["name"], subset["measures"]) for subset in model["subsets"]]
            for subset, measures in parts:
                for measure in measures:
                    interval = measure["interval"] or {}
                    rows.append(
                        {
                            "model": model["name"],
                            "subset": subset,
                            "measure": measure["key"],
                            "name": measure["name"],
                            "value": _value(measure),
                            "low": interval.get("low"),
                            "high": interval.get("high"),
                        }
                    )
        return _frames().DataFrame(rows)

    @property
    def models(self) -> _pandas.DataFrame:
        """One row a model: its figures over all pairs, threshold and seconds for one clip with one caption."""
        rows = []
        for model in self.raw["models"]:
            cost = model["cost"]
            known = cost["clips"] and cost["pairs"]
            of_clips = (cost["decode_seconds"] + cost["encode_seconds"]) / cost["clips"] if known else None
            rows.append(
                {
                    "model": model["name"],
                    "score": model["score"],
                    "threshold": model["threshold"],
                    **{measure["key"]: _value(measure) for measure in model["measures"]},
                    "seconds_per_clip": None
                    if of_clips is None
                    else of_clips + cost["text_seconds"] / cost["pairs"],
                }
            )
        return _frames().DataFrame(rows).set_index("model")

    @property
    def kappa(self) -> _pandas.DataFrame:
        """Cohen's kappa of the models' decisions, each at its own threshold."""
        names = [model["name"] for model in self.raw["models"]]
        return _frames().DataFrame(self.raw["kappa"], index=names, columns=names, dtype=float)

    @property
    def broken(self) -> _pandas.DataFrame:
        """Pairs that could not be scored, with the reason; the first thousand."""
        return _frames().DataFrame(self.raw["data"]["broken_pairs"], columns=["row", "why"])

    def figure(self, plot: Plot = "roc", *, ax: Any = None) -> Any:
        """Draws every model with matplotlib and gives the axes: `roc`, `precision_recall`, `f1` against the threshold,
        `scores` (histograms) or `reliability`. `ax`: axes to draw into."""
        kinds = ("roc", "precision_recall", "f1", "scores", "reliability")
        if plot not in kinds:
            raise ValueError(f"plot: one of {', '.join(kinds)} is expected, not {plot!r}")
        ax = _axes(ax)
        for model in self.raw["models"]:
            name, curve = model["name"], model["curve"]
            of = {key: [point[key] for point in curve] for key in ("false_accepts", "true_accepts", "precision", "f1")}
            if plot == "roc":
                ax.plot([0.0, *of["false_accepts"]], [0.0, *of["true_accepts"]], label=name)
            elif plot == "precision_recall":
                ax.plot(of["true_accepts"], of["precision"], label=name)
            elif plot == "f1":
                ax.plot([point["threshold"] for point in curve], of["f1"], label=name)
            elif plot == "scores" and model["histogram"] is not None:
                bars = model["histogram"]
                step = (bars["to"] - bars["from"]) / len(bars["positives"])
                edges = [bars["from"] + step * k for k in range(len(bars["positives"]) + 1)]
                ax.stairs(bars["positives"], edges, label=f"{name}: match", fill=True, alpha=0.5)
                ax.stairs(bars["negatives"], edges, label=f"{name}: do not", fill=True, alpha=0.5)
            elif plot == "reliability" and model["reliability"] is not None:
                filled = [b for b in model["reliability"]["bins"] if b["count"]]
                ax.plot([b["predicted"] for b in filled], [b["observed"] for b in filled], marker="o", label=name)
        if plot in ("roc", "reliability"):
            ax.plot([0, 1], [0, 1], linestyle=":", color="grey")
        labels = {
            "roc": ("false accepts", "true accepts"),
            "precision_recall": ("true accepts (recall)", "precision"),
            "f1": ("threshold", "F1"),
            "scores": ("score", "pairs"),
            "reliability": ("mean P(match)", "share that matches"),
        }
        ax.set_xlabel(labels[plot][0])
        ax.set_ylabel(labels[plot][1])
        if ax.get_legend_handles_labels()[0]:
            ax.legend()
        return ax


class Calibration:
    """A card from pairs. `card` is its text, as card.toml holds it; `fit` says what the fit came to; `result` what the
    cross-validated scores are worth."""

    def __init__(self, card: str, fit: dict[str, Any], result: BenchResult) -> None:
        self.card = card
        self.fit = fit
        self.result = result

    def __repr__(self) -> str:
        return f"Calibration(threshold {self.threshold:.4f} for at most {self.fit['target']:.1%} false rejections)"

    @property
    def threshold(self) -> float:
        """P(match) from which a caption is accepted."""
        return float(self.fit["threshold"])

    @property
    def coefficients(self) -> _pandas.Series:
        """The coefficients of the logistic model, on standardised features."""
        names = [name for name, _ in self.fit["coefficients"]]
        return _frames().Series([c for _, c in self.fit["coefficients"]], index=names, name="coefficient")

    def write(self, path: PathLike) -> None:
        """Writes the card to a file."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.card)


# What both functions take of reading the pairs and of running a model.
_SHARED = (
    "root", "format", "separator", "part", "positive_from", "cache", "resamples", "seed", "mistakes", "device",
    "precision", "threads", "batch",
)  # fmt: skip
# Those that are whole numbers, and in how many bits.
_WHOLE = {"resamples": 32, "seed": 64, "mistakes": 64, "threads": 64, "batch": 64, "folds": 64}


def _settings(arguments: Mapping[str, Any], *own: str) -> dict[str, Any]:
    """Of a function's arguments by name, those of both functions and its own that were given."""
    given = {name: arguments[name] for name in (*_SHARED, *own) if arguments[name] is not None}
    for name, bits in _WHOLE.items():
        if name in given:
            given[name] = whole(given[name], name, (1 << bits) - 1)
    return {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in given.items()}


def bench(
    pairs: PathLike,
    models: Sequence[PathLike],
    *,
    root: PathLike | None = None,
    format: str | None = None,
    separator: str = ";",
    part: str | None = None,
    positive_from: float | None = None,
    score: str | None = None,
    cache: PathLike | None = None,
    resamples: int = 1000,
    seed: int = 1,
    mistakes: int = 12,
    models_dir: PathLike | None = None,
    device: str = "auto",
    precision: Precision = "exact",
    threads: int | None = None,
    batch: int = 16,
    progress: Progress = None,
) -> BenchResult:
    """Score every pair of a file with every model and say what the scores are worth, as `nexis bench align` does.

    `pairs`: Parquet, CSV or JSON lines with `clip` or `frames`, `caption`, `label`, and where wanted `group`, `subset`
    and `category`; or the folder of Flickr8k-Expert, Winoground or VATEX-Eval. `models`: ids or folders, each with
    `@CARD` where another card than its own is meant. `root`: the folder that paths are relative to and stay within.
    `part`: one of several parts that share no group, such as "1/2". `positive_from`: the mean rating from which on a
    caption fits. `score`: one feature instead of the card's probability. `cache`: a folder that keeps what was embedded
    and measured. `resamples` and `seed` make the intervals.
    """
    settings = _settings(locals(), "score")
    if isinstance(models, (str, bytes, os.PathLike)):
        models = [os.fspath(models)]  # type: ignore[list-item, unused-ignore]
    raw = _nexis.bench_align(
        os.fspath(pairs),
        [os.fspath(model) for model in models],
        _models_roots(models_dir),
        settings,
        progress=watcher(progress, "scoring"),
    )
    result = BenchResult(raw["report"], raw["scores"])
    _log.info("%s: %r", pairs, result)
    return result


def calibrate(
    pairs: PathLike,
    model: PathLike,
    *,
    out: PathLike | None = None,
    false_rejection: float = 0.05,
    folds: int = 5,
    prompts: Mapping[str, Sequence[str]] | None = None,
    id: str | None = None,
    root: PathLike | None = None,
    format: str | None = None,
    separator: str = ";",
    part: str | None = None,
    positive_from: float | None = None,
    cache: PathLike | None = None,
    resamples: int = 1000,
    seed: int = 1,
    mistakes: int = 12,
    models_dir: PathLike | None = None,
    device: str = "auto",
    precision: Precision = "exact",
    threads: int | None = None,
    batch: int = 16,
    progress: Progress = None,
) -> Calibration:
    """Fit a model's card on pairs that people have judged, as `nexis calibrate PAIRS --model ID` does.

    `out`: where the card goes; nowhere where not given. `false_rejection`: the share of captions that fit which may be
    rejected; the threshold follows from it. `folds`: of the cross-validation, by group. `prompts`: a list for each of the
    seven labels, of which those are dropped that help nothing; used where pairs name a `category`. The rest as in `bench`.
    """
    settings = _settings(locals(), "false_rejection", "folds", "id")
    if prompts is not None:
        settings["prompts"] = json.dumps({label: list(texts) for label, texts in prompts.items()})
    raw = _nexis.calibrate_pairs(
        os.fspath(pairs),
        os.fspath(model),
        _models_roots(models_dir),
        settings,
        progress=watcher(progress, "scoring"),
    )
    made = Calibration(raw["card"], raw["fit"], BenchResult(raw["report"], raw["scores"]))
    if out is not None:
        made.write(out)
    _log.info("%s: %r", pairs, made)
    return made

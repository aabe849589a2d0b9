"""What a check found. Frozen; `to_dict` and `to_json` give what `nexis verify --json` prints."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union

from . import _tables

if TYPE_CHECKING:
    import pandas as _pandas  # type: ignore[import-not-found, import-untyped, unused-ignore]
    import pyarrow as _pyarrow  # type: ignore[import-not-found, import-untyped, unused-ignore]

__all__ = [
    "Alignment",
    "AlignmentEnsemble",
    "Category",
    "CategoryEnsemble",
    "Classification",
    "Decision",
    "Encoder",
    "Environment",
    "FrameCategory",
    "FrameTime",
    "Judge",
    "JudgeIdentity",
    "Model",
    "Probe",
    "Report",
    "Row",
    "Score",
    "Submission",
    "Unit",
    "Violation",
]

# One Literal each: stubtest takes one of several for a union, which it is not at run time.
Verdict = Union[Literal["accept"], Literal["reject"], Literal["inconclusive"]]
DecidedBy = Union[
    Literal["encoder"],
    Literal["agreement"],
    Literal["log-odds"],
    Literal["judge"],
    Literal["budget-spent"],
    Literal["too-long"],
]
_R = TypeVar("_R", bound="_Result")


@dataclass(frozen=True)
class _Result:
    _raw: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def _from(cls: type[_R], raw: Mapping[str, Any]) -> _R:
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers; a copy."""
        return copy.deepcopy(dict(self._raw))

    def to_json(self, *, indent: int | None = None) -> str:
        """The same as JSON text."""
        return json.dumps(self._raw, indent=indent, ensure_ascii=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.to_dict())


def _again(kind: type[_R], raw: dict[str, Any]) -> _R:
    return kind._from(raw)


def _floats(raw: Mapping[str, float]) -> Mapping[str, float]:
    return MappingProxyType(dict(raw))


def _optional(kind: type[_R], raw: Mapping[str, Any] | None) -> _R | None:
    return None if raw is None else kind._from(raw)


def _each(kind: type[_R], raws: Sequence[Mapping[str, Any]]) -> tuple[_R, ...]:
    return tuple(kind._from(raw) for raw in raws)


@dataclass(frozen=True)
class Model(_Result):
    """What a model is: everything that could change a score."""

    id: str
    architecture: str
    digests: Mapping[str, str]
    """SHA-256 by file name."""
    precision: str
    device: str

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> Model:
        digests = MappingProxyType(dict(raw["digests"]))
        return cls(raw, raw["id"], raw["architecture"], digests, raw["precision"], raw["device"])


@dataclass(frozen=True)
class Encoder(_Result):
    """The second of two models that decide together, with its card."""

    model: Model
    card: str
    """SHA-256 of the model card."""

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> Encoder:
        return cls(raw, Model._from(raw["model"]), raw["card"])


@dataclass(frozen=True)
class JudgeIdentity(_Result):
    """What a judge is: everything that could change an answer."""

    model: Model
    prompt: str
    """SHA-256 of what is the same in every question."""

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> JudgeIdentity:
        return cls(raw, Model._from(raw["model"]), raw["prompt"])


@dataclass(frozen=True)
class Judge(_Result):
    """The model that is asked about what is in doubt."""

    identity: JudgeIdentity
    threshold: float
    """P(yes) from which its answer is a yes."""
    budget: int
    """Questions of one interval at most."""

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> Judge:
        return cls(raw, JudgeIdentity._from(raw["identity"]), raw["threshold"], raw["budget"])


@dataclass(frozen=True)
class Environment(_Result):
    """What made the results: the same for everybody who wants to recompute them."""

    nexis: str
    """Version of this library."""
    device: str
    decoder: str
    preprocessing: str
    model: Model | None
    card: str | None
    """SHA-256 of the model card."""
    notice: str | None
    """What must be said beside every result of this model, such as that it is a demonstration."""
    ensemble: Encoder | None
    """The model that decides together with the first, where one was given."""
    judge: Judge | None
    """The judge that decides what is in doubt, where one was given."""

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> Environment:
        return cls(
            raw,
            raw["nexis"],
            raw["device"],
            raw["decoder"],
            raw["preprocessing"],
            _optional(Model, raw["model"]),
            raw["card"],
            raw["notice"],
            _optional(Encoder, raw.get("ensemble")),
            _optional(Judge, raw.get("judge")),
        )


@dataclass(frozen=True)
class Probe(_Result):
    """What a clip's stream is, read from the stream itself."""

    width: int
    """Displayed width in pixels."""
    height: int
    """Displayed height in pixels."""
    codec: str
    pixel_format: str
    fps: float
    duration_seconds: float
    frame_count: int | None
    """Frames that the container declares, where it does."""
    rotation: int
    """Clockwise, in degrees: 0, 90, 180 or 270."""
    has_audio: bool

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> Probe:
        return cls(
            raw,
            raw["width"],
            raw["height"],
            raw["codec"],
            raw["pixel_format"],
            raw["fps"],
            raw["duration_seconds"],
            raw["frame_count"],
            raw["rotation"],
            raw["has_audio"],
        )


@dataclass(frozen=True)
class FrameTime(_Result):
    """A frame that was judged."""

    pts_seconds: float
    rgb_sha256: str
    """SHA-256 of its RGB bytes."""

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> FrameTime:
        return cls(raw, raw["pts_seconds"], raw["rgb_sha256"])


@dataclass(frozen=True)
class Unit(_Result):
    """One sentence or clause of a caption against the frames."""

    text: str
    similarity: float
    """Mean cosine over the frames."""
    per_frame: tuple[float, ...]

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> Unit:
        return cls(raw, raw["text"], raw["similarity"], tuple(raw["per_frame"]))


@dataclass(frozen=True)
class Decision(_Result):
    """What decided a question where there is a judge, or a second model."""

    decided_by: DecidedBy
    """`encoder` or `agreement`: the one model, or both, and nothing was in doubt. `log-odds`: both together, for there is
    no judge to ask, or the question is none for a judge. `judge`. `budget-spent` and `too-long`: the models, for the judge could not be asked."""
    encoder: Verdict
    """What the model says without a judge, or both together."""
    yes: float | None
    """The judge's P(yes), where it was asked."""

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> Decision:
        return cls(raw, raw["decided_by"], raw["encoder"], raw["yes"])


@dataclass(frozen=True)
class Alignment(_Result):
    """Caption against frames. With an ensemble, the figures are the first model's and the verdict is that of both."""

    probability: float
    """P(match), 0 to 1."""
    threshold: float
    verdict: Verdict
    borderline: bool
    """Whether the probability is nearer to the threshold than devices differ."""
    units: tuple[Unit, ...]
    features: Mapping[str, float]
    cascade: Decision | None
    """What decided; None where there is neither a judge nor a second model, and the threshold did."""
    ensemble: AlignmentEnsemble | None
    """What the second model says, where there is one."""

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> Alignment:
        return cls(
            raw,
            raw["probability"],
            raw["threshold"],
            raw["verdict"],
            raw["borderline"],
            _each(Unit, raw["units"]),
            _floats(raw["features"]),
            _optional(Decision, raw.get("cascade")),
            _optional(AlignmentEnsemble, raw.get("ensemble")),
        )


@dataclass(frozen=True)
class AlignmentEnsemble(_Result):
    """What the second of two models says of a caption."""

    first: Verdict
    """What the first alone would decide."""
    second: Alignment
    """The second's own figures, and what it alone would decide."""
    log_odds: tuple[float, float]
    """How far each one's P(match) lies above its threshold, in log-odds, the first's first."""

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> AlignmentEnsemble:
        first, second = raw["log_odds"]
        return cls(raw, raw["first"], Alignment._from(raw["second"]), (first, second))


@dataclass(frozen=True)
class FrameCategory(_Result):
    """The seven scores of one frame."""

    frame_index: int
    winner: str
    scores: Mapping[str, float]
    """0 to 1 by label; they sum to 1."""

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> FrameCategory:
        return cls(raw, raw["frame_index"], raw["winner"], _floats(raw["scores"]))


@dataclass(frozen=True)
class Category(_Result):
    """The protocol's category check: caption gate, then the strict rule on the middle three frames."""

    caption_nature: float
    """P(nature) of the caption alone."""
    frames: tuple[FrameCategory, ...]
    decision: Verdict
    borderline: bool
    nature_score: float | None
    rival_score: float | None
    margin: float | None
    cascade: Decision | None
    """What decided, as in `Alignment`."""
    ensemble: CategoryEnsemble | None
    """What the second model says, where there is one."""

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> Category:
        return cls(
            raw,
            raw["caption_nature"],
            _each(FrameCategory, raw["frames"]),
            raw["decision"],
            raw["borderline"],
            raw["nature_score"],
            raw["rival_score"],
            raw["margin"],
            _optional(Decision, raw.get("cascade")),
            _optional(CategoryEnsemble, raw.get("ensemble")),
        )


@dataclass(frozen=True)
class CategoryEnsemble(_Result):
    """What the second of two models says of a category."""

    first: Verdict
    """What the first alone would decide."""
    second: Category
    """The second's own figures, and what it alone would decide."""
    log_odds: tuple[float, float] | None
    """How far each one's mean P(nature) of the frames lies above the protocol's limit, in log-odds, the first's first.
    None below three frames."""
    gate: tuple[float, float]
    """The same of P(nature) of the caption above the gate of each one's card."""

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> CategoryEnsemble:
        (first, second), frames = raw["gate"], raw["log_odds"]
        return cls(
            raw,
            raw["first"],
            Category._from(raw["second"]),
            None if frames is None else (frames[0], frames[1]),
            (first, second),
        )


@dataclass(frozen=True)
class Classification(_Result):
    """The labels of every frame of a clip, and the strict rule on the middle three, without a caption."""

    environment: Environment
    probe: Probe | None
    frames: tuple[FrameTime, ...]
    labels: tuple[FrameCategory, ...]
    decision: Verdict
    borderline: bool
    nature_score: float | None
    rival_score: float | None
    margin: float | None

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> Classification:
        return cls(
            raw,
            Environment._from(raw["environment"]),
            _optional(Probe, raw["probe"]),
            _each(FrameTime, raw["frames"]),
            _each(FrameCategory, raw["labels"]),
            raw["decision"],
            raw["borderline"],
            raw["nature_score"],
            raw["rival_score"],
            raw["margin"],
        )

    def __repr__(self) -> str:
        winners = ", ".join(label.winner for label in self.labels)
        nature = "none" if self.nature_score is None else f"{self.nature_score:.3f}"
        return f"Classification({self.decision}, nature {nature}, frames: {winners})"


@dataclass(frozen=True)
class Score(_Result):
    """One clip against one caption."""

    environment: Environment
    verdict: Verdict
    """Accept where both the caption and the category pass."""
    probe: Probe | None
    frames: tuple[FrameTime, ...]
    alignment: Alignment
    category: Category
    timings_ms: Mapping[str, float]

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> Score:
        return cls(
            raw,
            Environment._from(raw["environment"]),
            raw["verdict"],
            _optional(Probe, raw["probe"]),
            _each(FrameTime, raw["frames"]),
            Alignment._from(raw["alignment"]),
            Category._from(raw["category"]),
            _floats(raw["timings_ms"]),
        )

    def __repr__(self) -> str:
        match, nature = self.alignment, self.category.nature_score
        shown = "none" if nature is None else f"{nature:.3f}"
        return (
            f"Score({self.verdict}, P(match) {match.probability:.3f} of {match.threshold:.3f}: {match.verdict}, "
            f"nature {shown}: {self.category.decision})"
        )


@dataclass(frozen=True)
class Violation(_Result):
    """Something wrong: its stable code, and why in words."""

    code: str
    detail: str

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> Violation:
        return cls(raw, raw["code"], raw["detail"])


@dataclass(frozen=True)
class Row(_Result):
    """What was found in one row."""

    clip_id: str
    row_index: int
    """Its position in the dataset."""
    caption: str
    probe: Probe | None
    frames: tuple[FrameTime, ...]
    alignment: Alignment | None
    """None where an earlier phase stopped the row; so for `category`."""
    category: Category | None
    failures: tuple[str, ...]
    inconclusive: str | None
    """Why we could not check, where that is so."""
    evidence: str | None
    """SHA-256 of the record of evidence, where one was made."""
    timings_ms: Mapping[str, float]

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> Row:
        return cls(
            raw,
            raw["clip_id"],
            raw["row_index"],
            raw["caption"],
            _optional(Probe, raw["probe"]),
            _each(FrameTime, raw["frames"]),
            _optional(Alignment, raw["alignment"]),
            _optional(Category, raw["category"]),
            tuple(raw["failures"]),
            raw["inconclusive"],
            raw["evidence"],
            _floats(raw["timings_ms"]),
        )

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong and everything was checked."""
        return not self.failures and self.inconclusive is None

    def __repr__(self) -> str:
        found = self.inconclusive or ", ".join(self.failures) or "nothing wrong"
        match = "" if self.alignment is None else f", P(match) {self.alignment.probability:.3f}"
        return f"Row({self.clip_id}{match}: {found})"


@dataclass(frozen=True)
class Submission(_Result):
    """The decision on one miner's package."""

    miner_hotkey: str
    interval_id: int
    verdict: Verdict
    accepted: bool
    failures: tuple[str, ...]
    """Stable codes, in the order of the protocol's phases."""
    reasons: tuple[Violation, ...]
    warnings: tuple[Violation, ...]
    inconclusive: tuple[str, ...]
    record_count: int
    pruned_rows: int
    sampled_rows: int
    sampled_clip_ids: tuple[str, ...]
    passed_sample_count: int
    score: float
    checked_at: str
    notes: Mapping[str, str]
    rows: tuple[Row, ...]

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> Submission:
        return cls(
            raw,
            raw["miner_hotkey"],
            raw["interval_id"],
            raw["verdict"],
            raw["accepted"],
            tuple(raw["failures"]),
            _each(Violation, raw["reasons"]),
            _each(Violation, raw["warnings"]),
            tuple(raw["inconclusive"]),
            raw["record_count"],
            raw["pruned_rows"],
            raw["sampled_rows"],
            tuple(raw["sampled_clip_ids"]),
            raw["passed_sample_count"],
            raw["score"],
            raw["checked_at"],
            MappingProxyType(dict(raw["notes"])),
            _each(Row, raw["rows"]),
        )

    def __repr__(self) -> str:
        why = ", ".join(self.failures) or "; ".join(self.inconclusive)
        return (
            f"Submission({self.miner_hotkey}, interval {self.interval_id}: {self.verdict}, score {self.score:g}"
            f"{': ' + why if why else ''})"
        )


@dataclass(frozen=True)
class Report(_Result):
    """Everything found in one run."""

    environment: Environment
    policy: str
    submissions: tuple[Submission, ...]
    """Ordered by interval and hotkey."""
    weights: Mapping[str, float]
    """Normalised weight by hotkey, from this run's scores alone."""

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> Report:
        return cls(
            raw,
            Environment._from(raw["environment"]),
            raw["policy"],
            _each(Submission, raw["submissions"]),
            _floats(raw["weights"]),
        )

    @property
    def verdict(self) -> Verdict:
        """The worst of all: a rejection outweighs what could not be checked."""
        verdicts = {submission.verdict for submission in self.submissions}
        if "reject" in verdicts:
            return "reject"
        return "inconclusive" if "inconclusive" in verdicts or not verdicts else "accept"

    @property
    def accepted(self) -> bool:
        """Whether every submission is accepted."""
        return self.verdict == "accept"

    def __iter__(self) -> Iterator[Submission]:
        return iter(self.submissions)

    def __len__(self) -> int:
        return len(self.submissions)

    def __repr__(self) -> str:
        lines = [f"Report({self.verdict}, policy {self.policy}, {len(self.submissions)} submissions)"]
        if self.environment.notice:
            lines.append(f"  {self.environment.notice}")
        for submission in self.submissions:
            weight = self.weights.get(submission.miner_hotkey, 0.0)
            lines.append(f"  {submission!r}, weight {weight:.1%}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return _tables.html(self)

    def to_pandas(self) -> _pandas.DataFrame:
        """One line per judged row. Needs pandas."""
        return _tables.to_pandas(self)

    def to_arrow(self) -> _pyarrow.Table:
        """One line per judged row. Needs pyarrow."""
        return _tables.to_arrow(self)

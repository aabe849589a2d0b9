"""From clips and captions on disk to an interval package, and what would be wrong with it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal, Union

from . import _nexis
from ._inputs import whole
from ._progress import Progress, watcher
from .results import Report, _each, _optional, _Result
from .verifier import PathLike, Policy, Verifier, _default

__all__ = ["PackReport", "PackedRow", "Problem", "pack"]

_log = logging.getLogger("nexis")

Fit = Union[Literal["refuse"], Literal["letterbox"], Literal["crop"]]

_TEXTS = ("caption", "source_video_url", "source_video_id", "split")
_SECONDS = ("clip_start_sec", "file_start_sec")


@dataclass(frozen=True)
class Problem(_Result):
    """Something that a check found, and how to mend it."""

    code: str
    """The stable code, with the clips that it names."""
    detail: str
    """What was found, in words; may be empty where the code says it all."""
    remedy: str
    """What to do about it."""
    rejects: bool
    """Whether it rejects the package under the policy of the check; else it is a warning."""

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> Problem:
        return cls(raw, raw["code"], raw["detail"], raw["remedy"], raw["rejects"])

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{'' if self.rejects else 'warning: '}{self.code}{detail}. {self.remedy}"


@dataclass(frozen=True)
class PackedRow(_Result):
    """A row of the package."""

    clip_id: str
    clip: str
    """The file that the clip came from."""
    treatment: Literal["copied", "encoded"]
    """`copied`: byte for byte. `encoded`: cut, scaled or both."""
    reasons: tuple[str, ...]
    """What did not fit, where it was encoded."""
    record: Mapping[str, Any]
    """The 18 columns as they stand in the dataset."""
    problems: tuple[Problem, ...]

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> PackedRow:
        record = raw["record"]
        return cls(
            raw,
            record["clip_id"],
            raw["clip"],
            raw["treatment"],
            tuple(raw["reasons"]),
            record,
            _each(Problem, raw["problems"]),
        )

    @property
    def accepted(self) -> bool:
        """Whether nothing that was found in this row rejects the package."""
        return not any(problem.rejects for problem in self.problems)


@dataclass(frozen=True)
class PackReport(_Result):
    """A package that was made, and what a check of all its rows found."""

    folder: Path
    """The interval's folder, `{out}/{interval}`."""
    manifest: Mapping[str, Any]
    rows: tuple[PackedRow, ...]
    """In the order of the items."""
    problems: tuple[Problem, ...]
    """Those of the package as a whole; a row's own stand at the row."""
    report: Report | None
    """What the check found in every row; None where none was made."""

    @classmethod
    def _from(cls, raw: Mapping[str, Any]) -> PackReport:
        return cls(
            raw,
            Path(raw["folder"]),
            raw["manifest"],
            _each(PackedRow, raw["rows"]),
            _each(Problem, raw["problems"]),
            _optional(Report, raw["report"]),
        )

    @property
    def verified(self) -> bool:
        """Whether the package was checked, clips and all; if not, `problems` shows what the rows alone show."""
        return self.report is not None

    @property
    def accepted(self) -> bool:
        """Whether nothing that was found rejects the package. Where it was not verified, that says little."""
        if self.report is not None:
            return self.report.accepted
        return not any(p.rejects for p in self.problems) and all(row.accepted for row in self.rows)

    def __repr__(self) -> str:
        state = "accepted" if self.accepted else "rejected"
        if self.report is not None and self.report.verdict == "inconclusive":
            state = "inconclusive"
        if not self.verified:
            state = f"not verified, rows {'in order' if self.accepted else 'at fault'}"
        return f"PackReport({str(self.folder)!r}, {len(self.rows)} rows, {state})"

    def __str__(self) -> str:
        lines = [repr(self), *(f"  {problem}" for problem in self.problems)]
        for i, row in enumerate(self.rows):
            lines.append(f"  item {i}: {row.clip_id} {row.treatment}{'' if row.accepted else ', would fail'}")
            lines += [f"    {problem}" for problem in row.problems]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        def cell(problems: tuple[Problem, ...]) -> str:
            return "<br>".join(escape(str(problem)) for problem in problems) or "&ndash;"

        rows = "".join(
            f"<tr><td>{i}</td><td><code>{escape(row.clip_id)}</code></td><td>{row.treatment}</td>"
            f"<td>{'yes' if row.accepted else 'no'}</td><td style='text-align:left'>{cell(row.problems)}</td></tr>"
            for i, row in enumerate(self.rows)
        )
        head = "<tr><th>item</th><th>clip</th><th>treatment</th><th>holds</th><th>problems</th></tr>"
        package = f"<p>{cell(self.problems)}</p>" if self.problems else ""
        return f"<p>{escape(repr(self))}</p>{package}<table>{head}{rows}</table>"


def _item(item: Any, place: int) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise TypeError(f"items[{place}]: a dict is needed, not {type(item).__name__}")
    plain = {key: value for key, value in item.items() if value is not None}
    for key in ("clip", "caption", "source_video_url", "clip_start_sec"):
        if key not in plain:
            raise ValueError(f"items[{place}]: {key} is missing")
    clip = os.fspath(plain["clip"])
    if not isinstance(clip, str):
        raise TypeError(f"items[{place}]: clip: a path is needed")
    plain["clip"] = clip
    for key in _TEXTS:
        if key in plain and not isinstance(plain[key], str):
            raise TypeError(f"items[{place}]: {key}: text is needed, not {type(plain[key]).__name__}")
    for key in _SECONDS:
        if key in plain:
            if isinstance(plain[key], (str, bytes, bool)):
                raise TypeError(f"items[{place}]: {key}: a number of seconds is needed")
            plain[key] = float(plain[key])
    return plain


def pack(
    items: Iterable[Mapping[str, Any]],
    out: PathLike,
    *,
    hotkey: str,
    interval: int,
    fit: Fit = "refuse",
    overwrite: bool = False,
    netuid: int = 70,
    verify: bool = True,
    policy: Policy = "network",
    model: PathLike | Verifier = "demo",
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = None,
) -> PackReport:
    """Build the package of one interval in the folder `{out}/{interval}`, and check every row of it.

    An item is a dict: `clip` (path of a video), `caption`, `source_video_url`, `clip_start_sec` (start in that video,
    in seconds), and where wanted `source_video_id` (else taken from the address), `split` ("train"), `file_start_sec`
    (start in the file, where the file is longer than the clip) and `source_proof` (a dict of further facts, texts).

    A clip that is 1280x720 and 5 s long is copied byte for byte. `fit` says what becomes of others: `refuse` raises and
    says what is wrong; `letterbox` cuts and scales them, with black bars where the shape differs; `crop` cuts and
    scales them so that the frame is filled. What is shorter is always refused.

    The package appears whole or not at all; one that is there already is replaced only with `overwrite`. `verify=False`
    leaves out the check with a model. A package that would be rejected is written all the same: the report says per
    row what would fail and how to mend it. `model` may be a `Verifier` that is loaded already; `device` and `threads`
    are then its own.

    Raises `UndecodableClip`, `FileNotFoundError` or `ValueError`, each naming every item at fault.
    """
    if isinstance(items, (str, bytes, Mapping)):
        raise TypeError("items: a list of dicts is needed")
    plain = [_item(item, place) for place, item in enumerate(items)]
    verifier = None
    if verify:
        verifier = model if isinstance(model, Verifier) else _default(model, device, threads)
    raw = dict(
        _nexis.pack(
            plain,
            os.fspath(out),
            hotkey,
            interval,
            fit=fit,
            overwrite=overwrite,
            netuid=whole(netuid, "netuid"),
            policy=policy,
            engine=None if verifier is None else verifier._engine,
            threads=0 if threads is None else whole(threads, "threads"),
            progress=watcher(progress, "packing and judging" if verify else "packing"),
        )
    )
    advice = raw.pop("advice")
    raw["problems"] = advice["package"]
    raw["rows"] = [{**row, "problems": found} for row, found in zip(raw["rows"], advice["rows"])]
    report = PackReport._from(raw)
    _log.info("%r", report)
    return report

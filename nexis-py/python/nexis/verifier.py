"""A loaded model and what judges with it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union

import numpy as np
from numpy.typing import NDArray

from . import _nexis
from ._inputs import Clip, clip_path, pixels, whole
from ._progress import Progress, watcher
from .errors import UndecodableClip
from .results import Classification, Environment, Report, Row, Score

if TYPE_CHECKING:
    import pandas as _pandas  # type: ignore[import-not-found, import-untyped, unused-ignore]
    import pyarrow as _pyarrow  # type: ignore[import-not-found, import-untyped, unused-ignore]

__all__ = ["Verifier", "classify", "encode_image", "encode_text", "score", "verify"]

_log = logging.getLogger("nexis")

Policy = Union[Literal["network"], Literal["strict"]]
Precision = Union[Literal["exact"], Literal["fast"], Literal["f32"], Literal["bf16"], Literal["f16"]]
PathLike = Union[str, "os.PathLike[str]"]
Rows = Union[Sequence[Mapping[str, Any]], "_pandas.DataFrame", "_pyarrow.Table"]

_MAX_RECORD_INFO_BYTES = 256 << 20


def _models_roots(models_dir: PathLike | None) -> list[str]:
    """Where models are looked for: the folder given, that of NEXIS_MODELS, or the package's own."""
    given = models_dir if models_dir is not None else os.environ.get("NEXIS_MODELS") or None
    if given is not None:
        return [os.fspath(given)]
    return [str(Path(__file__).parent / "models")]


class Verifier:
    """A model, loaded once, and the checks that use it. Threads may share one.

    `model` is an id or a folder of a CLIP, a SigLIP or a MobileCLIP with a card.toml; ids are looked for in
    `models_dir`, else in the folder that the environment variable NEXIS_MODELS names, else in the package.
    `ensemble` is a second such model, trained on other data, that decides together with the first; `judge` is a
    vision-language model that decides what they leave in doubt (`Qwen/Qwen3-VL-2B-Instruct`, say, or a folder).
    Both are None where not wanted. `device` is `auto`, `cpu` or `cuda:N`, or several devices of one kind:
    `cuda:0,cuda:1` or `cuda:all`. `policy` is the default of `verify`. `threads` (all cores where None) and `batch`
    change speed and memory, never a score. `max_wall_s` is the longest wall time for one clip; on a GPU up to twice
    that, where the processor decodes anew what the GPU could not. `precision` is that of the forward pass: `exact`
    gives the same bits on every processor; `fast` rounds to bfloat16, for a first look, and needs AVX512-BF16;
    `f32` is another library's composition, to compare with; `bf16` and `f16` run on a GPU. Their scores differ.

    Raises `ModelUnavailable` or `DeviceUnavailable`, with what to do about it.
    """

    def __init__(
        self,
        model: PathLike = "demo",
        *,
        models_dir: PathLike | None = None,
        device: str = "auto",
        policy: Policy = "network",
        threads: int | None = None,
        batch: int = 16,
        max_wall_s: float = 20.0,
        precision: Precision = "exact",
        ensemble: PathLike | None = None,
        judge: PathLike | None = None,
    ) -> None:
        if policy not in ("network", "strict"):
            raise ValueError(f'policy: "network" or "strict", not {policy!r}')
        self._policy: Policy = policy
        self._engine = _nexis.Engine(
            os.fspath(model),
            _models_roots(models_dir),
            device,
            whole(batch, "batch"),
            0 if threads is None else whole(threads, "threads"),
            max_wall_s,
            precision,
            None if ensemble is None else os.fspath(ensemble),
            None if judge is None else os.fspath(judge),
        )
        self._environment = Environment._from(self._engine.environment())
        if self._environment.notice:
            _log.warning("model %s: %s", model, self._environment.notice)

    @property
    def environment(self) -> Environment:
        """What makes this verifier's results."""
        return self._environment

    def __repr__(self) -> str:
        model = self._environment.model
        name = "none" if model is None else f"{model.id}, {model.precision}"
        if self._environment.ensemble is not None:
            name += f", with {self._environment.ensemble.model.id}"
        if self._environment.judge is not None:
            name += f", judge {self._environment.judge.identity.model.id}"
        return f"Verifier({name} on {self._environment.device}, policy {self._policy})"

    def verify(
        self,
        path: PathLike,
        *,
        interval: int | None = None,
        hotkey: str | None = None,
        validator_hotkey: str | None = None,
        record_info: PathLike | None = None,
        all_rows: bool = False,
        policy: Policy | None = None,
        evidence: PathLike | None = None,
        progress: Progress = None,
        judge_budget: int | None = None,
    ) -> Report:
        """Judge the packages under a path: an interval folder, a bucket, or a folder of buckets named by hotkey.

        `interval`: this one only. `hotkey`: the miner that the manifests must name. `validator_hotkey`: whose sample
        of rows is drawn. `record_info`: the file of the global index of accepted clips. `all_rows`: every row
        instead of the sample. `evidence`: a folder for one record per judged row. `progress`: False for none, True
        for lines in any case, or a function of (judged, rows); by default it shows on a terminal or in a notebook.
        `judge_budget`: questions that the judge is asked per interval at most, 35 where None; what is in doubt beyond
        that is decided without it.

        What a miner did wrong is in the report and raises nothing.
        """
        known = None
        if record_info is not None:
            with open(record_info, "rb") as file:
                known = file.read(_MAX_RECORD_INFO_BYTES + 1)
        raw = self._engine.verify(
            os.fspath(path),
            interval=interval,
            hotkey=hotkey,
            validator_hotkey=validator_hotkey,
            record_info=known,
            all_rows=all_rows,
            policy=self._policy if policy is None else policy,
            evidence=None if evidence is None else os.fspath(evidence),
            progress=watcher(progress),
            judge_budget=None if judge_budget is None else whole(judge_budget, "judge_budget", (1 << 32) - 1),
        )
        report = Report._from(raw)
        _log.info("%s: %s, %d submissions", path, report.verdict, len(report))
        return report

    def verify_rows(self, rows: Rows, asset_root: PathLike, *, interval: int | None = None) -> list[Row]:
        """Judge each of these rows on the files below `asset_root`, an interval's folder: assets, caption, category.

        `rows`: dicts of the 18 columns, a pandas DataFrame or a pyarrow Table. `interval` is needed only where URIs
        repeat its number in front; a folder named by it says it already. What concerns rows among each other is
        `nexis.protocol.hard_checks`. Raises `InvalidRow`, which says which row and column, where one does not hold.
        """
        given: Any = rows
        if hasattr(given, "to_pylist"):
            given = given.to_pylist()
        elif hasattr(given, "to_dict") and hasattr(given, "columns"):
            given = given.to_dict("records")
        if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
            raise TypeError(f"rows: a list of dicts, a DataFrame or a Table, not {type(rows).__name__}")
        given = list(given)
        for i, row in enumerate(given):
            if not isinstance(row, Mapping):
                raise TypeError(f"rows[{i}]: a dict of columns is needed, not {type(row).__name__}")
        root = os.fspath(asset_root)
        if interval is None:
            name = os.path.basename(os.path.abspath(root))
            interval = int(name) if name.isascii() and name.isdigit() and len(name) < 20 else 0
        plain = [dict(row) for row in given]
        return [Row._from(raw) for raw in self._engine.verify_rows(plain, root, whole(interval, "interval"))]

    def score(self, clip: Clip, caption: str) -> Score:
        """One clip against one caption. Raises `UndecodableClip` where the clip cannot be decoded."""
        return self.score_many([clip], [_caption(caption, "caption")])[0]

    def score_many(self, clips: Sequence[Clip], captions: Sequence[str]) -> list[Score]:
        """Clips against captions, pair by pair and in parallel; results in the order of the pairs.

        Raises `UndecodableClip` for the first clip that cannot be decoded.
        """
        clips = list(clips)
        if isinstance(captions, str):
            raise TypeError("captions: a list is needed, not a single text")
        texts = [_caption(caption, f"captions[{i}]") for i, caption in enumerate(captions)]
        if len(clips) != len(texts):
            raise ValueError(f"{len(clips)} clips and {len(texts)} captions; as many of each are needed")
        with ExitStack() as stack:
            paths = [stack.enter_context(clip_path(clip)) for clip in clips]
            found = self._engine.score_many(paths, texts)
        for i, raw in enumerate(found):
            if "undecodable" in raw:
                where = "" if len(found) == 1 else f"clips[{i}]: "
                raise UndecodableClip(f"{where}{raw['undecodable']}")
        return [Score._from(raw) for raw in found]

    def score_frames(self, frames: Any, caption: str) -> Score:
        """Frames of one size `[N, H, W, 3]`, in order of time, against a caption."""
        return Score._from(self._engine.score_frames(pixels(frames), _caption(caption, "caption")))

    def classify(self, clip: Clip) -> Classification:
        """The seven labels of each of a clip's six frames, by the first model alone, without ensemble and judge."""
        with clip_path(clip) as path:
            return Classification._from(self._engine.classify(path))

    def classify_frames(self, frames: Any) -> Classification:
        """The seven labels of each frame of `[N, H, W, 3]`; as `classify`."""
        return Classification._from(self._engine.classify_frames(pixels(frames)))

    def encode_image(self, frames: Any) -> NDArray[np.float32]:
        """Embeddings of frames `[N, H, W, 3]` (uint8; an array, anything with `__array__` or DLPack, or a list of
        frames): float32 `[N, D]`, each row of unit length, of what the model's own processor makes of a frame: of
        CLIP and MobileCLIP the centre square, of SigLIP the whole, squeezed into a square. Scores are of squares that cover the frame.
        """
        return self._engine.encode_image(pixels(frames))

    def encode_text(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of captions: float32 `[N, D]`, each row of unit length. Long ones are never cut: they get the
        centre of their sentences and clauses.
        """
        if isinstance(captions, (str, bytes)):
            raise TypeError("captions: a list is needed, not a single text")
        return self._engine.encode_text(list(captions))


def _caption(caption: Any, name: str) -> str:
    if not isinstance(caption, str):
        raise TypeError(f"{name}: text is needed, not {type(caption).__name__}")
    if not caption.strip():
        raise ValueError(f"{name}: it is empty; say what the clip shows")
    return caption


_shared: dict[tuple[Any, ...], Verifier] = {}
_shared_lock = threading.Lock()


def _unlock_in_child() -> None:
    # Another thread of the parent may have held the lock; in the child nobody would ever give it back.
    global _shared_lock
    _shared_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_in_child)


def _default(
    model: PathLike = "demo",
    device: str = "auto",
    threads: int | None = None,
    ensemble: PathLike | None = None,
    judge: PathLike | None = None,
) -> Verifier:
    """One verifier for each way in which the functions of the module are called."""
    others = tuple(None if other is None else os.fspath(other) for other in (ensemble, judge))
    key = (os.fspath(model), device, threads, others, tuple(_models_roots(None)))
    with _shared_lock:
        verifier = _shared.get(key)
        if verifier is None:
            verifier = Verifier(model, device=device, threads=threads, ensemble=ensemble, judge=judge)
            _shared[key] = verifier
        return verifier


def verify(
    path: PathLike,
    *,
    interval: int | None = None,
    hotkey: str | None = None,
    validator_hotkey: str | None = None,
    record_info: PathLike | None = None,
    all_rows: bool = False,
    policy: Policy = "network",
    evidence: PathLike | None = None,
    model: PathLike = "demo",
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = None,
    ensemble: PathLike | None = None,
    judge: PathLike | None = None,
    judge_budget: int | None = None,
) -> Report:
    """Judge the packages under a path, as `Verifier.verify` does; the models stay loaded for the next call."""
    return _default(model, device, threads, ensemble, judge).verify(
        path,
        interval=interval,
        hotkey=hotkey,
        validator_hotkey=validator_hotkey,
        record_info=record_info,
        all_rows=all_rows,
        policy=policy,
        evidence=evidence,
        progress=progress,
        judge_budget=judge_budget,
    )


def score(clip: Clip, caption: str) -> Score:
    """One clip against one caption, with the demonstration model unless a `Verifier` of your own is used."""
    return _default().score(clip, caption)


def classify(clip: Clip) -> Classification:
    """The seven labels of each of a clip's six frames; as `score`."""
    return _default().classify(clip)


def encode_image(frames: Any) -> NDArray[np.float32]:
    """Embeddings of frames, as `Verifier.encode_image`; as `score`."""
    return _default().encode_image(frames)


def encode_text(captions: Sequence[str]) -> NDArray[np.float32]:
    """Embeddings of captions, as `Verifier.encode_text`; as `score`."""
    return _default().encode_text(captions)

"""Checks in the shape that validators of the network call, decided on this machine.

`CaptionSemanticChecker` and `NatureCategoryChecker` take the arguments, and return the failure codes, of the
network's own classes of these names, which ask a hosted model. Where a validator imports those, it can import
these and change nothing else::

    from nexis.compat import CaptionSemanticChecker, NatureCategoryChecker

    captions = CaptionSemanticChecker(enabled=True, max_samples=8)
    failures = captions.check(sampled=rows, frame_paths_by_clip_id=frames)

There is no key, no request and no outage. What is left to go wrong is ours, never the miner's: no model, a damaged
frame, a full disk. `on_error` says what then happens.
"""

from __future__ import annotations

import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from .errors import CouldNotCheck, NexisError
from .verifier import Verifier, _default

__all__ = ["CaptionSemanticChecker", "NatureCategoryChecker"]

_log = logging.getLogger("nexis.compat")

# What is ours, or of the one who runs the check; what the miner did comes back as a code.
_OURS = (NexisError, OSError, RuntimeError, ValueError)

_FramePaths = Mapping[str, Sequence["str | os.PathLike[str]"]]


class _Checker(ABC):
    """What the two checks share: settings, the model, and the walk over the rows."""

    def __init__(
        self,
        *,
        enabled: bool = True,
        max_samples: int | None = None,
        verifier: Verifier | None = None,
        local_model: str | os.PathLike[str] = "demo",
        on_error: Literal["raise", "pass"] = "raise",
        api_key: str | None = None,
        api_keys: Sequence[str] | None = None,
        model: str | None = None,
        timeout_sec: float | None = None,
        provider: str | None = None,
        base_url: str | None = None,
        max_transient_retries: int | None = None,
        max_key_rotation_rounds: int | None = None,
        retry_base_sleep_sec: float | None = None,
        retry_sleep_cap_sec: float | None = None,
    ) -> None:
        if on_error not in ("raise", "pass"):
            raise ValueError(f'on_error: {on_error!r} is neither "raise" nor "pass"')
        self._enabled = bool(enabled)
        self._limit = None if max_samples is None else max(0, int(max_samples))
        self._on_error = on_error
        self._local_model = local_model
        self._verifier = verifier
        self._loading = threading.Lock()
        hosted = {
            "api_key": api_key,
            "api_keys": api_keys,
            "model": model,
            "timeout_sec": timeout_sec,
            "provider": provider,
            "base_url": base_url,
            "max_transient_retries": max_transient_retries,
            "max_key_rotation_rounds": max_key_rotation_rounds,
            "retry_base_sleep_sec": retry_base_sleep_sec,
            "retry_sleep_cap_sec": retry_sleep_cap_sec,
        }
        unused = [name for name, value in hosted.items() if value is not None]
        if unused:
            # The names alone: one of the values is a secret.
            _log.info("%s decides locally; not used: %s", type(self).__name__, ", ".join(unused))

    @property
    def active(self) -> bool:
        """Whether `check` looks at anything. No key is needed for it."""
        return self._enabled and self._limit != 0

    def load(self) -> Verifier:
        """Load the model now and return the verifier, so that a missing model shows before any row is judged.

        Raises `CouldNotCheck` where it cannot be loaded, whatever `on_error` says.
        """
        with self._loading:
            if self._verifier is None:
                try:
                    self._verifier = _default(self._local_model)
                except _OURS as error:
                    raise CouldNotCheck(f"model {self._local_model}: {error}") from error
            return self._verifier

    def check(self, *, sampled: Iterable[Any], frame_paths_by_clip_id: _FramePaths) -> list[str]:
        """The failure codes of the sampled rows, in their order; an empty list where all pass.

        `sampled`: records with the attributes, or dicts with the keys, `clip_id`, `caption` and
        `first_frame_uri` (which may be absent). `frame_paths_by_clip_id`: for each clip id the JPEG or PNG files
        of its frames, in order of time; files that are not there are left out.
        """
        if not self.active:
            return []
        failures: list[str] = []
        checked = 0
        for position, row in enumerate(sampled):
            if self._limit is not None and checked >= self._limit:
                break
            clip_id = _text(row, "clip_id", position)
            caption = _text(row, "caption", position)
            paths = _paths(frame_paths_by_clip_id, clip_id)
            try:
                found = self._find(clip_id, caption, paths, _optional_text(row, "first_frame_uri"))
            except _OURS as error:
                if self._on_error == "raise":
                    raise CouldNotCheck(f"clip {clip_id}: {error}") from error
                _log.error("clip %s could not be checked and passes: %s", clip_id, error)
                checked += 1
                continue
            checked += found is not None or self._counts(paths)
            if found is not None:
                _log.info("%s: %s", found["code"], found["detail"])
                failures.append(found["code"])
        return failures

    @abstractmethod
    def _find(
        self, clip_id: str, caption: str, paths: list[str], first_frame_uri: str | None
    ) -> dict[str, Any] | None:
        """What is wrong with one row: its code and, for people, why."""

    def _counts(self, paths: list[str]) -> bool:
        """Whether a row in which nothing was found counts towards `max_samples`."""
        return True


class CaptionSemanticChecker(_Checker):
    """Phase 6: does each caption describe its frames?

    A row earns at most one code:

    - `caption_semantic_injection_keyword:{clip}` where the caption has `match` or `true` as a word;
    - `caption_semantic_mismatch:{clip}` where it does not describe the frames.

    A row without a frame earns none: a clip that is not there has a code of its own in an earlier phase. The
    first-frame picture that the miner submitted is not looked at beside frames of the clip, since nothing says that
    it is of the clip; neither does `nexis.verify` look at it here. At most twelve frames are read.

    `enabled` and `max_samples` (rows looked at in one call; all where None) mean what they do on the network.
    `verifier` is the `nexis.Verifier` to use; where there is none, one with `local_model` is made at the first row
    and shared by all checks of the process. `on_error="raise"` raises `CouldNotCheck` at the first row that cannot
    be checked for a reason of ours; `"pass"` logs it and lets the row pass, as hosted checks do in an outage. The
    other arguments set up hosted models: they are taken and not used, so a call need not change, and `model`
    among them is not `local_model`.
    """

    def _find(
        self, clip_id: str, caption: str, paths: list[str], first_frame_uri: str | None
    ) -> dict[str, Any] | None:
        return self.load()._engine.check_caption(clip_id, caption, paths, first_frame_uri)

    def _counts(self, paths: list[str]) -> bool:
        return any(os.path.exists(path) for path in paths)


class NatureCategoryChecker(_Checker):
    """Phase 7: is natural scenery the main subject?

    A row earns at most one code:

    - `category_caption_reject:{clip}` where the caption is plainly about something else; no frame is needed;
    - `category_strict_frames_missing:{clip}` where fewer than three different frames are there;
    - `category_strict_reject:{clip}` where the middle three of them are not nature by the network's rule.

    The arguments are those of `CaptionSemanticChecker`.
    """

    def _find(
        self, clip_id: str, caption: str, paths: list[str], first_frame_uri: str | None
    ) -> dict[str, Any] | None:
        return self.load()._engine.check_category(clip_id, caption, paths, first_frame_uri)


def _field(row: object, name: str) -> object:
    if isinstance(row, Mapping):
        return row.get(name)
    return getattr(row, name, None)


def _text(row: object, name: str, position: int) -> str:
    value = _field(row, name)
    if not isinstance(value, str):
        raise TypeError(f"sampled[{position}].{name}: text is needed, not {type(value).__name__}")
    return value


def _optional_text(row: object, name: str) -> str | None:
    value = _field(row, name)
    return value if isinstance(value, str) else None


def _paths(frame_paths: _FramePaths, clip_id: str) -> list[str]:
    paths = frame_paths.get(clip_id, ())
    if isinstance(paths, (str, bytes, os.PathLike)):
        raise TypeError(f"frame_paths_by_clip_id[{clip_id!r}]: a list of paths is needed, not a single one")
    return [os.fspath(path) for path in paths]

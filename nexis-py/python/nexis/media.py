"""Decoding by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _nexis
from ._inputs import Clip, clip_path, seconds
from .results import Probe

__all__ = ["decode", "probe"]


def decode(clip: Clip, at: Sequence[float] | NDArray[Any] | None = None) -> NDArray[np.uint8]:
    """Frames of a clip: uint8 `[N, H, W, 3]`, RGB as displayed.

    `at`: instants in seconds from the first frame, in any order; each gives the last frame that is not after it.
    Without it, the verifier's six frames. Raises `UndecodableClip` where the clip cannot be decoded within the
    limits.
    """
    instants = seconds(at)
    with clip_path(clip) as path:
        frames, _ = _nexis.decode(path, instants)
    return frames


def probe(clip: Clip) -> Probe:
    """What a clip's stream is. Raises `UndecodableClip` where the file is no acceptable clip."""
    with clip_path(clip) as path:
        return Probe._from(_nexis.probe(path))

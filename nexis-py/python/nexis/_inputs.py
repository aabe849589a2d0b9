"""What callers may give: clips and frames in the forms in which Python has them."""

from __future__ import annotations

import operator
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, Union

import numpy as np
from numpy.typing import NDArray

from . import _nexis
from .errors import UndecodableClip

Clip = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, IO[bytes]]


def whole(value: Any, name: str, most: int = (1 << 64) - 1) -> int:
    """A whole number that the extension can hold. What is true or false is none."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{name}: a whole number is needed, not {type(value).__name__}")
    if not 0 <= number <= most:
        # One with thousands of digits helps nobody.
        shown = number if number.bit_length() <= 128 else "such a number"
        raise ValueError(f"{name}: 0 to {most}, not {shown}")
    return number


def _path(clip: str | os.PathLike[str]) -> str:
    path = os.fspath(clip)
    if not isinstance(path, str):
        raise TypeError("clip: a path is text, not bytes; bytes are taken as the clip itself")
    if not os.path.exists(path):
        raise FileNotFoundError(f"clip: there is no file {path!r}")
    if os.path.isdir(path):
        raise IsADirectoryError(f"clip: {path!r} is a folder; to judge packages: nexis.verify")
    return path


def _bytes(clip: Any) -> bytes | bytearray | memoryview:
    if isinstance(clip, (bytes, bytearray, memoryview)):
        return clip
    read = getattr(clip, "read", None)
    if not callable(read):
        raise TypeError(f"clip: a path, bytes or a file open for reading bytes, not {type(clip).__name__}")
    if isinstance(getattr(clip, "encoding", None), str) or hasattr(clip, "newlines"):
        raise TypeError('clip: the file is open for text; open it with mode "rb"')
    data = read(_nexis.MAX_CLIP_BYTES + 1)
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"clip: its read() gave {type(data).__name__}, not bytes")
    return data


@contextmanager
def clip_path(clip: Clip) -> Iterator[str]:
    """The path of a clip; bytes lie in a temporary file meanwhile."""
    if isinstance(clip, (str, os.PathLike)):
        yield _path(clip)
        return
    data = _bytes(clip)
    if memoryview(data).nbytes > _nexis.MAX_CLIP_BYTES:
        raise UndecodableClip(f"more than {_nexis.MAX_CLIP_BYTES} bytes")
    with tempfile.TemporaryDirectory(prefix="nexis-") as folder:
        path = os.path.join(folder, "clip")
        with open(path, "wb") as file:
            file.write(data)
        yield path


def seconds(at: Any) -> list[float] | None:
    """Instants as a list of floats."""
    if at is None:
        return None
    if isinstance(at, (str, bytes)):
        raise TypeError("at: a list of seconds is needed, not text")
    try:
        array = np.asarray(at, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError("at: a list of seconds is needed") from None
    if array.ndim != 1:
        raise ValueError("at: a flat list of seconds is needed")
    if not np.isfinite(array).all():
        raise ValueError("at: every instant must be a finite number of seconds")
    return [float(second) for second in array]


def _array(value: Any, name: str) -> NDArray[Any]:
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, (str, bytes, bytearray)) or value is None:
        raise TypeError(f"{name}: pixels are needed, not {type(value).__name__}")
    if hasattr(value, "mode") and hasattr(value, "convert"):  # a picture of Pillow's
        return np.asarray(value.convert("RGB"))
    if hasattr(value, "__array__") or hasattr(value, "__array_interface__"):
        return np.asarray(value)
    if hasattr(value, "__dlpack__"):
        try:
            return np.from_dlpack(value)
        except (BufferError, RuntimeError, TypeError) as error:
            raise TypeError(f"{name}: pixels must lie in main memory as uint8: {error}") from error
    raise TypeError(f"{name}: an array, or something that becomes one, is needed, not {type(value).__name__}")


def pixels(frames: Any) -> NDArray[np.uint8]:
    """Frames as one array `[N, H, W, 3]` of uint8; no copy where they are one already."""
    if isinstance(frames, Sequence) and not isinstance(frames, (str, bytes, bytearray, memoryview)):
        if not frames:
            raise ValueError("frames: at least one is needed")
        parts = [_array(frame, f"frames[{i}]") for i, frame in enumerate(frames)]
        shapes = {part.shape for part in parts}
        if len(shapes) > 1:
            raise ValueError(f"frames: all must have one size, these have {sorted(shapes)[:4]}")
        array = np.stack(parts)
    else:
        array = _array(frames, "frames")
    if array.dtype != np.uint8:
        raise TypeError(f"frames: uint8 is needed, not {array.dtype}; scale to 0..255 and convert")
    if array.ndim == 3:
        raise ValueError(f"frames: [N, H, W, 3] is needed, not {array.shape}; for one frame: frame[None]")
    if array.ndim != 4 or array.shape[3] != 3 or 0 in array.shape:
        raise ValueError(f"frames: [N, H, W, 3] is needed, not {array.shape}")
    return array

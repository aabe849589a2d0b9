"""Progress of long calls: a bar of tqdm's where there is one, else plain lines, and only where somebody looks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Union

Progress = Union[bool, None, Callable[[int, int], None]]


def _in_notebook() -> bool:
    # Whoever is in a notebook has imported it; importing it here would cost everybody else half a second.
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


def watcher(progress: Progress) -> Callable[[int, int], None] | None:
    """What to call with (judged, rows); None where nothing is to be shown."""
    if callable(progress):
        return progress
    if progress is False:
        return None
    looked_at = sys.stderr is not None and (sys.stderr.isatty() or _in_notebook())
    if not looked_at and progress is not True:
        return None
    return _bar() or _lines


def _bar() -> Callable[[int, int], None] | None:
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        return None
    bar: Any = None

    def show(judged: int, rows: int) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(total=rows, desc="judging", unit="row")
        bar.n = max(bar.n, judged)
        bar.refresh()
        if judged >= rows:
            bar.close()

    return show


_last = 0.0


def _lines(judged: int, rows: int) -> None:
    global _last
    now = time.monotonic()
    if now - _last >= 1.0 or judged >= rows:
        _last = now
        print(f"judging rows: {judged} of {rows}", file=sys.stderr)

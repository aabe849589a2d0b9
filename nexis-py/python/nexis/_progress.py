"""Progress of long calls: a bar of tqdm's where there is one, else plain lines, and only where somebody looks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Union

Progress = Union[bool, None, Callable[[int, int], None]]


def _in_notebook() -> bool:
    # Whoever is in a notebook has imported it; importing it here would cost everybody else half a second.
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


def looked_at() -> bool:
    """Whether somebody sees what is shown."""
    return (sys.stderr is not None and sys.stderr.isatty()) or _in_notebook()


def watcher(progress: Progress, doing: str = "judging") -> Callable[[int, int], None] | None:
    """What to call with (rows done, rows); None where nothing is to be shown. `doing` is the label."""
    if callable(progress):
        return progress
    if progress is False:
        return None
    if not looked_at() and progress is not True:
        return None
    return _bar(doing) or partial(_lines, doing)


def _bar(doing: str) -> Callable[[int, int], None] | None:
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        return None
    bar: Any = None

    def show(judged: int, rows: int) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(total=rows, desc=doing, unit="row")
        bar.n = max(bar.n, judged)
        bar.refresh()
        if judged >= rows:
            bar.close()

    return show


_last = 0.0


def _lines(doing: str, judged: int, rows: int) -> None:
    global _last
    now = time.monotonic()
    if now - _last >= 1.0 or judged >= rows:
        _last = now
        print(f"{doing} rows: {judged} of {rows}", file=sys.stderr)

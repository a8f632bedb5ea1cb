"""Progress of long work: bars with rate and time left on a terminal, a few lines elsewhere, silence for short work."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TextIO

QUIET_S, EVERY_S = 2.0, 5.0
Update = Callable[..., None]  # update(done, note=""): the amount done so far, not the increment


@dataclass(eq=False)
class Progress:
    """Shows how far tracked work is on `stream` (None: standard error), if `enabled`; `clock` gives seconds.
    A terminal gets bars; anything else gets a line per 5 s at most and a closing one, none for work of up to 2 s.
    """

    stream: TextIO | None = None
    enabled: bool = True
    clock: Callable[[], float] = time.monotonic
    _bars: Any = field(default=None, init=False, repr=False)

    @contextmanager
    def track(self, total: float, description: str, *, start: float = 0) -> Iterator[Update]:
        """Yield ``update(done, note="")`` for work of size `total`, of which a resumed run has done `start` before."""
        if not total >= start >= 0:
            raise ValueError(f"{description}: expected total >= start >= 0, got {total} and {start}; count again")
        stream = sys.stderr if self.stream is None else self.stream
        if not self.enabled or stream is None:
            yield lambda done, note="": None
            return
        terminal = self._bars or (stream.isatty() and os.environ.get("TERM") != "dumb")
        with (self._bar if terminal else self._lines)(stream, total, description, start) as update:
            yield update

    @contextmanager
    def _lines(self, stream: TextIO, total: float, description: str, start: float) -> Iterator[Update]:
        shown = (began := self.clock()) + QUIET_S - EVERY_S

        def update(done: float, note: str = "") -> None:
            nonlocal shown
            now = self.clock()
            if now - shown >= EVERY_S:
                shown, elapsed = now, now - began
                left = f", {duration(elapsed * max(total - done, 0) / (done - start))} left" if done > start else ""
                percent = f"{100 * done / total:.0f} % " if total else ""
                print(f"{description}: {percent}({duration(elapsed)}{left}) {note}".rstrip(), file=stream, flush=True)

        yield update
        if self.clock() - began > QUIET_S:
            print(f"{description}: done ({duration(self.clock() - began)})", file=stream, flush=True)

    @contextmanager
    def _bar(self, stream: TextIO, total: float, description: str, start: float) -> Iterator[Update]:
        outer = self._bars  # a track inside another adds a bar to the display that is already live
        with nullcontext(outer) if outer else _display(stream) as self._bars:
            bars, began = self._bars, self.clock()
            task = bars.add_task(description, total=total, completed=start, rate="", note="")

            def update(done: float, note: str = "") -> None:
                rate = (done - start) / max(self.clock() - began, 1e-9)
                bars.update(task, completed=done, rate=f"{rate:.3g}/s", note=note)

            try:
                yield update
            finally:
                self._bars = outer
                bars.update(task, visible=outer is None)


def _display(stream: TextIO) -> Any:
    from rich import console, progress

    fields = ("{task.description}", "{task.fields[rate]}", "{task.fields[note]}")
    title, rate, note = (progress.TextColumn(text, markup=False) for text in fields)
    times = (progress.TimeElapsedColumn(), progress.TextColumn("left"), progress.TimeRemainingColumn())
    bar = (progress.BarColumn(), progress.TaskProgressColumn())
    return progress.Progress(title, *bar, rate, *times, note, console=console.Console(file=stream, force_terminal=True))


def duration(seconds: float) -> str:
    """Return "12 s", "3 min 05 s" or "2 h 10 min"."""
    minutes, rest = divmod(round(seconds), 60)
    short = f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    return short if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"

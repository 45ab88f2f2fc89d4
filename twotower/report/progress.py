"""A live display for the long-running functions: bars on a terminal, plain lines anywhere else.

    with show_progress() as progress:
        fit(..., progress=progress)

Stages follow each other: the first call with another name ends the stage before it. What stands after
``" · "`` in a stage's name is a detail that may change with every call: ``"epoch 1/3 · loss 0.412"``.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from twotower.core.progress import Progress

DETAIL = " · "  # parts the name of a stage from its changing detail
LINE_INTERVAL = 2.0  # seconds between two plain lines of one stage
BAR_WIDTH = 30  # characters


@contextmanager
def show_progress(stream: TextIO | None = None, clock: Callable[[], float] = time.perf_counter) -> Iterator[Progress]:
    """Give a ``Progress`` callback that shows stage, count, rate and time left on ``stream`` (stderr)."""
    stream = sys.stderr if stream is None else stream
    display = Bars(stream) if stream.isatty() else Lines(stream, clock)
    with display:
        yield display.update


class Lines:
    """Plain lines for logs and pipes: one every two seconds, and one when a stage ends."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self.stream, self.clock = stream, clock
        self.stage, self.done = "", 0

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *error: object) -> None:
        self.end_stage()

    def update(self, stage: str, done: int, total: int) -> None:
        name, _, detail = stage.partition(DETAIL)
        if name != self.stage or done < self.done:
            self.end_stage()
            self.stage, self.first, self.ended = name, done, False
            self.started = self.written = self.clock()
            if total == 1 and not done:  # nothing can be said between the start and the end of one step
                self.stream.write(f"{name} …\n")
                self.stream.flush()
        self.done, self.total, self.detail = done, total, detail
        if total and done >= total:
            self.end_stage()
        elif self.clock() - self.written >= LINE_INTERVAL:
            self.write_line()

    def end_stage(self) -> None:
        if self.stage and not self.ended:
            self.write_line()
            self.ended = True

    def write_line(self) -> None:
        self.written = self.clock()
        seconds = self.written - self.started
        rate = (self.done - self.first) / seconds if seconds else 0.0
        parts = [count_of(self.done, self.total)] if self.total != 1 else []
        if rate and self.total != 1:
            parts.append(f"{short(rate)}/s")
        if rate and self.done < self.total:
            parts.append(f"{duration((self.total - self.done) / rate)} left")
        else:
            parts.append(f"in {duration(seconds)}")
        if self.detail:
            parts.append(self.detail)
        self.stream.write(f"{self.stage}: {', '.join(parts)}\n")
        self.stream.flush()


class Bars:
    """Bars of rich on a terminal; ended stages stay as lines above the running one."""

    def __init__(self, stream: TextIO) -> None:
        from rich import progress as bars
        from rich.console import Console

        self.bars = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(BAR_WIDTH),
            bars.TextColumn("{task.fields[count]}", justify="right"),
            bars.TextColumn("{task.fields[rate]}", justify="right", style="progress.data.speed"),
            bars.TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            bars.TextColumn("{task.fields[detail]}", markup=False),
            console=Console(file=stream),
        )
        self.stage, self.done = "", 0

    def __enter__(self) -> "Bars":
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.end_stage()
        self.bars.stop()

    def update(self, stage: str, done: int, total: int) -> None:
        name, _, detail = stage.partition(DETAIL)
        if name != self.stage or done < self.done:
            self.end_stage()
            self.stage = name
            self.task = self.bars.add_task(name, total=total or None, completed=done, count="", rate="", detail="")
        self.done = done
        speed = self.bars.tasks[-1].finished_speed or self.bars.tasks[-1].speed
        self.bars.update(
            self.task, completed=done, total=total or None, detail=detail,
            count="" if total == 1 else count_of(done, total),
            rate=f"{short(speed)}/s" if speed and total != 1 else "",
        )  # fmt: skip

    def end_stage(self) -> None:
        if self.stage:
            self.bars.update(self.task, total=max(self.done, 1), completed=max(self.done, 1))


def count_of(done: int, total: int) -> str:
    """``12,000 of 90,000``, or ``12,000`` where the total is not known."""
    return f"{done:,} of {total:,}" if total else f"{done:,}"


def short(number: float) -> str:
    """Three significant digits and a unit: ``35.1k``, ``2.40M``."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            number /= limit
            return f"{number:.{2 if number < 10 else 1 if number < 100 else 0}f}{unit}"
    return f"{number:.3g}"


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3:05`` or ``1:02:03``."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

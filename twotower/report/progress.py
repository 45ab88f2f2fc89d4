"""A live display of progress: bars on a terminal and in notebooks, plain lines anywhere else.

    with show_progress() as progress:
        fit(..., progress=progress)

core/progress.py says how functions report it.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TextIO

from twotower.core.formatting import duration, short, visible
from twotower.core.progress import DETAIL, Progress

LINE_INTERVAL = 2.0  # seconds between two plain lines of one stage
BAR_WIDTH = 30  # characters


@contextmanager
def show_progress(stream: TextIO | None = None, clock: Callable[[], float] = time.perf_counter) -> Iterator[Progress]:
    """A ``Progress`` callback that shows stage, count, rate and time left on ``stream`` (stderr)."""
    stream = sys.stderr if stream is None else stream
    display = Bars(stream) if stream.isatty() or is_notebook() else Lines(stream, clock)
    with display:
        yield display.update


def is_notebook() -> bool:
    """Whether this is a Jupyter notebook that can show bars: for those, rich needs ipywidgets."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell" and find_spec("ipywidgets") is not None


class Lines:
    """Plain lines for logs and pipes: one every two seconds, and one at the end of a stage."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self.stream, self.clock = stream, clock
        self.stage, self.done = "", 0

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *error: object) -> None:
        self.end_stage()

    def update(self, stage: str, done: int, total: int) -> None:
        name, _, detail = visible(stage).partition(DETAIL)
        if name != self.stage or done < self.done:
            self.end_stage()
            self.stage, self.first, self.ended = name, done, False
            self.started = self.written = self.clock()
            if total == 1 and not done:  # a single step has no progress between its start and its end
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
        elif parts:
            parts.append(f"in {duration(seconds)}")
        else:
            parts.append(f"done in {duration(seconds)}" if self.done else f"{duration(seconds)} so far")
        if self.detail:
            parts.append(self.detail)
        self.stream.write(f"{self.stage}: {', '.join(parts)}\n")
        self.stream.flush()


class Bars:
    """Bars of rich on a terminal; finished stages stay as lines above the running one."""

    def __init__(self, stream: TextIO) -> None:
        from rich import progress as bars
        from rich.console import Console

        self.bars = bars.Progress(
            bars.TextColumn("{task.description}", markup=False),
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
        name, _, detail = visible(stage).partition(DETAIL)
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
    """``12,000 of 90,000``, or ``12,000`` where the total is unknown."""
    return f"{done:,} of {total:,}" if total else f"{done:,}"

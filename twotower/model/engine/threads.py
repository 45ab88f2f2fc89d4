"""Tiles of rows, and the threads that work on them."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np

TASKS = 60  # tiles that a batch is cut into, about: a pass over them keeps 2, 4, … 32 threads equally busy
TILE_ROWS = 192  # rows per tile at most: a few arrays of a tile fit the second-level cache
LEAST_ROWS = 96  # and at least where there are as many: fewer are not worth Python's calls
ROW_STEP = 12  # tiles are multiples of the GEMM's block of rows where they can be
COLUMN_SPANS = 32  # that a sum over pairs is split into
COLUMN_STEP = 16  # floats: a cache line, in which only one thread writes


Item = TypeVar("Item")


class Tile(NamedTuple):
    """Consecutive rows of one group."""

    rows: slice
    group: int
    number: int  # among the tiles of the batch

    @property
    def height(self) -> int:
        """How many rows."""
        return self.rows.stop - self.rows.start


def _up(rows: int, parts: int) -> int:
    """Rows of each of ``parts`` equal parts, as a multiple of ROW_STEP."""
    return -(-rows // (parts * ROW_STEP)) * ROW_STEP


def tile_height(rows: int) -> int:
    """Rows per tile, at most, of passes that work on so many: nothing else decides where a batch is cut."""
    return min(TILE_ROWS, max(LEAST_ROWS, _up(rows, TASKS)))


def most_tiles(rows: int, groups: int) -> int:
    """Tiles that so many rows of some groups are cut into at most, whatever else a pass works on."""
    return max(TASKS, rows // TILE_ROWS + 1) + groups


def cut_into_tiles(segments: np.ndarray, height: int = TILE_ROWS) -> list[Tile]:
    """Cut the rows of each group into tiles of about equal length, ``height`` at most.

    ``segments`` (K+1,): rows of group k are segments[k]:segments[k+1]. A tile never crosses groups.
    """
    tiles: list[Tile] = []
    for group, (start, end) in enumerate(pairwise(segments.tolist())):
        step = _up(end - start, -(-(end - start) // height)) if start < end else 1
        for first in range(start, end, step):
            tiles.append(Tile(slice(first, min(first + step, end)), group, len(tiles)))
    return tiles


def split(size: int, parts: int, step: int = COLUMN_STEP) -> list[slice]:
    """Consecutive spans of about equal length, ``parts`` at most; each begins at a multiple of ``step``."""
    length = max(step, -(-size // (parts * step)) * step)
    return [slice(start, min(start + length, size)) for start in range(0, size, length)]


class Threads:
    """Threads that run one function over several items; the caller is one of them.

    Each item owns what it writes: the bits of the result depend neither on the number of threads nor on their order.
    """

    def __init__(self, count: int):
        self.count = count
        self._pool = ThreadPoolExecutor(count - 1, "twotower") if count > 1 else None

    def run(self, work: Callable[[Item], object], items: Sequence[Item]) -> None:
        """Call ``work`` with every item, and return when all calls have; an error of a call is raised here."""
        waiting = iter(items)

        def take_turns() -> None:
            for item in waiting:
                work(item)

        others: list[Future[None]] = []
        if self._pool is not None:
            others = [self._pool.submit(take_turns) for _ in range(min(self.count, len(items)) - 1)]
        try:
            take_turns()
        finally:
            wait(others)
        for other in others:
            other.result()

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def column_spans(columns: int) -> list[np.ndarray]:
    """Bounds of spans of columns, (2,) each: threads that take different columns write no cell in common."""
    return [np.array([span.start, span.stop]) for span in split(columns, COLUMN_SPANS)]

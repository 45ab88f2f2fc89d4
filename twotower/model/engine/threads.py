"""Tiles of rows, and the threads that work on them."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple, TypeVar

import numpy as np

TILE_ROWS = 252  # rows per tile: a few arrays of a tile fit the second-level cache
ROW_STEP = 12  # tiles are multiples of the GEMM's block of rows where they can be
CHUNKS = 4  # runs of tiles with sums of their own, at most, whatever the number of threads: the same bits on all
CHUNK_ROWS = 504  # a shorter run is not worth sums of its own


Item = TypeVar("Item")


class Tile(NamedTuple):
    """Consecutive rows of one group."""

    rows: slice
    group: int
    number: int  # among the tiles of the batch
    chunk: int  # the run of tiles that it belongs to


def _up(rows: int, parts: int) -> int:
    """Rows of each of ``parts`` equal parts, as a multiple of ROW_STEP."""
    return -(-rows // (parts * ROW_STEP)) * ROW_STEP


def chunked_tiles(segments: np.ndarray, chunks: int = CHUNKS, tile_rows: int = TILE_ROWS) -> list[list[Tile]]:
    """Cut the rows of each group into tiles, and the tiles into at most ``chunks`` runs of about equal length.

    There are two runs at least, so that two threads have work, and more where each gets CHUNK_ROWS.

    ``segments`` (K+1,): rows of group k are segments[k]:segments[k+1]. A tile never crosses groups.
    """
    rows = int(segments[-1])
    chunks = min(chunks, max(2, rows // CHUNK_ROWS))
    per_chunk = _up(rows, chunks)
    runs: list[list[Tile]] = [[] for _ in range(chunks)]
    number = 0
    for group, (start, end) in enumerate(zip(segments[:-1].tolist(), segments[1:].tolist(), strict=True)):
        while start < end:
            chunk = start // per_chunk
            room = min(end, (chunk + 1) * per_chunk) - start  # rows until the group or the chunk ends
            stop = start + min(room, _up(room, -(-room // tile_rows)))
            runs[chunk].append(Tile(slice(start, stop), group, number, chunk))
            start, number = stop, number + 1
    return [run for run in runs if run]


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
    """Bounds of CHUNKS spans of columns, (2,) each: threads that take different columns write no cell in common."""
    edges = np.linspace(0, columns, CHUNKS + 1).astype(np.int64)
    return [edges[i : i + 2] for i in range(CHUNKS)]

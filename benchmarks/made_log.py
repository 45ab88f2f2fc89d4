"""A watch log for benchmarks/import_log.py: any number of events, in order of time, the same each time it is made.

Users are skewed (half of the events are of a quarter of them), titles fall off as in Zipf's law, ids have gaps.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

EVENTS_A_USER = 50  # on average
TITLES = 20_000
TERRITORIES = 200
DAYS = 90
FIRST_SECOND = 1_699_920_000  # 2023-11-14, midnight
BLOCK = 1 << 20  # rows made, and written, at a time
SPREAD, ROOM = 1_000_003, 1 << 30  # numbers up to ROOM, each once: ids of users are no row numbers
FORMATS, IDS = ("parquet", "csv"), ("integer", "text")


def made_log(directory: Path, events: int, ids: str, form: str) -> Path:
    """The file of such a log in ``directory``, made unless it is there."""
    path = directory / f"{events}-{ids}.{form}"
    if not path.exists():
        unfinished = path.with_suffix(".part")
        directory.mkdir(parents=True, exist_ok=True)
        blocks = made_blocks(events, ids)
        first = next(blocks)
        opened: Any = parquet.ParquetWriter if form == "parquet" else csv.CSVWriter
        options = {} if form == "parquet" else {"write_options": csv.WriteOptions(quoting_style="none")}
        with opened(unfinished, first.schema, **options) as writer:
            writer.write_batch(first)
            for block in blocks:
                writer.write_batch(block)
        unfinished.rename(path)
    return path


def made_blocks(events: int, ids: str) -> Iterator[pa.RecordBatch]:
    """Record batches of user, title, territory and time."""
    rng = np.random.default_rng(0)
    users = max(1, events // EVENTS_A_USER)
    popularity = np.cumsum(1 / np.arange(1, TITLES + 1) ** 0.9)
    lands = pa.array([f"land {i}" for i in range(TERRITORIES)])
    for first in range(0, events, BLOCK):
        n = min(BLOCK, events - first)
        user = (users * rng.random(n) ** 2).astype(np.int64)
        title = np.searchsorted(popularity, popularity[-1] * rng.random(n)).astype(np.int64)
        second = FIRST_SECOND + (np.arange(first, first + n) * (DAYS * 86_400 / events)).astype(np.int64)
        columns = {
            "user": named(user * SPREAD % ROOM, "u{:010}", ids),
            "title": named(title, "title-{:05}", ids),
            "territory": lands.take(pa.array(user % TERRITORIES)),
            "time": pa.array(second, pa.timestamp("s")),
        }
        yield pa.RecordBatch.from_pydict(columns)


def named(number: np.ndarray, pattern: str, ids: str) -> pa.Array:
    """Ids as they stand in the log: numbers (n,) or texts."""
    if ids == "integer":
        return pa.array(number)
    distinct, index = np.unique(number, return_inverse=True)
    return pa.array([pattern.format(x) for x in distinct.tolist()]).take(pa.array(index))

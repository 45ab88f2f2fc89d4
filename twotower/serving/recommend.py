"""The best titles for users of a dataset under a trained model: available to them, and not watched yet."""

import csv
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.core.checks import check_count
from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.progress import Progress, silent
from twotower.core.serialisation import harmless
from twotower.core.storage import try_file, whole_file
from twotower.core.streams import is_stream
from twotower.data.dataset import HISTORY, Dataset
from twotower.model.engine.topk import NO_TITLE
from twotower.serving.open_run import user_rows
from twotower.serving.ranker import Ranker

WRITE_ROWS = 1 << 16  # recommendations that are written together
COLUMNS = ("user", "rank", "title", "score")


@dataclass(frozen=True)
class Recommendations:
    """The k best titles of n users, best first; NO_TITLE (−1) and −inf where a user has fewer."""

    user: np.ndarray  # (n,) int64 row of the dataset's users
    title: np.ndarray  # (n, k) int32 row of the dataset's titles
    score: np.ndarray  # (n, k) float32 logit

    def counts(self) -> np.ndarray:
        """Number of titles per user, (n,)."""
        return np.count_nonzero(self.title != NO_TITLE, axis=1)

    def summary(self, place: str) -> str:
        """What was written to a place, for how many users, and how many have less or nothing."""
        counts, k = self.counts(), self.title.shape[1]
        served, short = int((counts > 0).sum()), int(((counts > 0) & (counts < k)).sum())
        parts = [f"{counted(int(counts.sum()), 'recommendation')} for {counted(served, 'user')} saved to {place}"]
        if short:
            parts.append(f"{counted(short, 'user')} with fewer than {k}")
        if served < len(counts):
            parts.append(f"{counted(len(counts) - served, 'user')} with none, who watched all that is available")
        return f"{'; '.join(parts)}."


def recommend(
    run_path: Path,
    dataset: Dataset,
    users: np.ndarray | None = None,
    top: int = 10,
    day: int | None = None,
    progress: Progress = silent,
    filter_watched: bool = True,
    unknown_territory: str = "fail",
) -> Recommendations:
    """The ``top`` best titles of users (n,), by default all of the dataset, under the weights of a finished run.

    Recommendations are made at the start of ``day``, by default the day after the log: titles launched by then,
    available in the user's territory and, with ``filter_watched``, not watched by the user before. Ties go to the title
    that comes first in the table. ``unknown_territory``: see ``open_model``.

    Errors: InputError as for ``open_model``, for vectors that are not finite, and a day outside the log; ValueError and
    IndexError for a ``top`` below 1, and for users who are no rows of the dataset or occur twice.
    """
    check_count("top", top)
    rows, day = user_rows(dataset, users), recommendation_day(dataset, day)
    with threadpool_limits(1, "blas"):
        ranker = Ranker(run_path, dataset, rows, day, unknown_territory, progress)
        seen = watched(dataset, rows, day, progress) if filter_watched else nothing_watched(len(rows))
        return Recommendations(rows, *ranker.top(rows, top, seen, progress=progress))


def recommendation_day(dataset: Dataset, day: int | None) -> int:
    """A day of the log, by default the one after it. Errors: InputError for one outside."""
    end = dataset.train_days + dataset.test_days
    day = end if day is None else day
    if not isinstance(day, int | np.integer) or not 0 <= day <= end:
        raise InputError(f"--day {day}: {dataset.path} has the days 0 to {end - 1}, and {end} is the day after")
    return int(day)


def watched(dataset: Dataset, rows: np.ndarray, day: int, progress: Progress = silent) -> tuple[np.ndarray, np.ndarray]:
    """Titles that each of the users (n,) watched before ``day``, history included: start (n+1,) int64 and ascending
    titles.

    Errors: ValueError when a user occurs twice.
    """
    from scipy import sparse  # here, because it is slow to import

    place = np.full(dataset.n_users, -1, np.int32)
    place[rows] = np.arange(len(rows))
    if np.count_nonzero(place >= 0) != len(rows):
        raise ValueError("users: each may occur only once")
    users, titles = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for past in range(HISTORY, day):
        user, title = dataset.events(past)
        row = place[user]
        users.append(row[row >= 0])
        titles.append(title[row >= 0])
        progress("reading watch history", past - HISTORY + 1, day - HISTORY)
    user, title = np.concatenate(users), np.concatenate(titles)
    shape = len(rows), dataset.n_titles
    seen = sparse.csr_matrix((np.ones(len(user), bool), (user, title)), shape=shape)
    seen.sum_duplicates()  # and the titles of each user ascend
    return seen.indptr.astype(np.int64), seen.indices.astype(np.int32)


def nothing_watched(n: int) -> tuple[np.ndarray, np.ndarray]:
    """As ``watched``, of n users who watched nothing."""
    return np.zeros(n + 1, np.int64), np.empty(0, np.int32)


Block = tuple[list[Any], np.ndarray, list[str], np.ndarray]  # user, rank, title, score of some recommendations


def blocks(dataset: Dataset, results: Recommendations, progress: Progress = silent) -> Iterator[Block]:
    """Recommendations by their ids, a user's together and best first, about WRITE_ROWS at a time; ranks start at 1."""
    user_ids, title_ids = dataset.user_ids, np.array(dataset.title_ids, object)
    n, k = results.title.shape
    step = max(1, WRITE_ROWS // k)
    for start in range(0, n, step):
        row, rank = np.nonzero(results.title[start : start + step] != NO_TITLE)
        user = results.user[start + row].tolist()
        names = user if user_ids is None else [user_ids[u] for u in user]
        title = title_ids[results.title[start + row, rank]].tolist()
        yield names, rank + 1, title, results.score[start + row, rank]
        progress("writing recommendations", min(start + step, n), n)


def write_csv(file: IO[str], dataset: Dataset, results: Recommendations, progress: Progress = silent) -> None:
    """Write user, rank, title and score, one line per recommendation."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for user, rank, title, score in blocks(dataset, results, progress):
        ids = [[harmless(name) if isinstance(name, str) else name for name in names] for names in (user, title)]
        writer.writerows(zip(ids[0], rank.tolist(), ids[1], score.astype(str).tolist(), strict=True))


def check_parquet(path: Path) -> None:
    """Errors: InputError where a Parquet file cannot be written, before hours of work."""
    if is_stream(path):
        raise InputError(f"--out {path}: Parquet cannot be written to a pipe or a device, expected a file")
    if importlib.util.find_spec("pyarrow") is None:
        raise InputError(f"--out {path}: Parquet needs pyarrow: pip install 'twotower[parquet]'")
    try_file(path)


def write_parquet(path: Path, dataset: Dataset, results: Recommendations, progress: Progress = silent) -> None:
    """The same as a Parquet file: user (text, or int64 row numbers), rank int32, title text, score float32."""
    import pyarrow as pa
    from pyarrow import parquet

    user = pa.int64() if dataset.user_ids is None else pa.string()
    schema = pa.schema(zip(COLUMNS, (user, pa.int32(), pa.string(), pa.float32()), strict=True))
    with whole_file(path) as partial, parquet.ParquetWriter(partial, schema) as writer:
        for columns in blocks(dataset, results, progress):
            arrays = [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
            writer.write_table(pa.table(arrays, schema=schema))

"""The best titles for users of a dataset under a trained model: available to them, and not watched yet."""

import csv
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from threadpoolctl import threadpool_limits

from twotower.core.checks import check_count
from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.progress import Progress, silent
from twotower.data.dataset import HISTORY, Dataset
from twotower.data.memory.memory import Memory
from twotower.model.engine.topk import NO_TITLE
from twotower.model.memory import MemoryWeights
from twotower.model.retrieval import Candidates, Consumer, Retrieval, Users
from twotower.serving.open_run import open_memory, open_model, user_rows
from twotower.training.predict import user_groups
from twotower.training.warm_up import compile_kernels

WRITE_ROWS = 1 << 16  # lines of a CSV that are made together


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
    rows = user_rows(dataset, users)
    end = dataset.train_days + dataset.test_days
    day = end if day is None else day
    if not isinstance(day, int | np.integer) or not 0 <= day <= end:
        raise InputError(f"--day {day}: {dataset.path} has the days 0 to {end - 1}, and {end} is the day after")
    model, territory_group = open_model(run_path, dataset, rows, unknown_territory)
    memory = open_memory(run_path, dataset, model)
    compile_kernels(progress)
    dataset.check_vectors(progress)
    with threadpool_limits(1, "blas"):
        retrieval = Retrieval(model, dataset.title_vectors, progress)
        group = user_groups(dataset, territory_group, model.config.groups)[rows]
        territory = np.asarray(dataset.head_territory)[rows]
        bias, own = title_bias(retrieval, model.title_offsets, dataset, territory_group, day), None
        if memory is not None:
            weights = model.memory_weights()
            bias = bias + memory.of_territories(weights.rows(territory_group).linear)
            own = user_terms(memory, rows, weights.rows(group))
        choice = Candidates(
            bias,
            np.asarray(dataset.user_territory)[rows],
            *(watched(dataset, rows, day, progress) if filter_watched else nothing_watched(len(rows))),
        )
        top = min(top, dataset.n_titles)
        title, score = retrieval.top(top, Users(dataset.user_vectors, rows, group, territory), choice, progress, own)
    return Recommendations(rows, title, score)


def user_terms(memory: Memory, rows: np.ndarray, weights: MemoryWeights) -> Consumer:
    """Adds to blocks of logits what memory makes of users' histories; weights of the users in ``rows`` (n,)."""
    kept = threading.local()  # terms of the tile that a thread is at, with all titles, while blocks of these come by
    layer = memory.layer(weights.layer)

    def add(which: np.ndarray, first: int, dots: np.ndarray) -> None:
        if getattr(kept, "which", None) is not which:
            out = getattr(kept, "terms", None)
            out = None if out is None or len(out) < len(which) else out  # another array would be new pages
            linear, v = weights.linear[which], weights.units[which]
            kept.which, kept.terms = which, memory.of_users(rows[which], linear, out, layer, v)
        dots += kept.terms[:, first : first + dots.shape[1]]

    return add


def title_bias(
    retrieval: Retrieval, title_offsets: np.ndarray | None, dataset: Dataset, territory_group: np.ndarray, day: int
) -> np.ndarray:
    """Bias of each title per territory, (C, T) float32: −inf unless the title can be watched there on ``day``."""
    bias = retrieval.territory_bias(territory_group)
    if title_offsets is not None:
        bias = bias + title_offsets
    allowed = np.asarray(dataset.availability).T & (np.asarray(dataset.launch_day) <= day)
    return np.where(allowed, bias, np.float32(-np.inf))


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


def write_csv(file: IO[str], dataset: Dataset, results: Recommendations, progress: Progress = silent) -> None:
    """Write user, rank, title and score, one line per recommendation, best first; ranks start at 1."""
    user_ids, title_ids = dataset.user_ids, np.array(dataset.title_ids, object)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("user", "rank", "title", "score"))
    n, k = results.title.shape
    step = max(1, WRITE_ROWS // k)
    for start in range(0, n, step):
        row, rank = np.nonzero(results.title[start : start + step] != NO_TITLE)
        user = results.user[start + row].tolist()
        names = user if user_ids is None else [user_ids[u] for u in user]
        title, score = title_ids[results.title[start + row, rank]], results.score[start + row, rank].astype(str)
        writer.writerows(zip(names, (rank + 1).tolist(), title.tolist(), score.tolist(), strict=True))
        progress("writing recommendations", min(start + step, n), n)

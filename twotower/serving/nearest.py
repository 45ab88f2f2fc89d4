"""An index of nearest neighbours over titles (HNSW, by voyager): a few candidates per user, then ranked exactly.

    n users · m candidates · T titles · C territories · D hidden width · k best titles

The index has one vector per title, <V, b̄> with the mean of its bias over the users' territories, and is asked with
<s·U, 1>: one index serves all territories. It misses what a single territory likes, so that as many titles with the
largest bias there are candidates too. One index per territory would find as much alone, and be C times as large.

With memory the vectors go on with the factors of titles, and the query with the user's profile, weighted. The cosines
between a title and a history are no inner product: as many further candidates come from the history's neighbours.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from twotower.core.environment import usable_cores
from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.progress import Progress, silent
from twotower.data.memory.factors import FACTORS, SCALES
from twotower.data.memory.memory import SMALLEST_COSINE
from twotower.data.memory.together import parts
from twotower.model.engine.candidates import rank_candidates
from twotower.model.engine.topk import NO_TITLE
from twotower.serving.ranker import Ranker, Seen
from twotower.serving.recommend import watched

INDEX = "index.voy"
TOP = 10  # k of the recall that is measured
MEASURED_USERS = 2000  # at most: half of them choose the number of candidates, half are measured
LINKS, CONSTRUCTION = 16, 200  # of the graph: links per title, and candidates while it is built
USERS_AT_ONCE = 64  # that a thread asks for together
SMALLEST = np.float32(SMALLEST_COSINE)
REPEATS = 3  # of each timing, of which the shortest counts


def import_voyager() -> Any:
    """The package. Errors: InputError when it is not installed."""
    try:
        import voyager
    except ImportError:
        raise InputError("--ann needs voyager: pip install 'twotower[ann]'") from None
    return voyager


class IndexReport(NamedTuple):
    """What an index is worth."""

    titles: int
    megabytes: float
    candidates: int  # that it is asked for per user
    recall: float  # share of the TOP best titles that are among the best found
    users: int  # that the recall is measured on
    per_second: float  # users served by the index
    exact_per_second: float  # and by exact ranking
    pays_from: int  # titles, as extrapolated: exact ranking takes time in proportion to titles

    def summary(self) -> str:
        """Recall, size and speed, and whether the index pays."""
        pays = "pays" if self.per_second > self.exact_per_second else f"would pay from about {self.pays_from:,} titles"
        found = f"recall@{TOP} {self.recall:.3f} with {self.candidates:,} candidates"
        return (
            f"Index of {self.megabytes:.1f} MB: {found}, for {counted(self.users, 'held-out user')}.\n"
            f"{self.per_second:,.0f} users/s with the index, {self.exact_per_second:,.0f} by exact ranking on this "
            f"machine: for {self.titles:,} titles it {pays}."
        )


class Recalled(NamedTuple):
    """What ``rank_candidates`` takes of the memory of users, in its order."""

    start: np.ndarray
    history: np.ndarray
    cosine_start: np.ndarray
    cosine_title: np.ndarray
    cosine_weight: np.ndarray
    profile: np.ndarray  # (n, R)
    factors: np.ndarray  # (T, R)
    scales: tuple[int, ...]
    coefficient: np.ndarray  # (n, 6)
    smallest: np.float32
    of_title: np.ndarray  # (C, T, H)
    of_unit: np.ndarray  # (n, 6, H)
    unit_weight: np.ndarray  # (n, H)


class NearestTitles:
    """The titles of a ranker in an index, which is asked for so many ``candidates`` per user."""

    def __init__(self, ranker: Ranker, rows: np.ndarray, candidates: int):
        """``rows`` (n,) are users whose territories say what the mean bias of a title is."""
        voyager = import_voyager()
        self.ranker, V = ranker, ranker.retrieval.V
        users = np.bincount(np.asarray(ranker.dataset.user_territory)[rows], minlength=len(ranker.bias))
        weight = np.where(np.isfinite(ranker.bias), np.maximum(users, 1e-9)[:, None], 0)  # (C, T)
        bias = np.einsum("ct,ct->t", weight, np.where(weight > 0, ranker.bias, 0)) / np.maximum(weight.sum(0), 1e-12)
        factors = () if ranker.memory is None else (ranker.memory.factors.scored,)
        vectors = np.column_stack([V, bias, *factors]).astype(np.float32)
        longest_first = np.argsort(-np.einsum("td,td->t", vectors, vectors), kind="stable")
        self.index = voyager.Index(voyager.Space.InnerProduct, vectors.shape[1], LINKS, CONSTRUCTION)
        # voyager adds a column that makes all vectors as long as the longest one that it has seen
        self.index.add_items(vectors[longest_first[:1]], longest_first[:1].tolist())
        if len(vectors) > 1:
            self.index.add_items(vectors[longest_first[1:]], longest_first[1:].tolist(), usable_cores())
        self.ask_for(candidates)
        if ranker.memory is not None:
            self.of_titles = np.ascontiguousarray(ranker.layer.of_titles.transpose(0, 2, 1))  # (C, T, H)

    def ask_for(self, candidates: int) -> None:
        """Change the number of candidates; more than there are titles are as many as there are."""
        bias = self.ranker.bias
        self.candidates = m = min(candidates, bias.shape[1])
        self.popular = np.argpartition(-bias, m - 1, axis=1)[:, :m].astype(np.int32)  # (C, m)

    def top(self, rows: np.ndarray, k: int, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
        """As ``Ranker.top``, of the candidates alone."""
        ranker, model = self.ranker, self.ranker.model
        users, place = ranker.users(rows)
        U = np.empty((len(rows), model.config.hidden), np.float32)
        ranker.retrieval.embed_users(U, users)
        titles = np.full((len(rows), k), NO_TITLE, np.int32)
        scores = np.full((len(rows), k), -np.inf, np.float32)
        place, (seen_start, seen_titles) = place.astype(np.int64), seen

        def rank(part: slice) -> None:
            recalled = self._recalled(rows[part], users.group[part])
            query = np.column_stack([U[part], np.ones(len(U[part]), np.float32), *self._of_factors(recalled)])
            try:
                found = self.index.query(query, self.candidates, 1)[0].astype(np.int32)
            except RuntimeError:  # fewer titles can be reached: then the other candidates have to do
                found = np.full((len(query), self.candidates), NO_TITLE, np.int32)
            bounds = slice(part.start, part.stop + 1)
            rank_candidates(
                titles[part], scores[part], found, self.popular, U[part], ranker.retrieval.V, ranker.bias, place[part],
                seen_start[bounds], seen_titles, *recalled,
            )  # fmt: skip

        model.threads.run(rank, [slice(i, i + USERS_AT_ONCE) for i in range(0, len(rows), USERS_AT_ONCE)])
        return titles, scores

    def _recalled(self, rows: np.ndarray, group: np.ndarray) -> Recalled:
        """What ``rank_candidates`` takes of the memory of users (n,); nothing where there is none."""
        memory, n, T = self.ranker.memory, len(rows), len(self.ranker.retrieval.V)
        if memory is None:
            start, title = np.zeros(n + 1, np.int64), np.empty(0, np.uint32)
            layer = np.zeros((n, 6, 0), np.float32), np.zeros((n, 0), np.float32)
            return Recalled(
                start, title, *parts(sp.csr_array((T, T), dtype=np.float32)), np.zeros((n, FACTORS), np.float32),
                np.zeros((T, FACTORS), np.float32), SCALES, np.zeros((n, 6), np.float32), SMALLEST,
                np.zeros((1, 1, 0), np.float32), *layer,
            )  # fmt: skip
        weights = self.ranker.weights.rows(group)
        return Recalled(
            *memory.histories(rows), *parts(memory.cosines), memory.profiles(rows), memory.factors.scored, SCALES,
            memory.coefficients(rows, weights.linear), SMALLEST, self.of_titles,
            memory.unit_coefficients(rows, weights.layer), np.ascontiguousarray(weights.units),
        )  # fmt: skip

    def _of_factors(self, recalled: Recalled) -> tuple[np.ndarray, ...]:
        """The part (n, R) of queries that meets the factors of titles; none without memory."""
        if self.ranker.memory is None:
            return ()
        weight = np.zeros_like(recalled.profile)
        for scale, a in zip(SCALES, recalled.coefficient[:, 2:5].T, strict=True):
            weight[:, :scale] += a[:, None]
        return (recalled.profile * weight,)


def recall_of(found: np.ndarray, exact: np.ndarray) -> float:
    """Mean share of each user's exact titles (n, k) that are among those found (n, k)."""
    there = ((exact[:, :, None] == found[:, None, :]).any(axis=2) & (exact != NO_TITLE)).sum(axis=1)
    wanted = (exact != NO_TITLE).sum(axis=1)
    return float((there[wanted > 0] / wanted[wanted > 0]).mean()) if (wanted > 0).any() else 1.0


def choose_candidates(
    nearest: NearestTitles, rows: np.ndarray, exact: np.ndarray, seen: Seen, min_recall: float, progress: Progress
) -> None:
    """Ask for as few candidates as find half of what may be missing, by doubling; at most for all titles."""
    T, wanted = nearest.ranker.dataset.n_titles, (1 + min_recall) / 2
    while nearest.candidates < T and recall_of(nearest.top(rows, TOP, seen)[0], exact) < wanted:
        nearest.ask_for(2 * nearest.candidates)
        progress("choosing the number of candidates", nearest.candidates, T)


def shortest(run: Any) -> float:
    """Seconds that a call takes at best."""
    seconds = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def write_index(
    folder: Path, ranker: Ranker, rows: np.ndarray, held_out: np.ndarray, day: int, min_recall: float,
    candidates: int | None = None, progress: Progress = silent,
) -> IndexReport:  # fmt: skip
    """Write an index of all titles for users (n,), measured on users that the model was not trained on.

    Errors: InputError when the recall is below ``min_recall``; then nothing is written.
    """
    progress("building the index", 0, 1)
    nearest = NearestTitles(ranker, rows, candidates or 2 * TOP)
    progress("building the index", 1, 1)
    chosen = np.unique(held_out[np.linspace(0, len(held_out) - 1, min(len(held_out), MEASURED_USERS)).astype(np.int64)])
    tuned_on, measured_on = chosen[::2], chosen[1::2] if len(chosen) > 1 else chosen
    if candidates is None:
        seen = watched(ranker.dataset, tuned_on, day)
        choose_candidates(nearest, tuned_on, ranker.top(tuned_on, TOP, seen)[0], seen, min_recall, progress)
    seen, T, m = watched(ranker.dataset, measured_on, day), ranker.dataset.n_titles, nearest.candidates
    recall = recall_of(nearest.top(measured_on, TOP, seen)[0], ranker.top(measured_on, TOP, seen)[0])
    if recall < min_recall:
        found = f"recall@{TOP} is {recall:.3f} for {counted(len(measured_on), 'held-out user')}"
        hint = f"more --candidates than {m:,} of {T:,}, a lower bound, or exact ranking (twotower recommend)"
        raise InputError(f"--ann: {found}, below --min-recall {min_recall:g}: {hint}")
    users, _ = ranker.users(measured_on)
    U = np.empty((len(measured_on), ranker.model.config.hidden), np.float32)
    embedding = shortest(lambda: ranker.retrieval.embed_users(U, users))
    by_index = shortest(lambda: nearest.top(measured_on, TOP, seen))
    by_all = shortest(lambda: ranker.top(measured_on, TOP, seen))
    path = folder / INDEX
    nearest.index.save(str(path))
    np.save(folder / "available.npy", np.isfinite(ranker.bias))
    n = len(measured_on)
    pays_from = T * max(by_index - embedding, 0) / max(by_all - embedding, 1e-9)
    return IndexReport(
        T, path.stat().st_size / 1e6, m, recall, n, n / by_index, n / by_all, round(float(f"{pays_from:.1g}"))
    )

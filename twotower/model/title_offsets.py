"""Title offsets: what the towers got wrong about a title, in all or in one territory, as a number added to its logits.

    offset(cell, title) = log( (positives + prior) / (expected positives + prior) )

A cell is everyone, a group or a territory. Expected are the probabilities that the network gave to the cell's training
pairs of that title; ``prior`` pseudo-positives, as many as expected, draw a cell with little data to 0. That is the
posterior mean of a rate with a Gamma prior of mean 1 under Poisson counts (empirical Bayes; Clayton & Kaldor 1987), and
close to a random intercept a title and a cell. Nothing here has a gradient: offsets are counted when the weights stand.

How far groups or territories lie apart differs from one log to the next, so the prior of these cells is chosen: the one
under which pairs that were not counted are the least surprising. Where nothing that a cell has to itself lasts, it is
infinite, and the offsets of cells are 0.
"""

import math
from typing import NamedTuple

import numpy as np

from twotower.core.progress import Progress, silent

FOLDS = 4  # parts of the pairs, which judge each other
PRIORS = (math.inf, *(float(m * 10**e) for e in (2, 1, 0) for m in (5, 2, 1)))  # from which one is chosen


class Folds(NamedTuple):
    """The pairs (n,) in parts; each is predicted by the others or, where they are in order, by those before it."""

    fold: np.ndarray  # (n,) from 0
    ordered: bool


class FittedOffsets(NamedTuple):
    """Offsets of titles, and what drew those of groups or territories."""

    offsets: np.ndarray  # (C, T) float32
    group_prior: float  # as given or as chosen; infinite where groups and territories have nothing of their own


def judging_folds(day: np.ndarray, user: np.ndarray, rng: np.random.Generator) -> Folds:
    """Parts of pairs (n,) of about one size: by time, if there are several days, for the past is to predict what
    follows; else by users, who are dealt to the parts by chance."""
    if len(day) and day.min() < day.max():
        edges = np.quantile(day, np.arange(1, FOLDS) / FOLDS)
        return Folds(np.unique(np.searchsorted(edges, day), return_inverse=True)[1], True)
    known, index = np.unique(user, return_inverse=True)
    return Folds((rng.permutation(len(known)) % FOLDS)[index], False)


def choose_prior(
    cell: np.ndarray, title: np.ndarray, labels: np.ndarray, logits: np.ndarray, shape: tuple[int, int], folds: Folds,
    progress: Progress = silent,
) -> float:  # fmt: skip
    """Of ``PRIORS`` the one under whose offsets the folds predict each other with the least log loss; of equals the
    largest.

    ``cell``, ``title``, ``labels`` and ``logits`` (n,) are those of pairs, ``shape`` is (cells, T).
    """
    loss, judges = np.zeros(len(PRIORS)), range(int(folds.ordered), int(folds.fold.max(initial=0)) + 1)
    for turn, judge in enumerate(judges):
        judged = folds.fold == judge
        counted = folds.fold < judge if folds.ordered else ~judged
        positives, expected = observed_and_expected(
            cell[counted], title[counted], labels[counted], logits[counted], shape
        )
        key = cell[judged].astype(np.int64) * shape[1] + title[judged]
        n, e, y, z = positives[key], expected[key], labels[judged], logits[judged]
        for i, prior in enumerate(PRIORS):
            with_offset = z + log_ratio(n, e, prior)
            loss[i] += np.logaddexp(0, with_offset).sum() - with_offset @ y
            progress("trying priors", turn * len(PRIORS) + i + 1, len(judges) * len(PRIORS))
    return PRIORS[int(np.argmin(loss))]


def observed_and_expected(
    cell: np.ndarray, title: np.ndarray, labels: np.ndarray, logits: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Positives and expected positives of each cell and title, (cells · T,) float64, from pairs (n,)."""
    key = cell.astype(np.int64) * shape[1] + title
    size = shape[0] * shape[1]
    expected = np.exp(-np.logaddexp(0, -logits))  # sigmoid without overflow
    return np.bincount(key, labels, size), np.bincount(key, expected, size)


def log_ratio(positives: np.ndarray, expected: np.ndarray, prior: float) -> np.ndarray:
    """Log of observed over expected, drawn to 0 by the prior."""
    if math.isinf(prior):
        return np.zeros_like(expected)
    return np.log((positives + prior) / (expected + prior))


def shrunken_offsets(
    cell: np.ndarray, title: np.ndarray, labels: np.ndarray, logits: np.ndarray, shape: tuple[int, int], prior: float
) -> np.ndarray:
    """Offset of each cell and title, (cells, T) float64, from pairs (n,) with their logits; 0 where there is none."""
    return log_ratio(*observed_and_expected(cell, title, labels, logits, shape), prior).reshape(shape)


def fit_offsets(
    level: str, territory: np.ndarray, territory_group: np.ndarray, title: np.ndarray, labels: np.ndarray,
    logits: np.ndarray, titles: int, prior: float, group_prior: float, folds: Folds, progress: Progress = silent,
) -> FittedOffsets:  # fmt: skip
    """Offset of each title in each territory, (C, T), from training pairs (n,) under a network's logits.

    First every title gets one offset for all, drawn to 0 by ``prior``; then, at level ``group`` or ``territory``, each
    cell gets one for what is left, drawn to what holds everywhere by ``group_prior`` or, where that is 0, by what
    ``choose_prior`` says. ``territory`` (n,) is that of each pair's user, ``territory_group`` (C,) the group of each
    territory, and ``folds`` are of the pairs.
    """
    C = len(territory_group)
    everyone, logits = np.zeros(len(title), np.int64), np.asarray(logits, np.float64)
    of_title = shrunken_offsets(everyone, title, labels, logits, (1, titles), prior)[0]  # (T,)
    if level == "title":
        return FittedOffsets(np.tile(of_title.astype(np.float32), (C, 1)), math.inf)
    cell = territory_group.astype(np.int64) if level == "group" else np.arange(C)
    shape = int(cell.max()) + 1, titles
    of_pairs = cell[territory], title, labels, logits + of_title[title]
    group_prior = group_prior or choose_prior(*of_pairs, shape, folds, progress)
    own = shrunken_offsets(*of_pairs, shape, group_prior)
    return FittedOffsets((of_title + own[cell]).astype(np.float32), group_prior)

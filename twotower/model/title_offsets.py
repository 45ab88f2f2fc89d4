"""Title offsets: post-hoc corrections of title logits, global, per group or per territory.

    offset(title)       = log( (N + prior) / (E + prior) )
    offset(cell, title) = log( (n + prior·r) / (e + prior) ) − log r,     r = (N + ½) / (E + ½)

n are the positives of a title in a cell, a group or a territory, and e the expected ones; N and E are those of all
cells. r is what the title has left over everywhere: a cell is compared with that, and not with nothing, so that what
all cells share is no preference of each. "Expected" sums the probabilities that the network gives to training pairs.
Pseudo-positives (``prior``) shrink the offset of a cell with little data towards 0: the posterior mean of a rate with a
Gamma prior under Poisson counts (empirical Bayes; Clayton & Kaldor 1987), close to a random intercept per title and
cell. Nothing here has a gradient: offsets are computed once the weights are final.

How much groups or territories differ varies between logs, so their prior is selected on held-out pairs by log loss.
Where preferences of cells do not persist, the selected prior is infinite and their offsets are 0.
"""

import math
from typing import NamedTuple

import numpy as np

from twotower.core.progress import Progress, silent

FOLDS = 4  # parts of the pairs; each is held out in turn
PRIORS = (math.inf, *(float(m * 10**e) for e in (2, 1, 0) for m in (5, 2, 1)))  # candidates, largest first


class Folds(NamedTuple):
    """Pairs (n,) in folds; each is predicted from the others or, if they are ordered in time, from earlier ones."""

    fold: np.ndarray  # (n,) from 0
    ordered: bool


class FittedOffsets(NamedTuple):
    """Offsets of titles, and the prior of groups or territories."""

    offsets: np.ndarray  # (C, T) float32
    group_prior: float  # as configured or as selected; infinite where offsets of cells are 0


def prior_folds(day: np.ndarray, user: np.ndarray, rng: np.random.Generator) -> Folds:
    """Folds of about equal size for pairs (n,): by time where there are several days, else by users at random."""
    if len(day) and day.min() < day.max():
        edges = np.quantile(day, np.arange(1, FOLDS) / FOLDS)
        return Folds(np.unique(np.searchsorted(edges, day), return_inverse=True)[1], True)
    known, index = np.unique(user, return_inverse=True)
    return Folds((rng.permutation(len(known)) % FOLDS)[index], False)


def choose_prior(
    cell: np.ndarray, title: np.ndarray, labels: np.ndarray, logits: np.ndarray, shape: tuple[int, int], folds: Folds,
    progress: Progress = silent,
) -> float:  # fmt: skip
    """The prior of ``PRIORS`` with the smallest log loss on held-out folds; of equal ones the largest.

    ``cell``, ``title``, ``labels`` and ``logits`` (n,) describe the pairs, ``shape`` is (cells, T).
    """
    loss, turns = np.zeros(len(PRIORS)), range(int(folds.ordered), int(folds.fold.max(initial=0)) + 1)
    for turn, fold in enumerate(turns):
        held_out = folds.fold == fold
        counted = folds.fold < fold if folds.ordered else ~held_out
        positives, expected = observed_and_expected(
            cell[counted], title[counted], labels[counted], logits[counted], shape
        )
        key = cell[held_out].astype(np.int64) * shape[1] + title[held_out]
        n, e, y, z = positives[key], expected[key], labels[held_out], logits[held_out]
        r = left_over(positives, expected, shape)[key]
        for i, prior in enumerate(PRIORS):
            with_offset = z + log_ratio(n, e, prior, r)
            loss[i] += np.logaddexp(0, with_offset).sum() - with_offset @ y
            progress("trying priors", turn * len(PRIORS) + i + 1, len(turns) * len(PRIORS))
    return PRIORS[int(np.argmin(loss))]


def observed_and_expected(
    cell: np.ndarray, title: np.ndarray, labels: np.ndarray, logits: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Positives and expected positives of each cell and title, (cells · T,) float64, from pairs (n,)."""
    key = cell.astype(np.int64) * shape[1] + title
    size = shape[0] * shape[1]
    expected = np.exp(-np.logaddexp(0, -logits))  # sigmoid without overflow
    return np.bincount(key, labels, size), np.bincount(key, expected, size)


def left_over(positives: np.ndarray, expected: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """r of each cell's title, (cells · T,): the title's observed over its expected positives in all cells."""
    N, E = positives.reshape(shape).sum(0), expected.reshape(shape).sum(0)
    return np.tile((N + 0.5) / (E + 0.5), shape[0])


def log_ratio(
    positives: np.ndarray, expected: np.ndarray, prior: float, r: np.ndarray | float = 1.0
) -> np.ndarray:
    """Log of observed over expected, over that of all cells, ``r``; shrunk towards 0 by the prior."""
    if math.isinf(prior):
        return np.zeros_like(expected)
    return np.log((positives + prior * r) / (expected + prior)) - np.log(r)


def shrunken_offsets(
    cell: np.ndarray, title: np.ndarray, labels: np.ndarray, logits: np.ndarray, shape: tuple[int, int], prior: float
) -> np.ndarray:
    """Offset of each cell and title, (cells, T) float64, from pairs (n,) with their logits; 0 where there is none.

    A single cell is all there is: its offset is that of the title.
    """
    n, e = observed_and_expected(cell, title, labels, logits, shape)
    r = left_over(n, e, shape) if shape[0] > 1 else 1.0
    return log_ratio(n, e, prior, r).reshape(shape)


def fit_offsets(
    level: str, territory: np.ndarray, territory_group: np.ndarray, title: np.ndarray, labels: np.ndarray,
    logits: np.ndarray, titles: int, prior: float, group_prior: float, folds: Folds, progress: Progress = silent,
) -> FittedOffsets:  # fmt: skip
    """Offset of each title in each territory, (C, T), from training pairs (n,) under a network's logits.

    Each title first gets a global offset, shrunk by ``prior``; then, at level ``group`` or ``territory``, each cell
    gets one for the rest, shrunk by ``group_prior`` or, where that is 0, by the prior that ``choose_prior`` selects.
    ``territory`` (n,) is that of each pair's user, ``territory_group`` (C,) the group of each territory, and ``folds``
    are of the pairs.
    """
    C = len(territory_group)
    world, logits = np.zeros(len(title), np.int64), np.asarray(logits, np.float64)
    of_title = shrunken_offsets(world, title, labels, logits, (1, titles), prior)[0]  # (T,)
    if level == "title":
        return FittedOffsets(np.tile(of_title.astype(np.float32), (C, 1)), math.inf)
    cell = territory_group.astype(np.int64) if level == "group" else np.arange(C)
    shape = int(cell.max()) + 1, titles
    of_pairs = cell[territory], title, labels, logits + of_title[title]
    group_prior = group_prior or choose_prior(*of_pairs, shape, folds, progress)
    own = shrunken_offsets(*of_pairs, shape, group_prior)
    return FittedOffsets((of_title + own[cell]).astype(np.float32), group_prior)


class OffsetCounts(NamedTuple):
    """What offsets are made of, where it is counted day by day: (C, T) float64 each."""

    positives: np.ndarray
    expected: np.ndarray  # under the network's logits
    corrected: np.ndarray  # under these and the titles' own offsets

    @classmethod
    def none(cls, shape: tuple[int, int]) -> "OffsetCounts":
        return cls(*(np.zeros(shape) for _ in range(3)))

    def of_titles(self, prior: float) -> np.ndarray:
        """The titles' own offsets (T,)."""
        return log_ratio(self.positives.sum(0), self.expected.sum(0), prior)

    def add(
        self, territory: np.ndarray, title: np.ndarray, labels: np.ndarray, logits: np.ndarray, prior: float
    ) -> None:
        """Count pairs (n,) with their logits; what a title's own offset adds to these counts them in already."""
        shape, logits = self.positives.shape, np.asarray(logits, np.float64)
        positives, expected = observed_and_expected(territory, title, labels, logits, shape)
        self.positives[...] += positives.reshape(shape)
        self.expected[...] += expected.reshape(shape)
        _, corrected = observed_and_expected(territory, title, labels, logits + self.of_titles(prior)[title], shape)
        self.corrected[...] += corrected.reshape(shape)

    def offsets(self, level: str, territory_group: np.ndarray, prior: float, group_prior: float) -> np.ndarray:
        """Offset of each title in each territory, (C, T) float32, as of ``fit_offsets``."""
        C, T = self.positives.shape
        of_title = self.of_titles(prior)
        if level == "title":
            return np.tile(of_title.astype(np.float32), (C, 1))
        cell = territory_group.astype(np.int64) if level == "group" else np.arange(C)
        n, e = (np.zeros((int(cell.max()) + 1, T)) for _ in range(2))
        np.add.at(n, cell, self.positives)
        np.add.at(e, cell, self.corrected)
        r = left_over(n.ravel(), e.ravel(), n.shape) if len(n) > 1 else 1.0
        own = log_ratio(n.ravel(), e.ravel(), group_prior, r).reshape(n.shape)
        return (of_title + own[cell]).astype(np.float32)

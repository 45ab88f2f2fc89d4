"""Title offsets: what the towers got wrong about a title, in all or in one territory, as a number added to its logits.

    offset(cell, title) = log( (positives + prior) / (expected positives + prior) )

A cell is everyone, a group or a territory. Expected are the probabilities that the network gave to the cell's training
pairs of that title; ``prior`` pseudo-positives, as many as expected, draw a cell with little data to 0. That is the
posterior mean of a rate with a Gamma prior of mean 1 under Poisson counts (empirical Bayes; Clayton & Kaldor 1987), and
close to a random intercept a title and a cell. Nothing here has a gradient: offsets are counted when the weights stand.
"""

import numpy as np


def shrunken_offsets(
    cell: np.ndarray, title: np.ndarray, labels: np.ndarray, logits: np.ndarray, shape: tuple[int, int], prior: float
) -> np.ndarray:
    """Offset of each cell and title, (cells, T) float64, from pairs (n,) with their logits; 0 where there is none."""
    key = cell.astype(np.int64) * shape[1] + title
    size = shape[0] * shape[1]
    positives = np.bincount(key, labels, size)
    expected = np.bincount(key, np.exp(-np.logaddexp(0, -logits)), size)  # sigmoid without overflow
    return np.log((positives + prior) / (expected + prior)).reshape(shape)


def fit_offsets(
    level: str, territory: np.ndarray, territory_group: np.ndarray, title: np.ndarray, labels: np.ndarray,
    logits: np.ndarray, titles: int, prior: float,
) -> np.ndarray:  # fmt: skip
    """Offset of each title in each territory, (C, T) float32, from training pairs (n,) under a network's logits.

    First every title gets one offset for all; then, at level ``group`` or ``territory``, each cell gets one for what is
    left, so that a small cell is drawn to what holds everywhere. ``territory`` (n,) is that of each pair's user, and
    ``territory_group`` (C,) the group of each territory.
    """
    C = len(territory_group)
    cells = {"title": np.zeros(C, np.int64), "group": territory_group.astype(np.int64), "territory": np.arange(C)}
    offsets, left = np.zeros((C, titles)), np.asarray(logits, np.float64)
    for name in ("title",) if level == "title" else ("title", level):
        cell = cells[name]
        found = shrunken_offsets(cell[territory], title, labels, left, (int(cell.max()) + 1, titles), prior)[cell]
        offsets += found
        left = left + found[territory, title]
    return offsets.astype(np.float32)

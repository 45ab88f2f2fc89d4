"""Counts alone: logistic regression of a handful of counts, with no network at all.

    z(u, t) = w·m(u, t) + b

m holds how often the title is watched everywhere, in the user's group and in the user's territory, in history and among
the labels, all of them and the latest; how long it has been there; how well it goes with the user's history; and how long
that is. What is counted for a training pair leaves out the labels of its user's fold, so that no label predicts itself.
"""

from collections.abc import Iterator

import numpy as np

from twotower.experiments.rivals.knowledge import FOLDS, Knowledge
from twotower.experiments.rivals.neighbours import MOST_TITLES, Ease, ItemKNN
from twotower.experiments.rivals.popularity import RecentPopular, log_rates

BLOCK_CELLS = 1 << 21  # users × titles whose terms are held at a time
RIDGE = 1e-3  # of the standardised weights, per pair
NEWTON_STEPS = 12

Array = np.ndarray


class Terms:
    """The terms m (n, T, F) of users, from what is known."""

    def __init__(self, known: Knowledge):
        self.known = known
        tables = []
        for matrix in (known.history, known.labels):
            rates = [log_rates(matrix, known, level) for level in ("world", "group", "territory")]
            tables += [rates[0], rates[1] - rates[0], rates[2] - rates[1]]
        tables.append(RecentPopular(known).table - tables[3] - tables[4] - tables[5])
        day = int(known.pairs.day.max(initial=0)) + 1
        age = np.log1p(np.maximum(day - known.launch_day, 0)).astype(np.float32)
        tables.append(np.broadcast_to(age, tables[0].shape))
        self.tables = np.stack(tables, axis=2)  # (C, T, f)
        self.knn = ItemKNN(known)
        self.ease = Ease(known) if known.history.shape[1] <= MOST_TITLES else None
        self.length = np.log1p(known.history.sum(1)).astype(np.float32)  # (U,)

    def of_users(self, users: Array) -> Array:
        """m (n, T, F) float32 of users (n,)."""
        knn, length = self.knn.scores(users), self.length[users][:, None]
        own = [knn, np.log(knn + 1e-3), knn * length, np.broadcast_to(length, knn.shape)]
        if self.ease is not None:
            own += [(ease := self.ease.scores(users)), ease * length]
        return np.concatenate([self.tables[self.known.territory[users]], np.stack(own, axis=2)], axis=2)

    def of_pairs(self, user: Array, title: Array) -> Array:
        """m (n, F) float32 of pairs (n,), in any order."""
        found: list[tuple[Array, Array]] = []
        for index, users, row in blocks(user, max(1, BLOCK_CELLS // self.tables.shape[1])):
            found.append((index, self.of_users(users)[row, title[index]]))
        terms = np.empty((len(user), found[0][1].shape[1]), np.float32)
        for index, values in found:
            terms[index] = values
        return terms


def blocks(user: Array, most: int) -> Iterator[tuple[Array, Array, Array]]:
    """Pairs (n,) by blocks of at most ``most`` users: their indices, the block's users, and each pair's row among them."""
    users, row = np.unique(user, return_inverse=True)
    order = np.argsort(row, kind="stable")
    ends = np.searchsorted(row[order], np.arange(0, len(users) + most, most))
    for i in range(len(ends) - 1):
        index = order[ends[i] : ends[i + 1]]
        if len(index):
            yield index, users[i * most : (i + 1) * most], row[index] - i * most


def logistic_regression(X: Array, y: Array) -> tuple[Array, float]:
    """Weights (F,) and bias of the ridge logistic regression of y (n,) on X (n, F), by Newton's method."""
    mean, spread = X.mean(0, dtype=np.float64), X.std(0, dtype=np.float64)
    spread[spread == 0] = 1
    Z = np.concatenate([(X - mean) / spread, np.ones((len(X), 1))], axis=1)
    w = np.zeros(Z.shape[1])
    penalty = RIDGE * len(y) * np.r_[np.ones(X.shape[1]), 0]
    for _ in range(NEWTON_STEPS):
        p = 1 / (1 + np.exp(-(Z @ w)))
        gradient = Z.T @ (p - y) + penalty * w
        hessian = (Z * (p * (1 - p))[:, None]).T @ Z + np.diag(penalty + 1e-9)
        step = np.linalg.solve(hessian, gradient)
        w -= step
        if np.abs(step).max() < 1e-6:
            break
    weights = w[:-1] / spread
    return weights, float(w[-1] - weights @ mean)


class Counts:
    """The regression, fitted on the training pairs."""

    def __init__(self, known: Knowledge):
        pairs = known.pairs
        part = known.fold[pairs.user]
        X = np.empty((len(pairs), 0), np.float32)
        for fold in range(FOLDS):
            own = part == fold
            terms = Terms(known.without_labels_of(fold)).of_pairs(pairs.user[own], pairs.title[own])
            if not X.shape[1]:
                X = np.empty((len(pairs), terms.shape[1]), np.float32)
            X[own] = terms
        self.weights, self.bias = logistic_regression(X, pairs.label)
        self.terms = Terms(known)

    def scores(self, users: Array) -> Array:
        """Logits (n, T) float32 of users (n,)."""
        return (self.terms.of_users(users) @ self.weights + self.bias).astype(np.float32)

"""Counts alone: logistic regression of a handful of counts, with no network at all.

    z(u, t) = w·m(u, t) + b

m holds how often the title is watched everywhere, in the user's group and in the user's territory, in history and among
the labels, all of them and the latest; the days since its launch; how well it goes with the user's history; and the
length of that history. The labels of a training pair's fold of users are left out: no label predicts itself.
"""

from collections.abc import Iterator

import numpy as np

from twotower.experiments.rivals.knowledge import FOLDS, Knowledge
from twotower.experiments.rivals.neighbours import Ease, ItemKNN
from twotower.experiments.rivals.popularity import RecentPopular, log_rates

BLOCK_CELLS = 1 << 21  # users × titles whose scores are held at a time
SMALLEST_COSINE = 1e-3  # added before the log
RIDGE = 1e-3  # of the standardised weights, per pair
NEWTON_STEPS = 12

Array = np.ndarray


class Terms:
    """The terms m of users and titles: F arrays, first those of a territory and a title."""

    def __init__(self, known: Knowledge):
        self.known = known
        tables = []
        for matrix in (known.history, known.labels):
            rates = [log_rates(matrix, known, level) for level in ("world", "group", "territory")]
            tables += [rates[0], rates[1] - rates[0], rates[2] - rates[1]]
        tables.append(RecentPopular(known).table - tables[3] - tables[4] - tables[5])
        day = int(known.pairs.day.max(initial=0)) + 1
        age = np.log1p(np.maximum(day - known.launch_day, 0)).astype(np.float32)
        tables.append(np.tile(age, (len(known.group), 1)))
        self.tables = tables  # (C, T) each
        self.goes_with_history: list[ItemKNN | Ease] = [ItemKNN(known), Ease(known)]
        self.length = np.log1p(known.history.sum(1)).astype(np.float32)  # (U,)

    def own(self, user: Array, scores: list[Array]) -> list[Array]:
        """The terms that a user has with a title, from how well it goes with the history: (n,) or (n, T) each."""
        length = self.length[user].reshape(-1, *[1] * (scores[0].ndim - 1))
        knn, ease = scores
        own = np.broadcast_to(length, knn.shape)
        return [knn, np.log(knn + SMALLEST_COSINE), knn * own, own, ease, ease * own]

    def of_pairs(self, user: Array, title: Array) -> Array:
        """m (n, F) float32 of pairs (n,), in any order."""
        scores = [np.empty(len(user), np.float32) for _ in self.goes_with_history]
        for index, users, row in blocks(user, max(1, BLOCK_CELLS // self.tables[0].shape[1])):
            for model, score in zip(self.goes_with_history, scores, strict=True):
                score[index] = model.scores(users)[row, title[index]]
        territory = self.known.territory[user]
        return np.stack([table[territory, title] for table in self.tables] + self.own(user, scores), axis=1)

    def logits(self, users: Array, weights: Array, bias: float) -> Array:
        """w·m + b (n, T) float32 of users (n,)."""
        table = sum(w * t for w, t in zip(weights, self.tables, strict=False))
        z = np.asarray(table, np.float32)[self.known.territory[users]] + np.float32(bias)
        own = self.own(users, [model.scores(users) for model in self.goes_with_history])
        for w, term in zip(weights[len(self.tables) :], own, strict=True):
            z += np.float32(w) * term
        return z


def blocks(user: Array, most: int) -> Iterator[tuple[Array, Array, Array]]:
    """Pairs (n,) in blocks of at most ``most`` users: their indices, the users, and each pair's row among these."""
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
    spread[spread < 1e-6] = 1  # a constant has no weight, but for rounding
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


def training_terms(known: Knowledge) -> tuple[Array, Array]:
    """m (n, F) and labels (n,) of the training pairs, fold by fold: each without the labels of its fold of users."""
    by_fold = [known.pairs.take(known.fold[known.pairs.user] == fold) for fold in range(FOLDS)]
    m = [Terms(known.without_labels_of(fold)).of_pairs(own.user, own.title) for fold, own in enumerate(by_fold)]
    return np.concatenate(m), np.concatenate([own.label for own in by_fold])


class Counts:
    """The regression, fitted on the training pairs; it scores users whose labels nobody knows."""

    def __init__(self, known: Knowledge):
        self.weights, self.bias = logistic_regression(*training_terms(known))
        self.terms = Terms(known)

    def scores(self, users: Array) -> Array:
        """Logits (n, T) float32 of users (n,)."""
        return self.terms.logits(users, self.weights, self.bias)

"""Every rival by name, and how its scores become logits."""

from collections.abc import Callable, Iterator
from copy import copy
from typing import Protocol

import numpy as np
import scipy.sparse as sp

from twotower.data.memory.knowledge import Knowledge
from twotower.data.memory.regression import logistic_regression
from twotower.experiments.rivals.counts import Counts
from twotower.experiments.rivals.ease import Ease
from twotower.experiments.rivals.factorisation import Als
from twotower.experiments.rivals.neighbours import ItemKNN
from twotower.experiments.rivals.popularity import Popular

BLOCK_CELLS = 1 << 22  # users × titles scored at a time
CALIBRATION_PAIRS = 50_000  # training pairs, at most, that logits are fitted on


class Rival(Protocol):
    """A model that was fitted when it was made."""

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Scores (n, T) float32 of users (n,): larger is better."""
        ...

    def meet(self, history: sp.csr_array | None, territory: np.ndarray) -> None:
        """Score others from now on, who live in territories (n,) and watched ``history`` (n, T); None: the same users,
        living there."""
        ...


RIVALS: dict[str, Callable[[Knowledge], Rival]] = {
    "popular": lambda known: Popular(known, "territory"),
    "popular-group": lambda known: Popular(known, "group"),
    "popular-world": lambda known: Popular(known, "world"),
    "recent-popular": lambda known: Popular(known, "recent"),
    "item-knn": ItemKNN,
    "ease": Ease,
    "als": Als,
    "counts": Counts,
}


class Calibrated:
    """A rival whose scores are logits a·s + b, with a and b from a logistic regression of training labels (Platt 1999).

    Rankings stay as they are; probabilities become comparable with the network's.
    """

    def __init__(self, name: str, known: Knowledge):
        self.rival = RIVALS[name](known)
        step = max(1, len(known.pairs) // CALIBRATION_PAIRS)
        some = known.pairs.take(np.arange(0, len(known.pairs), step))
        scores = self._of_pairs(some.user, some.title)
        (slope,), self.bias = logistic_regression(scores[:, None], some.label)
        self.slope = max(float(slope), 1e-6)  # a rival that is wrong stays wrong

    def _of_pairs(self, user: np.ndarray, title: np.ndarray) -> np.ndarray:
        found = np.empty(len(user), np.float32)
        n_titles = self.rival.scores(user[:1]).shape[1]
        for index, users, row in blocks(user, max(1, BLOCK_CELLS // n_titles)):
            found[index] = self.rival.scores(users)[row, title[index]]
        return found

    def of_pairs(self, user: np.ndarray, title: np.ndarray) -> np.ndarray:
        """Logits (n,) float32 of pairs (n,)."""
        return (self.slope * self._of_pairs(user, title) + self.bias).astype(np.float32)

    def of(self, history: sp.csr_array | None, territory: np.ndarray) -> "Calibrated":
        """The same for other users, or for the same in other territories: see ``Rival.meet``."""
        other = copy(self)
        other.rival = copy(self.rival)
        other.rival.meet(history, territory)
        return other

    def of_users(self, users: np.ndarray) -> np.ndarray:
        """Logits (n, T) float32 of users (n,)."""
        size = max(1, BLOCK_CELLS // self.rival.scores(users[:1]).shape[1])
        parts = [self.rival.scores(users[i : i + size]) for i in range(0, len(users), size)]
        return (self.slope * np.concatenate(parts) + self.bias).astype(np.float32)


def blocks(user: np.ndarray, most: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pairs (n,) in blocks of at most ``most`` users: their indices, the users, and each pair's row among these."""
    users, row = np.unique(user, return_inverse=True)
    order = np.argsort(row, kind="stable")
    ends = np.searchsorted(row[order], np.arange(0, len(users) + most, most))
    for i in range(len(ends) - 1):
        index = order[ends[i] : ends[i + 1]]
        if len(index):
            yield index, users[i * most : (i + 1) * most], row[index] - i * most

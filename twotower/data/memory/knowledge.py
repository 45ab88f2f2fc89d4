"""What a simple rival may know when it scores a period: just what the network has seen by then.

    U users · T titles · C territories

That is the history of all users, and the labelled pairs of training users on days before the period. Pairs of test days
that have not been evaluated yet, and everything that test users watch after their history, stay out.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from twotower.core.jit import njit
from twotower.core.random_streams import Stream, generator
from twotower.data.dataset import HISTORY, Dataset
from twotower.data.memory.together import Together, count_more, count_together, parts
from twotower.data.sample import Pairs

FOLDS = 3  # parts of the training users: what a rival learns from a user's labels never counts those labels


class Counted:
    """What is counted of the histories alone: once, however often other labels join them."""

    def __init__(self, history: sp.csr_array, territory: np.ndarray, territories: int):
        self.history, self.territory, self.territories = history, territory, territories
        self._together: np.ndarray | None = None

    @cached_property
    def viewers(self) -> np.ndarray:
        """(C, T) float64 users of a territory who watched a title."""
        return viewers_of(self.history, self.territory, self.territories)

    @cached_property
    def digest(self) -> bytes:
        """Of the matrix."""
        return digest_of(self.history)

    def together(self, tick: Callable[[], object] = lambda: None) -> np.ndarray:
        """(T, T) int32 users who watched both titles: upper triangle. ``tick`` is called now and then."""
        if self._together is None:
            self._together = count_together(self.history, tick)
        return self._together


@dataclass(frozen=True, eq=False)
class Knowledge:
    """History, labels, and where users live and titles are available."""

    history: sp.csr_array  # (U, T) float32: 1 where the user watched the title before the first training day
    pairs: Pairs  # labelled pairs of training users, up to the day before the period
    territory: np.ndarray  # (U,) int64 of each user
    group: np.ndarray  # (C,) int64 of each territory
    availability: np.ndarray  # (T, C) bool
    launch_day: np.ndarray  # (T,) int32
    seed: int = 0
    left_out: int | None = None  # the fold without labels
    of_history: Counted | None = None  # made of the history where it is not given

    def __post_init__(self) -> None:
        if self.of_history is None:
            object.__setattr__(self, "of_history", Counted(self.history, self.territory, len(self.group)))

    @property
    def counts(self) -> Counted:
        """What is counted of the history."""
        assert self.of_history is not None
        return self.of_history

    def together(self, tick: Callable[[], object] = lambda: None) -> Together:
        """Titles that the same users watched, labels included. ``tick`` is called now and then."""
        counts = self.counts.together(tick).copy()
        count_more(counts, self.history, self.labels)
        return Together.of(counts)

    @property
    def digest(self) -> bytes:
        """Of who watched what."""
        return self.counts.digest + digest_of(self.labels)

    @cached_property
    def labels(self) -> sp.csr_array:
        """(U, T) float32: 1 where a training pair is positive."""
        positive = self.pairs.label > 0
        return ones(self.pairs.user[positive], self.pairs.title[positive], self.history.shape)

    @cached_property
    def watched(self) -> sp.csr_array:
        """(U, T) float32: history and positive labels together."""
        both = (self.history + self.labels).tocsr()
        both.data[:] = 1
        return both

    @cached_property
    def fold(self) -> np.ndarray:
        """A part (U,) of 0 … FOLDS − 1 for each user, drawn from the seed."""
        users = self.history.shape[0]
        return generator(self.seed, Stream.RIVAL_FOLDS).permutation(users) % FOLDS

    @property
    def counted(self) -> np.ndarray | None:
        """Users (U,) bool whose labels are among the pairs; None for all."""
        return None if self.left_out is None else self.fold != self.left_out

    def only(self, pairs: Pairs) -> "Knowledge":
        """The same with other labelled pairs."""
        return replace(self, pairs=pairs)

    @property
    def day(self) -> int:
        """The day after the last one with pairs."""
        return int(self.pairs.day.max(initial=0)) + 1

    def of_new_title(self) -> "Knowledge":
        """What is known of a title that is launched now, everywhere: nobody has watched it."""
        nobody, now = sp.csr_array((len(self.territory), 1), dtype=np.float32), np.full(1, self.day, np.int32)
        availability = np.ones((1, len(self.group)), bool)
        none = self.pairs.take(np.zeros(len(self.pairs), bool))
        return replace(self, history=nobody, pairs=none, availability=availability, launch_day=now,
                       of_history=None)  # fmt: skip

    def without_labels_of(self, fold: int) -> "Knowledge":
        """The same, but for the labels of the users of one part."""
        return replace(self.only(self.pairs.take(self.fold[self.pairs.user] != fold)), left_out=fold)


def ones(user: np.ndarray, title: np.ndarray, shape: tuple[int, int]) -> sp.csr_array:
    """A sparse matrix (U, T) float32 with 1 at each pair, however often it occurs."""
    matrix = sp.csr_array((np.ones(len(user), np.float32), (user, title)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def viewers_of(matrix: sp.csr_array, territory: np.ndarray, territories: int) -> np.ndarray:
    """(C, T) float64 users of a territory (U,) who watched a title; ``matrix`` (U, T) holds 1 where one did."""
    viewers = np.zeros((territories, matrix.shape[1]))
    count_viewers(viewers, territory, *parts(matrix)[:2])
    return viewers


def digest_of(matrix: sp.csr_array) -> bytes:
    """A digest of a sparse matrix of ones."""
    digest = hashlib.blake2b(repr(matrix.shape).encode(), digest_size=32)
    for array in (matrix.indptr, matrix.indices):
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


@njit(cache=True, nogil=True)
def count_viewers(viewers: np.ndarray, territory: np.ndarray, start: np.ndarray, title: np.ndarray) -> None:
    """viewers[c, t] += users of territory c who watched t, title[start[u]:start[u + 1]] of user u."""
    for u in range(len(territory)):
        for i in range(start[u], start[u + 1]):
            viewers[territory[u], title[i]] += 1


def read_history(dataset: Dataset) -> sp.csr_array:
    """The history of a dataset, (U, T) float32."""
    user, title = dataset.events(HISTORY)
    return ones(np.asarray(user), np.asarray(title), (dataset.n_users, dataset.n_titles))

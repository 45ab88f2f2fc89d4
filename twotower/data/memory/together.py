"""Titles that the same users watched, counted."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from twotower.core.jit import njit

USERS_AT_ONCE = 1 << 18  # whose titles are counted between two ticks


class Together(NamedTuple):
    """Titles that the same users watched, of T titles: both symmetric."""

    users: np.ndarray  # (T, T) float32 how many watched both; on the diagonal, how many watched the title
    cosine: np.ndarray  # (T, T) float32 of the two titles' viewers; 0 on the diagonal

    @classmethod
    def of(cls, counts: np.ndarray) -> "Together":
        """Both of ``counts`` (T, T), of which the upper triangle is read."""
        users = np.triu(counts).astype(np.float32)
        users += np.triu(users, 1).T
        unit = 1 / np.sqrt(np.maximum(np.diag(users), 1))
        cosine = users * unit[:, None] * unit
        np.fill_diagonal(cosine, 0)
        return cls(users, cosine)


def count_together(watched: sp.csr_array, tick: Callable[[], object] = lambda: None) -> np.ndarray:
    """How many users watched both of two titles, (T, T) int32: upper triangle. ``tick`` is called now and then."""
    counts = np.zeros((watched.shape[1],) * 2, np.int32)
    start, title, _ = parts(watched)
    for first in range(0, watched.shape[0], USERS_AT_ONCE):
        add_products(counts, start[first : first + USERS_AT_ONCE + 1], title)
        tick()
    return counts


def count_more(counts: np.ndarray, watched: sp.csr_array, labels: sp.csr_array) -> None:
    """Add to the counts of ``watched`` (U, T) what ``labels`` (U, T) change: users watch those titles, too."""
    add_new_products(counts, *parts(watched)[:2], *parts(labels)[:2])


def parts(matrix: sp.csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bounds of the rows, columns and values. Columns are unsigned, so that kernels don't look for negative ones."""
    data = matrix.data.view()
    data.flags.writeable = False  # as those of kept neighbours are: kernels see one type
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32, copy=False).view(np.uint32), data


@njit(cache=True, nogil=True)
def add_products(counts: np.ndarray, start: np.ndarray, title: np.ndarray) -> None:
    """Count every two titles i <= j of a user; titles ascend."""
    for r in range(len(start) - 1):
        own = title[start[r] : start[r + 1]]
        for a in range(len(own)):
            for b in range(a, len(own)):
                counts[own[a], own[b]] += 1


@njit(cache=True, nogil=True)
def add_new_products(
    counts: np.ndarray, start: np.ndarray, title: np.ndarray, label_start: np.ndarray, label_title: np.ndarray
) -> None:
    """Count every two titles of a user of which one at least is new: among the labels, not among the watched."""
    new = np.empty(len(counts), np.uint32)
    for r in range(len(start) - 1):
        own, labels = title[start[r] : start[r + 1]], label_title[label_start[r] : label_start[r + 1]]
        found, a = 0, 0
        for label in labels:
            while a < len(own) and own[a] < label:
                a += 1
            if a == len(own) or own[a] != label:
                new[found] = label
                found += 1
        for i in range(found):
            for one in own:
                counts[min(one, new[i]), max(one, new[i])] += 1
            for j in range(i, found):
                counts[new[i], new[j]] += 1

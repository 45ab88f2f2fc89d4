"""Do the groups pull the shared towers the same way? Cosines and shares of their gradients, from inner products."""

from typing import NamedTuple

import numpy as np


class Conflict(NamedTuple):
    """The groups' gradients of what all share, against each other."""

    norm: np.ndarray  # (K,)
    cosine: np.ndarray  # (K, K) 1: the same way; 0: at right angles; below 0: against each other; NaN: no gradient
    share: np.ndarray  # (K,) of the sum of all: <g_k, g> / <g, g>; below 0 where a group is pulled against its own rows


def conflict(inner: np.ndarray) -> Conflict:
    """From inner products <g_j, g_k> (K, K) in float64. A share needs no other: <g_k, g> is the sum of a row."""
    squares = np.diag(inner)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = inner / np.sqrt(np.outer(squares, squares))
        share = inner.sum(1) / inner.sum()
    return Conflict(np.sqrt(squares), np.clip(cosine, -1, 1), share)

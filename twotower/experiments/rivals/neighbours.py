"""Titles that go together: item-based nearest neighbours, and their best linear form (EASE).

Both score a title for a user by what the user watched before: x K, with x (T,) the history and K (T, T) between titles.
"""

import numpy as np
import scipy.sparse as sp

from twotower.core.errors import InputError
from twotower.experiments.rivals.knowledge import Knowledge

NEIGHBOURS = 200  # of each title that are kept
MOST_TITLES = 10_000  # of EASE, which inverts a matrix of this width: 10,000 take 0.8 GiB and about a minute
DECAY = 100.0  # of EASE: added to the diagonal of the Gram matrix


def cosine_neighbours(watched: sp.csr_array, most: int = NEIGHBOURS) -> sp.csr_array:
    """Cosine of the viewers of every two titles, (T, T) float32, the ``most`` nearest of each title (Sarwar et al. 2001)."""
    viewers = np.maximum(watched.sum(0), 1)
    unit = watched @ sp.diags_array((1 / np.sqrt(viewers)).astype(np.float32))
    cosine = (unit.T @ unit).tolil()
    cosine.setdiag(0)
    return keep_largest(cosine.tocsr(), most)


def keep_largest(matrix: sp.csr_array, most: int) -> sp.csr_array:
    """The ``most`` largest values of each row."""
    matrix.eliminate_zeros()
    for row in np.flatnonzero(np.diff(matrix.indptr) > most):
        values = matrix.data[matrix.indptr[row] : matrix.indptr[row + 1]]
        values[values < np.partition(values, -most)[-most]] = 0
    matrix.eliminate_zeros()
    return matrix


def ease_weights(watched: sp.csr_array, decay: float = DECAY) -> np.ndarray:
    """B (T, T) float32 with a zero diagonal that predicts each title from all others: ridge regression in closed form.

    B = I − P / diag(P) with P = (XᵀX + decay·I)⁻¹ (Steck 2019, EASE).

    Errors: InputError for more than ``MOST_TITLES``.
    """
    T = watched.shape[1]
    if T > MOST_TITLES:
        raise InputError(f"ease: {T:,} titles, and it inverts a matrix of that width; at most {MOST_TITLES:,}")
    gram = (watched.T @ watched).toarray().astype(np.float64)
    gram[np.diag_indices(T)] += decay
    P = np.linalg.inv(gram)
    B = P / -np.diag(P)
    np.fill_diagonal(B, 0)
    return B.astype(np.float32)


class ItemKNN:
    """Σ of cosines between a title and the user's history, over the root of its length."""

    def __init__(self, known: Knowledge):
        self.history, self.weights = known.history, cosine_neighbours(known.watched)

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Scores (n, T) float32 of users (n,)."""
        x = self.history[users]
        return (x @ self.weights).toarray() / np.sqrt(np.maximum(x.sum(1), 1))[:, None].astype(np.float32)


class Ease:
    """The user's history times EASE's weights."""

    def __init__(self, known: Knowledge):
        self.history, self.weights = known.history, ease_weights(known.watched)

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Scores (n, T) float32 of users (n,)."""
        return np.asarray(self.history[users] @ self.weights)

"""Titles that go together: item-based nearest neighbours, and their best linear form (EASE).

Both score a title for a user by what the user watched before: x K, with x (T,) the history and K (T, T) between titles.
"""

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lapack

from twotower.experiments.rivals.knowledge import Knowledge

NEIGHBOURS = 200  # of each title that are kept
MOST_TITLES = 10_000  # of EASE, which inverts a matrix of this width: three such matrices are 1.2 GB
DECAY = 100.0  # of EASE: added to the diagonal of the Gram matrix


def cosine_neighbours(watched: sp.csr_array, most: int = NEIGHBOURS) -> sp.csr_array:
    """Cosine of the viewers of every two titles, (T, T) float32: the ``most`` nearest of each (Sarwar et al. 2001)."""
    viewers = np.maximum(watched.sum(0), 1)
    unit = watched @ sp.diags_array((1 / np.sqrt(viewers)).astype(np.float32))
    cosine = (unit.T @ unit).tocsr()
    row = np.repeat(np.arange(cosine.shape[0]), np.diff(cosine.indptr))
    cosine.data[cosine.indices == row] = 0
    return keep_largest(cosine, most)


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

    """
    gram = (watched.T @ watched).toarray()
    gram[np.diag_indices_from(gram)] += decay
    P = inverse(gram)
    B = P / -np.diag(P)
    np.fill_diagonal(B, 0)
    return B


def inverse(A: np.ndarray) -> np.ndarray:
    """Inverse of a symmetric positive definite matrix (T, T) float32, by Cholesky: half the work of the general one."""
    upper, failed = lapack.spotrf(A)
    P, wrong = lapack.spotri(upper)
    if failed or wrong:
        raise ValueError(f"matrix {A.shape} is not positive definite")
    return np.triu(P) + np.triu(P, 1).T


class ItemKNN:
    """Σ of cosines between a title and the user's history, over the root of its length."""

    def __init__(self, known: Knowledge):
        self.history, self.weights = known.history, cosine_neighbours(known.watched)

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Scores (n, T) float32 of users (n,)."""
        x = self.history[users]
        return (x @ self.weights).toarray() / np.sqrt(np.maximum(x.sum(1), 1))[:, None].astype(np.float32)


class Ease:
    """The user's history times EASE's weights; beyond the ``MOST_TITLES`` titles with most viewers, 0."""

    def __init__(self, known: Knowledge):
        viewers = known.watched.sum(0)
        self.titles = np.sort(np.argsort(-viewers, kind="stable")[:MOST_TITLES])
        self.history, self.n_titles = known.history[:, self.titles], known.history.shape[1]
        self.weights = ease_weights(known.watched[:, self.titles])

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Scores (n, T) float32 of users (n,)."""
        scores = np.zeros((len(users), self.n_titles), np.float32)
        scores[:, self.titles] = self.history[users] @ self.weights
        return scores

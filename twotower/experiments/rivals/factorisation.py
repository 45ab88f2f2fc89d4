"""Matrix factorisation of who watched what: implicit-feedback ALS (Hu, Koren & Volinsky 2008)."""

import numpy as np
import scipy.sparse as sp

from twotower.core.random_streams import Stream, generator
from twotower.data.memory.knowledge import Knowledge

FACTORS = 64
ROUNDS = 12  # users and titles, in turn
STEPS = 3  # of conjugate gradients for each row (Takács, Pilászy & Tikk 2011)
CONFIDENCE = 10.0  # how much more a watched title counts than one that was not
DECAY = 0.05  # of the factors


def solve(X: np.ndarray, Y: np.ndarray, watched: sp.csr_array, steps: int = STEPS) -> np.ndarray:
    """Factors (n, f) of rows that fit ``watched`` (n, m) given Y (m, f): a few CG steps from X, all rows at once.

    Row u solves (YᵀY + α·Y_uᵀY_u + λI) x = (1 + α)·Y_uᵀ1, with Y_u the rows of Y that u watched.
    """
    row = np.repeat(np.arange(watched.shape[0]), np.diff(watched.indptr))
    gram = Y.T @ Y + DECAY * np.eye(Y.shape[1], dtype=Y.dtype)

    def times(V: np.ndarray) -> np.ndarray:
        dots = np.einsum("ij,ij->i", V[row], Y[watched.indices])
        weighted = sp.csr_array((CONFIDENCE * dots, watched.indices, watched.indptr), shape=watched.shape)
        return V @ gram + weighted @ Y

    residual = (1 + CONFIDENCE) * (watched @ Y) - times(X)
    direction, size = residual.copy(), np.einsum("ij,ij->i", residual, residual)
    for _ in range(steps):
        A_direction = times(direction)
        step = size / np.maximum(np.einsum("ij,ij->i", direction, A_direction), 1e-20)
        X = X + step[:, None] * direction
        residual -= step[:, None] * A_direction
        before, size = size, np.einsum("ij,ij->i", residual, residual)
        direction = residual + (size / np.maximum(before, 1e-20))[:, None] * direction
    return X


class Als:
    """Factors of users and titles; a user's come from what is known of them, at most their history for test users."""

    def __init__(self, known: Knowledge):
        watched, (U, T) = known.watched, known.watched.shape
        by_title = watched.T.tocsr()
        rng = generator(known.seed, Stream.RIVAL_FACTORS)
        X, Y = np.zeros((U, FACTORS), np.float32), rng.normal(0, 0.01, (T, FACTORS)).astype(np.float32)
        for _ in range(ROUNDS):
            X = solve(X, Y, watched)
            Y = solve(Y, X, by_title)
        self.X, self.Y = solve(X, Y, watched), Y

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Scores (n, T) float32 of users (n,)."""
        return self.X[users] @ self.Y.T

    def meet(self, history: sp.csr_array | None, territory: np.ndarray) -> None:
        """See ``Rival``."""
        if history is not None:
            self.X = solve(np.zeros((history.shape[0], FACTORS), np.float32), self.Y, history, ROUNDS)

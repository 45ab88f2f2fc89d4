"""EASE: a title is predicted from the other titles of the user's history, by ridge regression (Steck 2019)."""

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lapack
from threadpoolctl import threadpool_limits

from twotower.data.memory.knowledge import Knowledge
from twotower.data.memory.neighbours import NEIGHBOURS, largest_of_rows, profile_scores
from twotower.data.memory.together import Together, count_together

MOST_TITLES = 10_000  # that a matrix of this width is inverted for: the most watched ones, and the others have weight 0
THREADED = 2_000  # titles: a smaller matrix is inverted before other threads have woken up
DECAY = 100.0  # added to the diagonal of the Gram matrix


class Ease:
    """The user's history times EASE's weights."""

    def __init__(self, known: Knowledge):
        self.history, T = known.history, known.history.shape[1]
        if T <= MOST_TITLES:
            self.weights = strongest(ease_weights(known.together().users))
            return
        titles = np.sort(np.argsort(-known.watched.sum(0), kind="stable")[:MOST_TITLES]).astype(np.int32)
        counts = count_together(sp.csr_array(known.watched[:, titles]).sorted_indices())
        B = strongest(ease_weights(Together.of(counts).users)).tocoo()
        self.weights = sp.csr_array((B.data, (titles[B.row], titles[B.col])), shape=(T, T))

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Scores (n, T) float32 of users (n,)."""
        return profile_scores(self.history[users], self.weights)

    def meet(self, history: sp.csr_array | None, territory: np.ndarray) -> None:
        """See ``Rival``."""
        if history is not None:
            self.history = history


def strongest(B: np.ndarray) -> sp.csr_array:
    """The ``NEIGHBOURS`` strongest weights for each title that is predicted."""
    return largest_of_rows(B.T, NEIGHBOURS).T.tocsr()


def ease_weights(users: np.ndarray, decay: float = DECAY) -> np.ndarray:
    """B (T, T) float32 with a zero diagonal, in closed form: I − P / diag(P) with P = (XᵀX + decay·I)⁻¹.

    ``users`` (T, T) float32 watched both titles: XᵀX.
    """
    gram = users.copy()
    gram[np.diag_indices_from(gram)] += decay
    P = inverse(gram)
    B = P / -np.diag(P)
    np.fill_diagonal(B, 0)
    return B


def inverse(A: np.ndarray) -> np.ndarray:
    """Inverse of a symmetric positive definite matrix (T, T) float32, by Cholesky: half the work of the general one."""
    with threadpool_limits(1 if len(A) < THREADED else None, "blas"):
        upper, failed = lapack.spotrf(A)
        P, wrong = lapack.spotri(upper)
    if failed or wrong:
        raise ValueError(f"matrix {A.shape} is not positive definite")
    return np.triu(P) + np.triu(P, 1).T

"""Titles that go together: item-based nearest neighbours, and their best linear form (EASE).

Both score a title for a user by what the user watched before: x K, with x (T,) the history and K (T, T) between titles.
Of every title only the strongest ``NEIGHBOURS`` are kept, so that K is sparse.
"""

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lapack

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
    """The ``most`` values of each row with the largest magnitude."""
    matrix.eliminate_zeros()
    for row in np.flatnonzero(np.diff(matrix.indptr) > most):
        values = matrix.data[matrix.indptr[row] : matrix.indptr[row + 1]]
        size = np.abs(values)
        values[size < np.partition(size, -most)[-most]] = 0
    matrix.eliminate_zeros()
    return matrix


def ease_neighbours(watched: sp.csr_array, most: int = NEIGHBOURS, decay: float = DECAY) -> sp.csr_array:
    """B (T, T) float32 that predicts each title from the others, the ``most`` strongest of each (Steck 2019, EASE).

    Ridge regression in closed form: B = I − P / diag(P) with P = (XᵀX + decay·I)⁻¹. Beyond the ``MOST_TITLES`` titles
    with most viewers B is 0.
    """
    T = watched.shape[1]
    titles = np.sort(np.argsort(-watched.sum(0), kind="stable")[:MOST_TITLES])
    B = sp.csr_array(ease_weights(watched[:, titles], decay))
    B = keep_largest(sp.csr_array(B.T), most).T.tocoo()  # of each column: the title that is predicted
    return sp.csr_array((B.data, (titles[B.row], titles[B.col])), shape=(T, T))


def ease_weights(watched: sp.csr_array, decay: float = DECAY) -> np.ndarray:
    """All of B (T, T) float32, with a zero diagonal."""
    gram = (watched.T @ watched).toarray()
    gram[np.diag_indices_from(gram)] += decay
    P = inverse(gram)
    B = P / -np.diag(P)
    np.fill_diagonal(B, 0)
    return B


def profile_cosines(history: sp.csr_array, cosines: sp.csr_array) -> np.ndarray:
    """Σ of cosines between each title and the histories (n, T), over the root of their lengths: (n, T) float32."""
    length = np.sqrt(np.maximum(history.sum(1), 1)).astype(np.float32)
    return (history @ cosines).toarray() / length[:, None]


def inverse(A: np.ndarray) -> np.ndarray:
    """Inverse of a symmetric positive definite matrix (T, T) float32, by Cholesky: half the work of the general one."""
    upper, failed = lapack.spotrf(A)
    P, wrong = lapack.spotri(upper)
    if failed or wrong:
        raise ValueError(f"matrix {A.shape} is not positive definite")
    return np.triu(P) + np.triu(P, 1).T

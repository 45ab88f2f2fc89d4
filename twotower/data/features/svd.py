"""Weights and the truncated SVD: a sparse matrix of counts → short dense vectors of its rows and columns."""

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.linalg import svds
from threadpoolctl import threadpool_limits

from twotower.core.random_streams import Stream, generator

GRAM_LIMIT = 2048  # up to this shorter side AᵀA is decomposed directly: faster there than Lanczos, and exact
BLOCK_ROWS = 65_536  # vectors made at a time in float64
RANK_TOLERANCE = 1e-6  # singular values below this share of the largest are rounding noise


@dataclass(frozen=True)
class Factors:
    """The k largest terms of A = U diag(s) Vᵀ, the largest first. A is (n, m); U = A V diag(1 / s) is not kept."""

    s: np.ndarray  # (k,), falling, above 0
    V: np.ndarray  # (m, k), orthonormal columns

    def rows(self, A: sparse.csr_matrix, power: float = 1.0) -> np.ndarray:
        """U diag(s^power), a vector for each row of A: (n, k) float32. Zero where the row is."""
        rows = np.empty((A.shape[0], len(self.s)), np.float32)
        for start in range(0, len(rows), BLOCK_ROWS):
            rows[start : start + BLOCK_ROWS] = A[start : start + BLOCK_ROWS] @ (self.V * self.s ** (power - 1.0))
        return rows

    def columns(self, power: float = 1.0) -> np.ndarray:
        """V diag(s^power), a vector for each column of A: (m, k) float32. Zero where the column is."""
        return (self.V * self.s**power).astype(np.float32)


def effective_rows(columns: np.ndarray) -> np.ndarray:
    """Rows that each column of (n, F) is about: its participation ratio (Σ u²)² / Σ u⁴, (F,)."""
    total, of_squares = np.zeros((2, columns.shape[1]))
    for start in range(0, len(columns), BLOCK_ROWS):
        squares = np.square(columns[start : start + BLOCK_ROWS], dtype=np.float64)
        total += squares.sum(axis=0)
        of_squares += np.square(squares).sum(axis=0)
    return total**2 / np.maximum(of_squares, 1e-300)


def count_matrix(
    row: np.ndarray | list[int], column: np.ndarray | list[int], shape: tuple[int, int]
) -> sparse.csr_matrix:
    """How often each pair of row and column occurs, as (n, m) counts with one entry a pair."""
    counts = sparse.csr_matrix((np.ones(len(row)), (row, column)), shape=shape)
    counts.sum_duplicates()  # SciPy 1.13 leaves this to be asked for
    return counts


def inverse_document_frequency(counts: sparse.csr_matrix) -> np.ndarray:
    """1 + ln((1 + n) / (1 + df)) of each column of counts (n, m): (m,). df is the number of rows that have it."""
    n, m = counts.shape
    df = np.bincount(counts.indices, minlength=m)
    return 1.0 + np.log((1.0 + n) / (1.0 + df))


def tf_idf(counts: sparse.csr_matrix, idf: np.ndarray | None = None) -> sparse.csr_matrix:
    """Weigh counts (n, m) by (1 + ln count)·idf, then scale each row to length 1.

    A word in every text says little about any. ``idf`` (m,) is that of the counts themselves unless given. Rows without
    counts stay zero. Source: scikit-learn's ``TfidfTransformer(sublinear_tf=True)``.
    """
    idf = inverse_document_frequency(counts) if idf is None else idf
    weights = (1.0 + np.log(counts.data)) * idf[counts.indices]  # (nnz,)
    row = row_of_entry(counts)
    return with_data(counts, weights / np.sqrt(np.bincount(row, weights**2, minlength=counts.shape[0]))[row])


def row_of_entry(A: sparse.csr_matrix) -> np.ndarray:
    """(nnz,) the row that each stored entry stands in."""
    return np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))


def with_data(A: sparse.csr_matrix, data: np.ndarray) -> sparse.csr_matrix:
    """A matrix with the places of A and other values (nnz,)."""
    return sparse.csr_matrix((data, A.indices, A.indptr), shape=A.shape)


def truncated_svd(A: sparse.csr_matrix, dims: int) -> Factors:
    """The ``dims`` largest terms of the SVD of A (n, m), or as many as its rank allows.

    The same matrix gives the same bytes: Lanczos starts from a fixed vector, and as the sign of a singular
    vector is arbitrary, the largest entry of each column of V is made positive.
    """
    if A.nnz == 0 or dims == 0:
        return Factors(np.zeros(0), np.zeros((A.shape[1], 0)))
    # One thread: the bytes then do not depend on how many there are, and Lanczos' many small products are faster.
    with threadpool_limits(1, user_api="blas"):
        if A.shape[0] >= A.shape[1]:
            s, V = _right_vectors(A, dims)
        else:
            s, U = _right_vectors(A.T.tocsr(), dims)
            V = (A.T @ U) / s
    V[np.bincount(A.indices, minlength=len(V)) == 0] = 0.0  # exactly, where rounding leaves 1e-17
    largest = np.take_along_axis(V, np.abs(V).argmax(axis=0)[np.newaxis], axis=0)  # (1, k)
    return Factors(s, V * np.sign(largest))


def _right_vectors(A: sparse.csr_matrix, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """s (k,) and V (m, k) of A (n, m), n ≥ m: from the eigenvectors of AᵀA, or by Lanczos where m is large."""
    m = A.shape[1]
    k = min(dims, m)
    if m <= GRAM_LIMIT:
        eigenvalues, V = linalg.eigh((A.T @ A).toarray(), subset_by_index=[m - k, m - 1])
        s = np.sqrt(np.maximum(eigenvalues, 0.0))
    else:
        start = generator(0, Stream.SVD_START).standard_normal(m)
        _, s, Vt = svds(A, k=min(k, m - 1), v0=start, return_singular_vectors="vh")
        V = Vt.T
    order = np.argsort(-s, kind="stable")
    order = order[s[order] > RANK_TOLERANCE * s.max()]
    return s[order], V[:, order]

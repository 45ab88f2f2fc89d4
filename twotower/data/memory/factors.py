"""Titles as factors: what a history and a title share with the main tastes of all users.

    n users · T titles · R = 72 factors

The cosines S (T, T) between the viewers of titles, with ones on the diagonal, have eigenvectors V. Those of the largest
eigenvalues hold what many users share, and leave out the chance of single pairs of titles: a history x (T,) speaks for
x D^-½ V Vᵀ D^½, where D counts the viewers of each title. That is PureSVD (Cremonesi et al. 2010) with titles scaled by
their viewers, as in EigenRec (Nikolakopoulos et al. 2019) and the low-pass filter of GF-CF (Shen et al. 2021).
The first 8, the first 24 and all are a term each: few tell tastes apart, many tell titles apart.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.linalg import eigh
from scipy.sparse.linalg import LinearOperator, eigsh
from threadpoolctl import threadpool_limits

from twotower.core.jit import njit
from twotower.core.random_streams import Stream, generator

SCALES = (8, 24, 72)  # leading factors that make a term
FACTORS = SCALES[-1]
TITLES_PER_FACTOR = 4  # at least: as many factors as titles would know each history by heart, and nothing else
WHOLE = 512  # titles up to which all eigenvectors are found at once: from there on Lanczos is faster
TOLERANCE = 1e-5  # of Lanczos' eigenvalues, relative
SMALLEST = 1e-6  # eigenvalues below this share of the largest are rounding noise


class Factors(NamedTuple):
    """The factors of titles, 0 beyond the rank."""

    watched: np.ndarray  # (T, R) float32 V D^-½: what a title of a history adds to its user's profile
    scored: np.ndarray  # (T, R) float32 V D^½: a title goes with a profile by their product

    @classmethod
    def of(cls, cosine: np.ndarray | sp.csr_array, viewers: np.ndarray) -> "Factors":
        """Factors of titles with so many viewers (T,), by the cosines (T, T) of every two titles, 0 on the diagonal."""
        V, root = leading_eigenvectors(cosine, viewers > 0), np.sqrt(np.maximum(viewers, 1))[:, None]
        return cls((V / root).astype(np.float32), (V * root).astype(np.float32))

    def read_only(self) -> "Factors":
        """Views of the same: kernels see one type, whether the arrays are kept, of a file, or made."""
        views = [part.view() for part in self]
        for view in views:
            view.flags.writeable = False
        return Factors(*views)

    def take(self, title: np.ndarray) -> "Factors":
        """Those of titles (T',), 0 for the title −1 and for all titles beyond these."""
        known = ((title >= 0) & (title < len(self.watched)))[:, None]
        row = np.where(known[:, 0], title, 0)
        return Factors(*(np.where(known, part[row], np.float32(0)) for part in self))

    def profiles(self, start: np.ndarray, title: np.ndarray) -> np.ndarray:
        """Profiles (n, R) float32 of users who watched title[start[r]:start[r + 1]], over the root of their number."""
        found = np.zeros((len(start) - 1, self.watched.shape[1]), np.float32)
        add_profiles_of_factors(found, start, title, self.watched)
        found /= np.sqrt(np.maximum(np.diff(start), 1)).astype(np.float32)[:, None]
        return found


def leading_eigenvectors(cosine: np.ndarray | sp.csr_array, watched: np.ndarray) -> np.ndarray:
    """V (T, R) of the cosines (T, T) plus the diagonal ``watched`` (T,), largest eigenvalue first.

    One thread: the bytes then do not depend on how many there are.
    """
    T = len(watched)
    found = np.zeros((T, FACTORS))
    k = max(1, min(FACTORS, T // TITLES_PER_FACTOR))
    with threadpool_limits(1, "blas"):
        if T <= WHOLE:
            dense = (cosine.toarray() if isinstance(cosine, sp.csr_array) else cosine) + np.diag(watched)
            value, V = eigh(dense.astype(np.float64), subset_by_index=[T - k, T - 1])
        else:
            def product(v: np.ndarray) -> np.ndarray:
                return (cosine @ v.ravel().astype(np.float32)).astype(np.float64) + watched * v.ravel()

            start = generator(0, Stream.FACTORS_START).standard_normal(T)
            S = LinearOperator((T, T), product, dtype=np.float64)
            value, V = eigsh(S, k, v0=start, tol=TOLERANCE)
    order = np.argsort(-value, kind="stable")
    order = order[value[order] > SMALLEST * value.max(initial=0)]
    found[:, : len(order)] = V[:, order]
    found[~watched] = 0
    return found


@njit(cache=True, nogil=True)
def add_profiles_of_factors(profile: np.ndarray, start: np.ndarray, title: np.ndarray, watched: np.ndarray) -> None:
    """Add to profiles (n, R) the factors (T, R) of each user's titles, title[start[r]:start[r + 1]]."""
    for r in range(len(profile)):
        for t in title[start[r] : start[r + 1]]:
            for d in range(profile.shape[1]):
                profile[r, d] += watched[t, d]

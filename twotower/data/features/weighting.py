"""How a count of the watch history becomes an entry of the matrix that is factorised.

    w = 1 + ln count · d_u, d_t sums of w over a user's and a title's entries · d̄ their means

    none    w
    idf     w·idf(t), each user's row scaled to length 1
    bm25    w·(k₁ + 1) / (w + k₁·(1 − b + b·d_u/d̄)) · idf(t)                  Robertson & Zaragoza 2009
    degree  w / √((d_u + τ·d̄)·(d_t + τ·d̄)), τ = 0                            Dhillon 2001
    regularised  the same with τ = 1: no column is spent on a handful of users   Chaudhuri, Chung & Tsiatas 2012

Unweighted, the first columns are spent on what is popular. Which weighting helps depends on the log (see ``choosing``).
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from twotower.data.features.svd import inverse_document_frequency, row_of_entry, with_data

WEIGHTINGS = ("degree", "regularised", "bm25", "idf", "none")
BM25_K1, BM25_B = 1.2, 0.75


@dataclass(frozen=True)
class Weighting:
    """A weighting, with what it knows of the history that it was fitted to: another dataset is weighed alike."""

    name: str  # one of WEIGHTINGS
    titles: np.ndarray  # (T,) float64 sum of each title's column, or its idf
    user_sum: float  # mean sum of a user's row
    title_sum: float  # mean sum of a title's column

    @classmethod
    def of(cls, name: str, counts: sparse.csr_matrix) -> "Weighting":
        """Fitted to counts (U, T)."""
        w = 1.0 + np.log(counts.data)
        rows = np.bincount(row_of_entry(counts), w, minlength=counts.shape[0])
        columns = np.bincount(counts.indices, w, minlength=counts.shape[1])
        titles = inverse_document_frequency(counts) if name in ("idf", "bm25") else columns
        return cls(name, np.where(columns > 0, titles, 0.0), *(float(sums[sums > 0].mean()) if sums.any() else 1.0
                                                              for sums in (rows, columns)))  # fmt: skip

    def facts(self) -> dict[str, str | float]:
        """All but the titles, for JSON."""
        return {"name": self.name, "user_sum": self.user_sum, "title_sum": self.title_sum}

    def weigh(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        """(U, T) the weighted counts, of titles that the history had."""
        w = 1.0 + np.log(counts.data)  # (nnz,)
        row, of_title = row_of_entry(counts), self.titles[counts.indices]
        users = np.bincount(row, w, minlength=counts.shape[0])
        if self.name in ("degree", "regularised"):
            tau = float(self.name == "regularised")
            w /= np.sqrt((users[row] + tau * self.user_sum) * (of_title + tau * self.title_sum))
        elif self.name == "bm25":
            length = 1.0 - BM25_B + BM25_B * users[row] / self.user_sum
            w = w * (BM25_K1 + 1.0) / (w + BM25_K1 * length) * of_title
        elif self.name == "idf":
            w *= of_title
            w /= np.sqrt(np.bincount(row, w**2, minlength=counts.shape[0]))[row]
        return with_data(counts, w)

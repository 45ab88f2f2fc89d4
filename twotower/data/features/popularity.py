"""Popularity as columns of its own: an SVD of weighted histories loses it."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from twotower.core.storage import rows_of
from twotower.data.dataset import Dataset
from twotower.data.features.svd import count_matrix

TERRITORIES = 32  # with columns of their own, at most: those with most users
PSEUDO_USERS = 20.0  # that a territory's share borrows from the world's


def history_counts(dataset: Dataset) -> sparse.csr_matrix:
    """(U, T) how often each user watched each title before day 0."""
    user, title = dataset.history()
    return count_matrix(user, title, (dataset.n_users, dataset.n_titles))


def length_of_history(counts: sparse.csr_matrix) -> np.ndarray:
    """Log of the number of titles that each user watched: (U, 1), from counts (U, T)."""
    return np.log1p(np.diff(counts.indptr))[:, None]


def largest_territories(dataset: Dataset) -> list[str]:
    """Codes of the territories that have columns."""
    users = np.bincount(np.asarray(dataset.user_territory), minlength=dataset.n_territories)
    return [dataset.territories.code[c] for c in np.argsort(-users, kind="stable")[:TERRITORIES] if users[c]]


def log_shares(dataset: Dataset, counts: sparse.csr_matrix, codes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Log share of viewers of each title: everywhere (T, 1), and in territories over that (T, len(codes)).

    A territory's share is drawn to the world's; one that the dataset does not have is like the world.
    """
    territory = np.asarray(dataset.user_territory)
    row = rows_of(codes, dataset.territories.code)
    watched = sparse.csr_matrix((np.ones(counts.nnz), counts.indices, counts.indptr), shape=counts.shape)
    lives = sparse.csr_matrix((np.ones(len(territory)), (territory, np.arange(len(territory)))),
                              shape=(dataset.n_territories, len(territory)))  # fmt: skip
    viewers, users = (lives @ watched).toarray(), np.bincount(territory, minlength=dataset.n_territories)
    world = (viewers.sum(axis=0) + 0.5) / (len(territory) + 1)  # (T,)
    there = (viewers + PSEUDO_USERS * world) / (users[:, None] + PSEUDO_USERS)
    over_world = np.log(there[row] / world) * (row >= 0)[:, None]
    return np.log(world)[:, None], over_world.T

"""The textbook beside the loss: expanded batches, and sums over the pairs of unique rows."""

from typing import Any, NamedTuple

import numpy as np

from twotower.model.batch import Batch


class ExpandedBatch(NamedTuple):
    """A batch with one row a pair, as a framework would see it."""

    user_features: np.ndarray  # (B, F_u)
    title_features: np.ndarray  # (B, F_t)
    group: np.ndarray  # (B,) the group of the pair's territory
    labels: np.ndarray  # (B,) 0 or 1
    territory: np.ndarray  # (B,) the pair's territory; (0,) where the batch knows of none
    memory: Any = None  # (B, F) memory terms of the pair, for models with memory


def expand(batch: Batch, dtype: type = np.float64) -> ExpandedBatch:
    """One row a pair from a batch of unique rows."""
    group = np.repeat(np.arange(len(batch.segments) - 1), np.diff(batch.segments))
    return ExpandedBatch(
        batch.user_features[batch.pair_user].astype(dtype),
        batch.title_features[batch.pair_title].astype(dtype),
        group[batch.pair_user],
        batch.labels.astype(dtype),
        batch.user_territory[batch.pair_user] if len(batch.user_territory) else batch.user_territory,
        batch.memory.astype(dtype) if hasattr(batch, "memory") else None,
    )


def pair_dots(U, V, pair_start, pair_title):
    """Dot product of each pair: pairs pair_start[r]:pair_start[r+1] belong to user row r."""
    users = np.repeat(np.arange(len(U)), np.diff(pair_start))
    titles = pair_title[pair_start[0] : pair_start[-1]]
    return (U[users] * V[titles]).sum(1)  # (pairs,)


def user_gradient(ddots, V, pair_start, pair_title):
    """Gradient of ``pair_dots`` for U, given the gradient of each dot product."""
    # forward: dot_i = <U_u, V_t>   so: dU_u = Σ over the pairs of u of ddot_i · V_t
    dU = np.zeros((len(pair_start) - 1, V.shape[1]), V.dtype)
    users = np.repeat(np.arange(len(dU)), np.diff(pair_start))
    span = slice(pair_start[0], pair_start[-1])
    np.add.at(dU, users, ddots[:, None] * V[pair_title[span]])
    return dU  # (R, D)


def title_gradient(ddots, U, pair_user, pair_title, columns):
    """Gradient of ``pair_dots`` for V, in the columns from ``columns[0]`` to ``columns[1]``."""
    span = slice(*columns)
    dV = np.zeros((pair_title.max() + 1, U[:, span].shape[1]), U.dtype)
    np.add.at(dV, pair_title, ddots[:, None] * U[pair_user, span])
    return dV  # (T, columns)


def sum_parts(G, parts, first):
    """Some numbers of a gradient and its parts (n, size), from column ``first`` on, added one after the other."""
    for part in parts:
        G = G + part[first : first + len(G)]
    return G  # (size,)

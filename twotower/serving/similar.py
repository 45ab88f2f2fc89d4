"""Nearest neighbours among users or titles, by the cosine of their embeddings, and lists with less of the same."""

from typing import NamedTuple

import numpy as np

from twotower.core.checks import check_count, check_rows, check_shape
from twotower.data.dataset import Dataset
from twotower.model.engine.topk import NO_TITLE
from twotower.model.retrieval import Retrieval, Users
from twotower.model.two_tower import TwoTower
from twotower.training.predict import user_groups


class Neighbours(NamedTuple):
    """The k nearest of n rows, nearest first, without themselves."""

    row: np.ndarray  # (n, k) int64
    cosine: np.ndarray  # (n, k) float32


def embed_titles(model: TwoTower, dataset: Dataset) -> np.ndarray:
    """V of each title, (T, D) float32, of length 1."""
    return _of_length_one(Retrieval(model, dataset.title_vectors).V)


def embed_users(model: TwoTower, dataset: Dataset, territory_group: np.ndarray) -> np.ndarray:
    """U of each user through the head of the own group, (U, D) float32, of length 1."""
    group = user_groups(dataset, territory_group, model.config.groups)
    users = Users(dataset.user_vectors, np.arange(dataset.n_users), group, np.asarray(dataset.head_territory))
    U = np.empty((dataset.n_users, model.config.hidden), np.float32)
    Retrieval(model, dataset.title_vectors).embed_users(U, users)
    return _of_length_one(U)


def nearest(embeddings: np.ndarray, rows: np.ndarray, k: int) -> Neighbours:
    """The ``k`` rows of embeddings (N, D) of length 1 nearest to each of ``rows`` (n,); ties go to the lower row.

    Raises ValueError for k below 1 or another shape, IndexError for rows that do not exist.
    """
    check_count("k", k)
    check_shape("rows", rows, (None,))
    check_rows("rows", rows, len(embeddings))
    cosine = embeddings[rows] @ embeddings.T
    cosine[np.arange(len(rows)), rows] = -np.inf
    row = np.argsort(-cosine, axis=1, kind="stable")[:, : min(k, len(embeddings) - 1)]
    return Neighbours(row, np.take_along_axis(cosine, row, axis=1))


def diversified(title: np.ndarray, score: np.ndarray, V: np.ndarray, k: int, weight: float) -> np.ndarray:
    """The places (n, k) of titles chosen one by one from candidates (n, m): maximal marginal relevance.

    Each time the one with the largest (1 − weight) · probability − weight · cosine to the nearest title that is chosen
    already (Carbonell & Goldstein 1998). V (T, D) of length 1. Missing candidates are ``NO_TITLE``, and come last.

    Raises ValueError for a weight outside [0, 1].
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"diversify {weight}: expected a number from 0 to 1")
    n, m = title.shape
    relevance = 1 / (1 + np.exp(-score.astype(np.float64)))
    missing, everybody = title == NO_TITLE, np.arange(n)
    nearness, chosen = np.zeros((n, m)), np.empty((n, min(k, m)), np.int64)
    taken = np.zeros((n, m), bool)
    for place in range(chosen.shape[1]):
        worth = (1 - weight) * relevance - weight * nearness - 10.0 * missing
        chosen[:, place] = best = np.where(taken, -np.inf, worth).argmax(axis=1)
        taken[everybody, best] = True
        cosine = np.einsum("nmd,nd->nm", V[title], V[title[everybody, best]])
        nearness = np.maximum(nearness, cosine) if place else cosine
    return chosen


def _of_length_one(X: np.ndarray) -> np.ndarray:
    return X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), np.finfo(np.float32).tiny)

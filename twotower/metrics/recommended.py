"""The titles recommended to each user, and how well they match what the user then watched.

    recall@k    titles among the k that the user watched / all that the user watched
    nDCG@k      Σ 1 / log2(1 + rank) over those found, over the same sum if all that were watched came first
    MAP@k       Σ precision at the rank of each one found / all that the user watched
    hit rate@k  1 if any of the k was watched

All are those of trec_eval with labels of 0 and 1 (recall_k, ndcg_cut_k, map_cut_k, success_k): nDCG after Järvelin &
Kekäläinen 2002. A user who watched nothing has none of them. Names: n users, T titles, k titles for each user.
"""

from collections.abc import Iterator

import numpy as np

from twotower.core.errors import InputError
from twotower.metrics.averages import ratio
from twotower.metrics.checks import check_key

RANKING_METRICS = {"recall": "Recall", "ndcg": "nDCG", "map": "MAP", "hit_rate": "Hit rate"}
TOP = 10  # k, titles for each user
BLOCK = 1 << 22  # scores that are worked on together: 16 MiB
NOBODY = -1  # stands where a user has fewer than k allowed titles


def top_titles(scores: np.ndarray, allowed: np.ndarray, k: int = TOP) -> np.ndarray:
    """The k allowed titles with the highest scores (n, T) of each user, best first: (n, min(k, T)) int32.

    Exact; of equal scores the lower title comes first. NOBODY where a user has fewer; −inf is never among them.

    Errors: InputError when shapes differ, a score is NaN or k is negative.
    """
    scores, allowed = np.asarray(scores), np.asarray(allowed)
    n, T = check_scores(scores, allowed)
    if k < 0:
        raise InputError(f"k = {k}, expected at least 0")
    k = min(k, T)
    top = np.full((n, k), NOBODY, np.int32)
    if not k:
        return top
    for rows in blocks(n, T):
        z = np.where(allowed[rows], scores[rows], np.float32(-np.inf))
        if np.isnan(z).any():
            raise InputError(f"scores: NaN for user {rows.start + int(np.isnan(z).any(axis=1).argmax())}")
        worst = np.partition(z, T - k, axis=1)[:, T - k : T - k + 1]  # the k-th best
        user, title = np.nonzero((z >= worst) & (z > -np.inf))  # with all that tie with it, titles ascending
        order = np.lexsort((-z[user, title], user))  # stable: ties stay in the order of titles
        user, title = user[order], title[order]
        rank = np.arange(len(user)) - np.searchsorted(user, user)
        kept = rank < k
        top[rows.start + user[kept], rank[kept]] = title[kept]
    return top


def ranking_metrics(top: np.ndarray, user: np.ndarray, title: np.ndarray) -> np.ndarray:
    """``RANKING_METRICS`` of each user (4, n) float64; NaN for a user who watched nothing.

    ``top`` (n, k) integer are the recommended titles, best first, negative where there are fewer; ``user`` (P,) and
    ``title`` (P,) are what was watched, a pair that occurs twice counts once, users as rows of ``top``.

    Errors: InputError for a user who is no row of ``top``, a negative title, and columns of different length.
    """
    n, k = np.shape(top)
    user = check_key(user, n, len(title), "users").astype(np.int64)
    n_titles = 1 + int(max(np.max(top, initial=0), np.max(title, initial=0)))
    pairs = np.unique(user * n_titles + check_key(title, n_titles, len(user), "titles"))
    watched = np.bincount(pairs // n_titles, minlength=n)
    hit = (top >= 0) & np.isin(np.arange(n)[:, None] * n_titles + top, pairs)  # (n, k)
    discount = 1 / np.log2(2 + np.arange(k))
    ideal = np.append(0, np.cumsum(discount))[np.minimum(watched, k)]
    precision = np.cumsum(hit, axis=1) / np.arange(1, k + 1)
    parts = hit.sum(axis=1), hit @ discount, (hit * precision).sum(axis=1), hit.any(axis=1)
    wholes = watched, ideal, watched, watched > 0
    return np.stack([ratio(part, whole) for part, whole in zip(parts, wholes, strict=True)])


def count_places(top: np.ndarray, user_territory: np.ndarray, C: int, T: int) -> np.ndarray:
    """How often each title is among the top of a territory's users, (C, T) int64."""
    user, rank = np.nonzero(top != NOBODY)
    key = user_territory[user].astype(np.int64) * T + top[user, rank]
    return np.bincount(key, minlength=C * T).reshape(C, T)


def blocks(n: int, T: int) -> Iterator[slice]:
    """Rows of a (n, T) array, BLOCK values at a time."""
    step = max(1, BLOCK // max(1, T))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def check_scores(scores: np.ndarray, allowed: np.ndarray) -> tuple[int, int]:
    """The shape (n, T). Errors: InputError when the two differ."""
    if scores.ndim != 2 or scores.shape != allowed.shape or allowed.dtype != bool:
        shapes = f"scores {scores.shape}, allowed {allowed.dtype} {allowed.shape}"
        raise InputError(f"{shapes}: expected users × titles, and bool")
    n, T = scores.shape
    return n, T

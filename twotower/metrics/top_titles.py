"""The titles recommended to each user: exact, and with one answer where scores are equal."""

from collections.abc import Iterator

import numpy as np

from twotower.core.errors import InputError

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

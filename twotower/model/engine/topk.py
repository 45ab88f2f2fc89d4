"""Top-k titles per user, updated one block of titles at a time.

    n rows of logits, one per user · w titles of a block · k titles kept per user

A logit above the worst one kept takes its place, while the block is in cache. Titles that must not be recommended cost
next to nothing: they have a logit of −inf, or are found among a user's seen titles once they would be kept.
"""

import numpy as np

from twotower.core.jit import njit

LOOK = 64  # logits that are compared with the worst kept one together; LLVM makes vectors of 64, none of 32
NO_TITLE = -1  # where a user has fewer than k titles to recommend


@njit(cache=True, nogil=True)
def update_top_k(titles, scores, users, z, first, seen_start, seen):
    """Merge logits z (n, w) of the titles from ``first`` into the top k so far of ``users``: (N, k) each, in order.

    Titles come in ascending order and an equal one does not displace, so that ties go to the lower title. Almost all
    logits are below the worst one kept: LOOK of them together are dismissed by one branch.
    """
    width = z.shape[1]
    whole = width - width % LOOK
    for r in range(z.shape[0]):
        row, best, best_scores = z[r], titles[users[r]], scores[users[r]]
        own_seen = seen[seen_start[users[r]] : seen_start[users[r] + 1]]
        worst = best_scores[-1]
        for start in range(0, whole, LOOK):
            few = row[start : start + LOOK]
            better = np.uint8(0)
            for x in range(LOOK):  # without a branch, and long enough to become vectors
                better |= np.uint8(few[x] > worst)
            if better:
                for x in range(LOOK):
                    title = first + start + x
                    if few[x] > worst and not _contains(own_seen, title):
                        worst = _insert(best, best_scores, title, few[x])
        for j in range(whole, width):
            if row[j] > worst and not _contains(own_seen, first + j):
                worst = _insert(best, best_scores, first + j, row[j])


@njit(cache=True, nogil=True)
def _insert(titles, scores, title, z):
    """Insert a title in order among one user's top k, (k,) each, and drop the last; returns the new worst score."""
    at = len(scores) - 1
    while at > 0 and z > scores[at - 1]:
        scores[at], titles[at] = scores[at - 1], titles[at - 1]
        at -= 1
    scores[at], titles[at] = z, title
    return scores[-1]


@njit(cache=True, nogil=True)
def _contains(ascending, value):
    """Whether a sorted array contains a value; asked only for titles that would be kept."""
    low, high = 0, len(ascending)
    while low < high:
        middle = (low + high) // 2
        if ascending[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low < len(ascending) and ascending[low] == value

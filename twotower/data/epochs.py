"""One epoch: which pairs make up which batch, and a thread that prepares the next one."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import numpy as np

from twotower.core.jit import njit

BATCH_MODES = ("pairs", "positives", "users")
SMALLEST_LAST_BATCH = 4  # a last batch of fewer than batch_size / 4 pairs is merged into the one before it

Item = TypeVar("Item")


class LabelledPairs(Protocol):
    """What an epoch is made of: three arrays of equal length n."""

    @property
    def user(self) -> np.ndarray: ...  # (n,) integer: row of the user table

    @property
    def title(self) -> np.ndarray: ...  # (n,) integer: row of the title table

    @property
    def label(self) -> np.ndarray: ...  # (n,) 0 or 1


def epoch_batches(
    pairs: LabelledPairs, batch_size: int, rng: np.random.Generator, mode: str = "pairs"
) -> Iterator[np.ndarray]:
    """The pairs of each batch of one epoch: int64 index arrays that together hold every pair once.

    mode "pairs": shuffled pairs, as in the paper.
    mode "positives": each positive stays with its share of the user's negatives, and these bundles are shuffled. A user
        row then serves 1 + alpha pairs: cheaper steps, fewer different users in each.
    mode "users": all pairs of a user stay together, users are shuffled: the cheapest and least mixed steps.

    Every batch has exactly `batch_size` pairs, so a bundle may be split between two. The last batch has the rest; if
    that is less than batch_size / 4, it is merged into the one before: moments of a handful of rows would be noise.

    Raises ValueError for an unknown mode or a batch size below 1.
    """
    if mode not in BATCH_MODES:
        raise ValueError(f"mode {mode!r} is none of {', '.join(BATCH_MODES)}")
    n_pairs = len(pairs.user)
    if mode == "pairs":
        order = rng.permutation(n_pairs)
    else:
        user = np.ascontiguousarray(pairs.user, np.int64)
        splits = np.asarray(pairs.label) > 0 if mode == "positives" else np.zeros(n_pairs, bool)
        bundle, order = np.empty(n_pairs, np.int64), np.empty(n_pairs, np.int64)
        n_users = int(user.max()) + 1 if n_pairs else 0
        n_bundles = assign_bundles(bundle, user, splits, np.empty((3, n_users), np.int64))
        order_by_bundle(order, bundle, rng.permutation(n_bundles), np.empty(n_bundles, np.int64))
    for start, end in pairwise(batch_bounds(n_pairs, batch_size)):
        yield order[start:end]


def batch_bounds(n_pairs: int, batch_size: int) -> list[int]:
    """Where batches begin and end: multiples of batch_size, n_pairs at last, without a tiny last batch."""
    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size} is not >= 1")
    bounds = [*range(0, n_pairs, batch_size), n_pairs]
    if len(bounds) > 2 and SMALLEST_LAST_BATCH * (n_pairs - bounds[-2]) < batch_size:
        del bounds[-2]
    return bounds


def largest_batch(batch_size: int) -> int:
    """The most pairs that a batch can have, a merged last batch included."""
    return batch_size + max(0, batch_size - 1) // SMALLEST_LAST_BATCH


def prefetch(iterable: Iterable[Item], depth: int = 1) -> Iterator[Item]:
    """The same items, prepared in a background thread, `depth` of them ahead of the one in use.

    The thread starts on an item only when the one `depth + 1` places before it has been given back, so
    producers that rotate `depth + 1` buffers are safe. An exception of the iterable is raised here, in its
    place. When the consumer stops early, the item in preparation is awaited, the iterable is closed and the
    thread ends.
    """
    if depth < 1:
        raise ValueError(f"depth {depth} is not >= 1")
    iterator = iter(iterable)
    end: Any = object()
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        try:
            ahead = deque(thread.submit(next, iterator, end) for _ in range(depth))
            while (item := ahead.popleft().result()) is not end:
                ahead.append(thread.submit(next, iterator, end))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)
            if hasattr(iterator, "close"):
                iterator.close()


@njit(cache=True, nogil=True)
def assign_bundles(bundle, user, positive, of_user):
    """Number the bundles: one per positive, one per user without any; a user's negatives are assigned in turn.

    bundle: (n,) out. user: (n,). positive: (n,) bool. of_user: (3, U) scratch. Returns the number of bundles.
    """
    first, next_positive, next_negative = of_user[0], of_user[1], of_user[2]
    first[:] = -1  # -1: the user has no pair
    next_positive[:] = 0
    next_negative[:] = 0
    for i in range(len(user)):
        first[user[i]] = 0
        next_positive[user[i]] += positive[i]
    n_bundles = 0
    for u in range(len(first)):
        if first[u] == 0:
            first[u] = n_bundles
            n_bundles += max(next_positive[u], 1)
            next_positive[u] = 0
    for i in range(len(user)):
        u = user[i]
        if positive[i]:
            bundle[i] = first[u] + next_positive[u]
            next_positive[u] += 1
    for i in range(len(user)):
        u = user[i]
        if not positive[i]:
            bundle[i] = first[u] + next_negative[u]
            next_negative[u] += 1
            if next_negative[u] >= next_positive[u]:  # now the number of the user's positives
                next_negative[u] = 0
    return n_bundles


@njit(cache=True, nogil=True)
def order_by_bundle(order, bundle, rank, start):
    """Pairs in the order of the rank of their bundle, stably, by counting.

    order: (n,) out. bundle: (n,). rank: (n_bundles,) a permutation. start: (n_bundles,) scratch.
    """
    start[:] = 0
    for i in range(len(bundle)):
        start[rank[bundle[i]]] += 1
    total = 0
    for b in range(len(start)):
        size = start[b]
        start[b] = total
        total += size
    for i in range(len(bundle)):
        b = rank[bundle[i]]
        order[start[b]] = i
        start[b] += 1

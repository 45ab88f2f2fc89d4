"""From pairs to batches: unique rows with their counts, user rows sorted by group, features gathered.

Names: B pairs in a batch, R unique user rows, T unique title rows, K territory groups, F_u and F_t features.

A batch of 8192 pairs holds a few hundred titles and repeats its users. The towers run on unique rows only;
how often each row occurs (`user_counts`, `title_counts`) is what keeps batch-norm exact. `Batcher` finds
the unique rows in O(B) and gathers their features from tables that may be memory-mapped and half precision.
Training takes views of buffers that are allocated once, so that a thread can prepare the next batch:

    batcher = Batcher(dataset.user_vectors, dataset.title_vectors, user_group, n_groups, batch_size=8192)
    for batch in prefetch(batcher.batch_views(pairs, rng, mode="users")):
        step(batch)
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import islice

import numpy as np

from twotower.core.checks import check_count, check_labels, check_rows, check_shape, check_vectors
from twotower.core.jit import njit
from twotower.data.epochs import LabelledPairs, epoch_batches, largest_batch
from twotower.data.gathering import gather_rows


@dataclass(frozen=True)
class PairBatch:
    """B pairs on their unique rows; pairs are sorted by user row, user rows by group.

    `user_features[pair_user]`, `title_features[pair_title]` and `labels` are the batch with nothing shared.
    """

    user_features: np.ndarray  # (R, F_u) float32, C-contiguous
    title_features: np.ndarray  # (T, F_t) float32, C-contiguous
    user_rows: np.ndarray  # (R,) int64    row of the user table; sorted by group, then by first occurrence
    title_rows: np.ndarray  # (T,) int64    row of the title table, by first occurrence
    user_counts: np.ndarray  # (R,) float32  pairs that use the row, at least 1
    title_counts: np.ndarray  # (T,) float32
    segments: np.ndarray  # (K+1,) int64  user rows of group k are segments[k]:segments[k+1]
    pair_start: np.ndarray  # (R+1,) int64  pairs of user row r are pair_start[r]:pair_start[r+1]
    pair_user: np.ndarray  # (B,) int32    position in user_rows, ascending
    pair_title: np.ndarray  # (B,) int32    position in title_rows
    labels: np.ndarray  # (B,) float32  0 or 1
    user_territory: np.ndarray  # (R,) int32    territory of the row; (0,) from a batcher without territories
    order: np.ndarray  # (B,) int64    pair i here was pair order[i] of the input
    memory: np.ndarray  # (B, F) float32  memory terms of the pair; (B, 0) without

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def allocate(
        cls,
        pairs: int,
        users: int,
        titles: int,
        groups: int,
        f_user: int,
        f_title: int,
        territories: bool = False,
        memory_terms: int = 0,
    ) -> "PairBatch":
        """Uninitialised arrays for a batch of up to so many pairs and unique rows."""
        return cls(
            user_features=np.empty((users, f_user), np.float32),
            title_features=np.empty((titles, f_title), np.float32),
            user_rows=np.empty(users, np.int64),
            title_rows=np.empty(titles, np.int64),
            user_counts=np.empty(users, np.float32),
            title_counts=np.empty(titles, np.float32),
            segments=np.empty(groups + 1, np.int64),
            pair_start=np.empty(users + 1, np.int64),
            pair_user=np.empty(pairs, np.int32),
            pair_title=np.empty(pairs, np.int32),
            labels=np.empty(pairs, np.float32),
            user_territory=np.empty(users if territories else 0, np.int32),
            order=np.empty(pairs, np.int64),
            memory=np.empty((pairs, memory_terms), np.float32),
        )

    def copy(self) -> "PairBatch":
        """The same batch in arrays of its own."""
        return PairBatch(*(getattr(self, field.name).copy() for field in fields(self)))

    def first(self, n_pairs: int, n_users: int, n_titles: int) -> "PairBatch":
        """The leading part of every array, as views."""
        return PairBatch(
            user_features=self.user_features[:n_users],
            title_features=self.title_features[:n_titles],
            user_rows=self.user_rows[:n_users],
            title_rows=self.title_rows[:n_titles],
            user_counts=self.user_counts[:n_users],
            title_counts=self.title_counts[:n_titles],
            segments=self.segments,
            pair_start=self.pair_start[: n_users + 1],
            pair_user=self.pair_user[:n_pairs],
            pair_title=self.pair_title[:n_pairs],
            labels=self.labels[:n_pairs],
            user_territory=self.user_territory[:n_users],
            order=self.order[:n_pairs],
            memory=self.memory[:n_pairs],
        )


class Batcher:
    """Makes batches of pairs.

    `batch` returns arrays of its own. `batch_view` and `batch_views` return views of one of `buffers` sets of arrays,
    which the batch after the next `buffers - 1` overwrites: with 2, a thread may prepare a batch while another is in
    use, as `prefetch(..., depth=1)` does. One call at a time: the scratch arrays are shared.

    user_vectors: (U, F_u), title_vectors: (N, F_t), float32 or float16, in memory or memory-mapped.
    user_group: (U,) integer group of each user, 0 <= group < n_groups. Without groups: zeros and n_groups=1.
    user_territory: (U,) integer territory of each user, 0 <= territory < n_territories, for models with territory
    offsets.
    Raises ValueError for a wrong dtype or shape, IndexError for groups and territories out of range.
    """

    def __init__(
        self,
        user_vectors: np.ndarray,
        title_vectors: np.ndarray,
        user_group: np.ndarray,
        n_groups: int,
        batch_size: int,
        buffers: int = 2,
        user_territory: np.ndarray | None = None,
        n_territories: int = 0,
        memory_terms: int = 0,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("buffers", buffers), ("n_groups", n_groups)):
            check_count(name, value)
        self._users = _table("user_vectors", user_vectors)
        self._titles = _table("title_vectors", title_vectors)
        (n_users, f_user), (n_titles, f_title) = self._users.shape, self._titles.shape
        self._group = _assignment("user_group", user_group, n_users, n_groups)
        self._territory = None
        if user_territory is not None:
            check_count("n_territories", n_territories)
            self._territory = _assignment("user_territory", user_territory, n_users, n_territories)
        self.batch_size = batch_size
        self.capacity = largest_batch(batch_size)  # pairs
        users, titles = min(self.capacity, n_users), min(self.capacity, n_titles)
        self._sets = [
            PairBatch.allocate(
                self.capacity, users, titles, n_groups, f_user, f_title, user_territory is not None, memory_terms
            )
            for _ in range(buffers)
        ]
        self._turn = 0
        # Scratch of find_unique_rows; the slots are never cleared, see there.
        self._slots = np.zeros(n_users, np.int32), np.zeros(n_titles, np.int32)
        self._distinct = np.empty(users, np.int64), np.empty(users, np.int32)
        self._at = np.empty((2, self.capacity), np.int32)
        self._next = np.empty(max(users, n_groups), np.int64)

    def batch(
        self, user: np.ndarray, title: np.ndarray, labels: np.ndarray, memory: np.ndarray | None = None
    ) -> PairBatch:
        """The batch of these pairs: (B,) rows of the user table, (B,) rows of the title table, (B,) labels 0 or 1.

        memory: (B, F) float32, the memory terms of the pairs, from a batcher with ``memory_terms`` F.
        Raises ValueError for dtypes, lengths and labels that are wrong, no pairs or more than `capacity`; IndexError
        for rows outside the tables.
        """
        return self.batch_view(user, title, labels, memory).copy()

    def batch_view(
        self, user: np.ndarray, title: np.ndarray, labels: np.ndarray, memory: np.ndarray | None = None
    ) -> PairBatch:
        """The same batch in buffers that are used again, see the class."""
        n_pairs = len(user)
        if not user.shape == title.shape == labels.shape == (n_pairs,):
            raise ValueError(f"user {user.shape}, title {title.shape} and labels {labels.shape} differ")
        if not 1 <= n_pairs <= self.capacity:
            raise ValueError(f"{n_pairs} pairs: expected from 1 to {self.capacity}")
        check_rows("user", user, len(self._users))
        check_rows("title", title, len(self._titles))
        check_labels("labels", labels)
        terms = self._sets[0].memory.shape[1]
        if memory is not None or terms:
            check_shape("memory", np.empty(0) if memory is None else memory, (n_pairs, terms))
        b = self._sets[self._turn]
        self._turn = (self._turn + 1) % len(self._sets)
        n_users, n_titles = find_unique_rows(
            b.user_rows, b.title_rows, b.user_counts, b.title_counts, b.segments, b.pair_start,
            b.pair_user, b.pair_title, b.labels, b.order,
            *self._slots, *self._distinct, self._at, self._next, self._group,
            np.ascontiguousarray(user, np.int64), np.ascontiguousarray(title, np.int32),
            np.ascontiguousarray(labels, np.float32),
        )  # fmt: skip
        batch = b.first(n_pairs, n_users, n_titles)
        gather_rows(batch.user_features, self._users, batch.user_rows)
        gather_rows(batch.title_features, self._titles, batch.title_rows)
        if self._territory is not None:
            np.take(self._territory, batch.user_rows, out=batch.user_territory, mode="clip")
        if memory is not None:
            np.take(memory, batch.order, axis=0, out=batch.memory, mode="clip")
        return batch

    def batch_views(
        self,
        pairs: LabelledPairs,
        rng: np.random.Generator,
        mode: str = "pairs",
        memory: np.ndarray | None = None,
        skip: int = 0,
    ) -> Iterator[PairBatch]:
        """One epoch over the pairs, batch by batch, in buffers that are used again; `mode` as in `epoch_batches`.

        The first `skip` batches are left out.
        """
        for index in islice(epoch_batches(pairs, self.batch_size, rng, mode), skip, None):
            own = None if memory is None else memory[index]
            yield self.batch_view(pairs.user[index], pairs.title[index], pairs.label[index], own)


@njit(cache=True, nogil=True)
def find_unique_rows(
    user_rows, title_rows, user_counts, title_counts, segments, pair_start,
    pair_user, pair_title, sorted_labels, order,
    user_slot, title_slot, distinct, place, at_of, next_free, user_group,
    user, title, labels,
):  # fmt: skip
    """Unique users sorted by group and unique titles, with counts, and the pairs sorted by user row. O(B).

    Returns (R, T). Two passes over the pairs and two over the users: nothing sorted, allocated or cleared. A
    slot array maps a row of the table to its place among the distinct rows; it may hold anything beforehand,
    because a slot counts only when the row at that place is the row itself (sparse set, Briggs & Torczon 1993).
    """
    n_pairs, n_groups = len(user), len(segments) - 1
    segments[:] = 0
    n_users = 0
    n_titles = 0
    for i in range(n_pairs):
        u = user[i]
        at = user_slot[u]
        if at >= n_users or distinct[at] != u:
            at = n_users
            user_slot[u] = at
            distinct[at] = u
            place[at] = 0  # for now its number of pairs
            segments[user_group[u] + 1] += 1
            n_users += 1
        place[at] += 1
        at_of[0, i] = at
        t = title[i]
        at = title_slot[t]
        if at >= n_titles or title_rows[at] != t:
            at = n_titles
            title_slot[t] = at
            title_rows[at] = t
            title_counts[at] = 0
            n_titles += 1
        title_counts[at] += 1
        at_of[1, i] = at
    for k in range(n_groups):
        next_free[k] = segments[k]
        segments[k + 1] += segments[k]
    for at in range(n_users):
        u = distinct[at]
        k = user_group[u]
        r = next_free[k]
        next_free[k] += 1
        user_rows[r] = u
        user_counts[r] = place[at]
        place[at] = r
    pair_start[0] = 0
    for r in range(n_users):
        next_free[r] = pair_start[r]
        pair_start[r + 1] = pair_start[r] + np.int64(user_counts[r])
    for i in range(n_pairs):
        r = place[at_of[0, i]]
        to = next_free[r]
        next_free[r] += 1
        order[to] = i
        pair_user[to] = r
        pair_title[to] = at_of[1, i]
        sorted_labels[to] = labels[i]
    return n_users, n_titles


def _table(name: str, vectors: np.ndarray) -> np.ndarray:
    """The table as a plain C-contiguous array: a memory map stays mapped, but kernels see one type."""
    check_vectors(name, vectors)
    table = np.ascontiguousarray(vectors).view()
    table.flags.writeable = False  # as a memory map is: kernels see one type
    return table


def _assignment(name: str, values: np.ndarray, n_users: int, n: int) -> np.ndarray:
    """What each user is assigned to, (U,) int32 from 0 to n − 1."""
    check_shape(name, values, (n_users,))
    check_rows(name, values, n)
    return np.ascontiguousarray(values, np.int32)

"""Pairs of earlier days, as they were: to learn from again against forgetting, and to see what is forgotten.

    n users · m pairs · F columns of user vectors · M terms of memory

Each day keeps some of its pairs, of each territory at most ``PER_TERRITORY``: of minor territories all, so they are
replayed most. Users have the vectors and pairs the terms of memory of their day: those of today would know the labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from twotower.core.random_streams import Stream, generator
from twotower.data.grown import Part
from twotower.data.sample import Pairs

PER_TERRITORY = 100  # pairs that a day keeps, of each kind
LAST_DAYS = 30  # whose pairs may be replayed
FROZEN_DAYS = 5  # the first ones, whose held-out pairs are evaluated for ever
LEARNED, HELD_OUT = KINDS = "replay", "frozen"  # pairs that were learned from, and of held-out users


@dataclass(frozen=True)
class KeptPairs:
    """Pairs with all that scoring them takes."""

    who: np.ndarray  # (n,) int32 rows of the dataset, for whoever is to be forgotten
    vectors: np.ndarray  # (n, F)
    territory: np.ndarray  # (n,) int16
    user: np.ndarray  # (m,) int32 rows of the vectors
    title: np.ndarray  # (m,) int32
    label: np.ndarray  # (m,) uint8
    terms: np.ndarray  # (m, M) float32; (m, 0) without memory

    def __len__(self) -> int:
        return len(self.user)

    def arrays(self, kind: str) -> dict[str, np.ndarray]:
        """The files of a part."""
        return {f"{kind}_{field.name}": getattr(self, field.name) for field in fields(self)}

    def pairs(self, first_row: int, day: int) -> Pairs:
        """The pairs, with users as rows behind so many others."""
        on = np.full(len(self), day, np.int32)
        terms = self.terms if self.terms.shape[1] else None
        return Pairs(self.user.astype(np.int64) + first_row, self.title, self.label.astype(np.float32), on, terms)

    def take(self, index: np.ndarray) -> "KeptPairs":
        """Some of the pairs, and their users."""
        used, user = np.unique(self.user[index], return_inverse=True)
        return KeptPairs(self.who[used], self.vectors[used], self.territory[used], user.astype(np.int32),
                         self.title[index], self.label[index], self.terms[index])  # fmt: skip

    def without(self, forgotten: np.ndarray) -> "KeptPairs":
        """Those of users who are not among rows (k,) of the dataset."""
        return self.take(np.flatnonzero(~np.isin(self.who, forgotten)[self.user]))


def keep(
    pairs: Pairs, terms: np.ndarray | None, users: np.ndarray, vectors: np.ndarray, territory: np.ndarray, seed: int,
    day: int, kind: str,
) -> KeptPairs:  # fmt: skip
    """Of pairs (m,) whose users are rows of vectors (n, F), those that are kept, at random in each territory."""
    rng = generator(seed, Stream.KEPT_PAIRS, day, KINDS.index(kind))
    order = rng.permutation(len(pairs))
    order = order[np.argsort(territory[pairs.user[order]], kind="stable")]
    where = territory[pairs.user[order]]
    place = np.arange(len(order)) - np.searchsorted(where, where)
    index = np.sort(order[place < PER_TERRITORY])
    none = np.empty((len(pairs), 0), np.float32)
    everything = KeptPairs(users.astype(np.int32), vectors, territory.astype(np.int16), pairs.user.astype(np.int32),
                           pairs.title, pairs.label.astype(np.uint8), none if terms is None else terms)  # fmt: skip
    return everything.take(index)


def kept_of(part: Part, kind: str) -> dict[str, np.ndarray]:
    """The columns of the pairs that a day kept."""
    return {f.name: np.asarray(part.array(f"{kind}_{f.name}")) for f in fields(KeptPairs)}


def frozen_pairs(parts: Sequence[Part]) -> KeptPairs | None:
    """Held-out pairs of the first days, of which a compacted first part may have some."""
    compacted = parts[0].day["compacted"]
    return together(parts[not compacted : 1 + max(0, FROZEN_DAYS - compacted)], HELD_OUT)


def together(parts: Sequence[Part], kind: str) -> KeptPairs | None:
    """The pairs that some days kept; None where there are none."""
    kept = [kept_of(part, kind) for part in parts]
    kept = [columns for columns in kept if len(columns["user"])]
    if not kept:
        return None
    first = np.cumsum([0, *(len(columns["vectors"]) for columns in kept)])
    for columns, row in zip(kept, first, strict=False):
        columns["user"] = columns["user"] + np.int32(row)
    return KeptPairs(**{name: np.concatenate([columns[name] for columns in kept]) for name in kept[0]})


def to_replay(parts: Sequence[Part], n: int, seed: int, day: int) -> KeptPairs | None:
    """About ``n`` pairs of the last days, territories alike as far as they have pairs."""
    pool = together(parts[-LAST_DAYS:], LEARNED) if n else None
    if pool is None:
        return None
    where = pool.territory[pool.user]
    weight = 1 / np.bincount(where)[where]
    rng = generator(seed, Stream.REPLAY, day)
    # a key per pair, the larger the earlier it is drawn: sampling without replacement by weight (Efraimidis & Spirakis)
    index = np.argsort(np.log(rng.random(len(pool))) / weight, kind="stable")[-min(n, len(pool)) :]
    return pool.take(np.sort(index))


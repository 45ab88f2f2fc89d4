"""Inputs of a batch that belong to other groups, and how they are perturbed.

    B pairs · R user rows · T title rows · k the group under test

Users and labels belong to one group, while pairs of any group may have the same title. ``separate_titles`` therefore
gives the pairs of other groups title rows of their own, so that their features can change alone. It is the same
network on the same pairs, since batch-norm counts a row as often as it occurs.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from twotower.data.batches import PairBatch
from twotower.lab.leaks.record import LABELS, USERS, Input


class OtherGroups(NamedTuple):
    """Masks of what belongs to other groups than one."""

    pairs: np.ndarray  # (B,) bool
    users: np.ndarray  # (R,) bool
    titles: np.ndarray  # (T,) bool: none of the group's pairs has the title

    def of(self, which: Input) -> np.ndarray:
        """The mask of the rows that have this input."""
        return {"labels": self.pairs, "user features": self.users, "title features": self.titles}[which]


def other_groups(batch: PairBatch, row_group: np.ndarray, k: int) -> OtherGroups:
    """What belongs to other groups than ``k``, given the true group (R,) of each user row.

    The batch's own segments are not used: they may be wrong.
    """
    users = row_group != k
    pairs = users[batch.pair_user]
    titles = np.bincount(batch.pair_title[~pairs], minlength=len(batch.title_rows)) == 0
    return OtherGroups(pairs, users, titles)


def separate_titles(batch: PairBatch, row_group: np.ndarray, k: int) -> PairBatch:
    """The same pairs, where group ``k`` shares no title row with other groups: shared titles get a second row."""
    T, other = len(batch.title_rows), row_group[batch.pair_user] != k
    in_group, in_others = (np.bincount(batch.pair_title[pairs], minlength=T) > 0 for pairs in (~other, other))
    shared = np.flatnonzero(in_group & in_others)
    row = np.arange(T)
    row[shared] = T + np.arange(len(shared))
    pair_title = np.where(other, row[batch.pair_title], batch.pair_title).astype(batch.pair_title.dtype)
    counts = np.bincount(pair_title, minlength=T + len(shared))
    return replace(
        batch,
        pair_title=pair_title,
        title_counts=counts.astype(batch.title_counts.dtype),
        title_rows=np.concatenate([batch.title_rows, batch.title_rows[shared]]),
        title_features=np.concatenate([batch.title_features, batch.title_features[shared]]),
    )


def perturbed(batch: PairBatch, which: Input, others: OtherGroups, rng: np.random.Generator) -> PairBatch:
    """The batch with other groups' input changed: half of the labels flipped, or noise as large as the features."""
    mask = others.of(which)
    if which == LABELS:
        flipped = mask & (rng.random(len(mask)) < 0.5)
        flipped[rng.choice(np.flatnonzero(mask))] = True  # at least one
        return replace(batch, labels=np.where(flipped, 1 - batch.labels, batch.labels))
    features = _features(batch, which)
    size = np.float32(features.std(dtype=np.float64)) or np.float32(1)  # 1 where all features are equal
    noise = rng.standard_normal((np.count_nonzero(mask), features.shape[1]), np.float32)
    return _with_features(batch, which, mask, features[mask] + size * noise)


def with_nan(batch: PairBatch, which: Input, others: OtherGroups) -> PairBatch:
    """The batch with NaN for other groups' input: a mask that multiplies lets it through, since NaN·0 is NaN."""
    mask = others.of(which)
    if which == LABELS:
        return replace(batch, labels=np.where(mask, np.float32(np.nan), batch.labels))
    return _with_features(batch, which, mask, np.float32(np.nan))


def _features(batch: PairBatch, which: Input) -> np.ndarray:
    return batch.user_features if which == USERS else batch.title_features


def _with_features(batch: PairBatch, which: Input, mask: np.ndarray, values: np.ndarray | np.floating) -> PairBatch:
    features = _features(batch, which).copy()
    features[mask] = values
    return replace(batch, **{"user_features" if which == USERS else "title_features": features})

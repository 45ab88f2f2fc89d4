"""What of a batch lies outside a group, and how it is disturbed.

    B pairs · R user rows · T title rows · k the group that is looked at

Users and labels belong to one group; a title is watched by all. So that a title's features can change for the pairs
outside the group alone, ``set_apart`` gives those pairs title rows of their own: the same network on the same pairs,
since batch-norm counts a row as often as it occurs.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from twotower.data.batches import Batch

LABELS, USERS, TITLES = "labels", "user features", "title features"
KINDS = (LABELS, USERS, TITLES)


class Outside(NamedTuple):
    """What a batch holds that is foreign to one group."""

    pairs: np.ndarray  # (B,) bool
    users: np.ndarray  # (R,) bool
    titles: np.ndarray  # (T,) bool: none of the group's pairs has the title

    def of(self, what: str) -> np.ndarray:
        """The mask of what is disturbed with ``what``."""
        return {LABELS: self.pairs, USERS: self.users, TITLES: self.titles}[what]


def outside(batch: Batch, row_group: np.ndarray, k: int) -> Outside:
    """What is foreign to group ``k``, given the group (R,) that each user row belongs to by rights.

    It is not read off the batch's segments: they may be what is wrong.
    """
    users = row_group != k
    pairs = users[batch.pair_user]
    titles = np.bincount(batch.pair_title[~pairs], minlength=len(batch.title_rows)) == 0
    return Outside(pairs, users, titles)


def set_apart(batch: Batch, row_group: np.ndarray, k: int) -> Batch:
    """The same pairs, where no title row is shared between group ``k`` and the others: such a title stands twice."""
    T, foreign = len(batch.title_rows), row_group[batch.pair_user] != k
    mine, theirs = (np.bincount(batch.pair_title[who], minlength=T) > 0 for who in (~foreign, foreign))
    shared = np.flatnonzero(mine & theirs)
    row = np.arange(T)
    row[shared] = T + np.arange(len(shared))
    pair_title = np.where(foreign, row[batch.pair_title], batch.pair_title).astype(batch.pair_title.dtype)
    counts = np.bincount(pair_title, minlength=T + len(shared))
    return replace(
        batch,
        pair_title=pair_title,
        title_counts=counts.astype(batch.title_counts.dtype),
        title_rows=np.concatenate([batch.title_rows, batch.title_rows[shared]]),
        title_features=np.concatenate([batch.title_features, batch.title_features[shared]]),
    )


def disturbed(batch: Batch, what: str, foreign: Outside, rng: np.random.Generator) -> Batch:
    """The batch with what is foreign changed: some labels turned round, noise on features, as large as they are."""
    mask = foreign.of(what)
    if what == LABELS:
        turned = mask & (rng.random(len(mask)) < 0.5)
        turned[rng.choice(np.flatnonzero(mask))] = True  # one at least
        return replace(batch, labels=np.where(turned, 1 - batch.labels, batch.labels))
    noise = rng.standard_normal((np.count_nonzero(mask), _features(batch, what).shape[1]), np.float32)
    return _with_features(batch, what, mask, _features(batch, what)[mask] + (_size(batch, what) * noise))


def poisoned(batch: Batch, what: str, foreign: Outside) -> Batch:
    """The batch with NaN for all that is foreign: a mask that multiplies lets it through, since NaN·0 is NaN."""
    mask = foreign.of(what)
    if what == LABELS:
        return replace(batch, labels=np.where(mask, np.float32(np.nan), batch.labels))
    return _with_features(batch, what, mask, np.float32(np.nan))


def _features(batch: Batch, what: str) -> np.ndarray:
    return batch.user_features if what == USERS else batch.title_features


def _size(batch: Batch, what: str) -> np.float32:
    """Standard deviation of the features; 1 where all are alike."""
    size = np.float32(_features(batch, what).std(dtype=np.float64))
    return size if size > 0 else np.float32(1)


def _with_features(batch: Batch, what: str, mask: np.ndarray, values: np.ndarray | np.floating) -> Batch:
    features = _features(batch, what).copy()
    features[mask] = values
    return replace(batch, **{"user_features" if what == USERS else "title_features": features})

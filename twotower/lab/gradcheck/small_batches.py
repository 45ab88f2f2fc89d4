"""Batches small enough for finite differences, with pairs of every group and repeated rows."""

import numpy as np

from twotower.core.config import MEMORY_TERMS
from twotower.data.batches import Batch, Batcher
from twotower.data.sample import Pairs, concatenate
from twotower.lab.subject import Subject
from twotower.training.predict import user_territories

USERS = 8  # per group, at least, if there are so many: batch-norm over two or three rows leaves float32 no digits


class SmallBatches:
    """Batches of at most ``pairs`` training pairs of a subject, taken evenly from its groups.

    The pairs are those of the subject's own batch in its order, where pairs of one user are adjacent, so users repeat
    as in training; one user is at most an eighth of a group as long as there are others. Training pairs are added for a
    group that the batch lacks, and for one of fewer than USERS users with a batch-norm per group. A group without any
    pairs stays absent.
    """

    def __init__(self, subject: Subject, pairs: int):
        trainer = subject.trainer
        self.groups = subject.config.model.groups
        self.members = trainer.members  # (U,) group of each user
        tables = trainer.dataset.user_vectors, trainer.dataset.title_vectors
        territory = user_territories(trainer.dataset, trainer.model)
        self.memory = trainer.memory
        self.batcher = Batcher(
            *tables, self.members, self.groups, pairs, 1, territory, trainer.dataset.n_territories,
            0 if self.memory is None else MEMORY_TERMS,
        )  # fmt: skip
        own, training = pairs_of(subject.batch), trainer.pairs
        by_group, fewest = [], USERS if trainer.model.config.batchnorm == "group" else 1
        for k in range(self.groups):
            group = own.take(self.members[own.user] == k)
            if len(np.unique(group.user)) < fewest:
                others = (self.members[training.user] == k) & ~np.isin(training.user, group.user)
                more = interleave_users(training.take(others), 2)
                group = concatenate([group, more.take(np.arange(min(pairs, len(more))))])
            by_group.append(group)
        self.quotas = even_quotas(np.array([len(group) for group in by_group]), pairs)
        most = np.maximum(2, self.quotas // USERS)
        self.by_group = [interleave_users(group, n) for group, n in zip(by_group, most.tolist(), strict=True)]

    def batch(self, skip: int = 0) -> Batch:
        """Pairs of every group: the first of each, or those after ``skip`` batches, cyclically."""
        parts = []
        for group, n in zip(self.by_group, self.quotas.tolist(), strict=True):
            parts.append(group.take((skip * n + np.arange(n)) % max(1, len(group))))
        return self.make(concatenate(parts))

    def other(self) -> Batch:
        """Other pairs of every group, three quarters as many, from the end.

        A network gets it before the batch under test, so that anything it keeps of the last batch is wrong.
        """
        parts = []
        for group, n in zip(self.by_group, self.quotas.tolist(), strict=True):
            parts.append(group.take(np.arange(len(group) - -(-n * 3 // 4), len(group))))
        return self.make(concatenate(parts))

    def restricted(self, batch: Batch, groups: list[int]) -> Batch:
        """The pairs of some groups of a batch, as a batch of their own."""
        pairs = pairs_of(batch)
        return self.make(pairs.take(np.isin(self.members[pairs.user], groups)))

    def make(self, pairs: Pairs) -> Batch:
        """A batch of some pairs, with its own arrays."""
        memory = None if self.memory is None else self.memory.of_pairs(pairs.user, pairs.title)
        return self.batcher.batch(pairs.user, pairs.title, pairs.label, memory)


def pairs_of(batch: Batch) -> Pairs:
    """The pairs of a batch by rows of the tables; their days are unknown and set to 0."""
    user, title = batch.user_rows[batch.pair_user], batch.title_rows[batch.pair_title]
    return Pairs(user, title, batch.labels, np.zeros(len(batch), np.int32))


def interleave_users(pairs: Pairs, most: int) -> Pairs:
    """The same pairs in another order: ``most`` of each user, user by user, then as many again, and so on."""
    by_user = np.argsort(pairs.user, kind="stable")
    _, start, counts = np.unique(pairs.user[by_user], return_index=True, return_counts=True)
    turn = np.empty(len(by_user), np.intp)
    turn[by_user] = (np.arange(len(by_user)) - np.repeat(start, counts)) // most
    return pairs.take(np.argsort(turn, kind="stable"))


def even_quotas(available: np.ndarray, total: int) -> np.ndarray:
    """Quotas (K,) that add up to ``total``, as even as the ``available`` (K,) numbers allow."""
    quotas = np.zeros_like(available)
    while (missing := min(total, int(available.sum())) - int(quotas.sum())) > 0:
        able = np.flatnonzero(quotas < available)
        each = max(1, missing // len(able))
        for k in able[:missing]:
            quotas[k] = min(available[k], quotas[k] + each)
    return quotas

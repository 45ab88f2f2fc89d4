"""Batches small enough for finite differences, with pairs of every group and repeated rows."""

import numpy as np

from twotower.data.batches import PairBatch
from twotower.data.sample import Pairs, concatenate
from twotower.lab.subject import Subject, pairs_of

USERS = 8  # per group, at least, with its own batch-norm: over two or three rows it leaves float32 no digits
PAIRS_OF_A_USER = 2  # in turn, so that users repeat as in training and none is most of a group


class SmallBatches:
    """Batches of at most ``pairs`` training pairs of a subject, taken evenly from its groups.

    The pairs are those of the subject's own batch, with other training pairs where a group has too few users. A group
    without any pairs stays absent.
    """

    def __init__(self, subject: Subject, pairs: int):
        self.subject, self.members = subject, subject.trainer.members  # (U,) group of each user
        own, training = pairs_of(subject.batch), subject.trainer.pairs
        if training.memory is None:
            own = Pairs(own.user, own.title, own.label, own.day)
        self.by_group, fewest = [], USERS if subject.config.model.batchnorm == "group" else 1
        for k in range(subject.config.model.groups):
            of_group = own.take(self.members[own.user] == k)
            if len(np.unique(of_group.user)) < fewest:
                others = (self.members[training.user] == k) & ~np.isin(training.user, of_group.user)
                more = interleave_users(training.take(others))
                of_group = concatenate([of_group, more.take(np.arange(min(pairs, len(more))))])
            self.by_group.append(interleave_users(of_group))
        self.quotas = even_quotas(np.array([len(group) for group in self.by_group]), pairs)

    def batch(self, skip: int = 0) -> PairBatch:
        """Pairs of every group: the first of each, or those after ``skip`` batches, cyclically."""
        groups = zip(self.by_group, self.quotas, strict=True)
        return self.make([(skip * n + np.arange(n)) % max(1, len(group)) for group, n in groups])

    def other(self) -> PairBatch:
        """Other pairs of every group, three quarters as many, from the end.

        A network gets it before the batch under test, so that anything it keeps of the last batch is wrong.
        """
        groups = zip(self.by_group, self.quotas, strict=True)
        return self.make([np.arange(len(group) - -(-n * 3 // 4), len(group)) for group, n in groups])

    def make(self, places: list[np.ndarray]) -> PairBatch:
        """A batch of the pairs in these places of each group."""
        parts = [group.take(of_group) for group, of_group in zip(self.by_group, places, strict=True)]
        return self.subject.make_batch(concatenate(parts))


def interleave_users(pairs: Pairs) -> Pairs:
    """The same pairs in another order: two of each user, user by user, then as many again, and so on."""
    by_user = np.argsort(pairs.user, kind="stable")
    _, start, counts = np.unique(pairs.user[by_user], return_index=True, return_counts=True)
    turn = np.empty(len(by_user), np.intp)
    turn[by_user] = (np.arange(len(by_user)) - np.repeat(start, counts)) // PAIRS_OF_A_USER
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

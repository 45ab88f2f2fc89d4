"""A batch small enough for finite differences, with pairs of every group and rows that repeat."""

from dataclasses import fields
from typing import NamedTuple

import numpy as np

from twotower.core.config import MEMORY_TERMS
from twotower.data.batches import Batch, Batcher
from twotower.lab.subject import Subject
from twotower.training.predict import user_territories


class PairsOf(NamedTuple):
    """Pairs by the rows of the tables that they join."""

    user: np.ndarray  # (n,)
    title: np.ndarray  # (n,)
    label: np.ndarray  # (n,)

    def take(self, index: np.ndarray) -> "PairsOf":
        return PairsOf(*(values[index] for values in self))

    def and_then(self, more: "PairsOf") -> "PairsOf":
        """All pairs of both, these first."""
        return PairsOf(*(np.concatenate(both) for both in zip(self, more, strict=True)))


USERS = 8  # of a group, at least, if it has so many: batch-norm over two or three rows leaves float32 no digits


class SmallBatches:
    """Batches of at most ``pairs`` pairs that a subject learns from, taken evenly from its groups.

    The pairs are those of the subject's own batch, in its order: pairs of one user follow each other, so that users
    repeat as they do in training, but one user is no more than an eighth of a group while there are others. A group
    that the batch lacks sends training pairs, and so does one of fewer than USERS users where each has a batch-norm of
    its own; one without any stays absent.
    """

    def __init__(self, subject: Subject, pairs: int):
        trainer, batch = subject.trainer, subject.batch
        self.groups = subject.config.model.groups
        self.members = trainer.members  # (U,) group of each user
        tables = trainer.dataset.user_vectors, trainer.dataset.title_vectors
        territory = user_territories(trainer.dataset, trainer.model)
        self.memory = trainer.memory
        terms = 0 if self.memory is None else MEMORY_TERMS
        self.batcher = Batcher(
            *tables, self.members, self.groups, pairs, 1, territory, trainer.dataset.n_territories, terms
        )
        own = PairsOf(batch.user_rows[batch.pair_user], batch.title_rows[batch.pair_title], batch.labels)
        rest = trainer.pairs
        everything = PairsOf(rest.user, rest.title, rest.label)
        found, fewest = [], USERS if trainer.model.config.batchnorm == "group" else 1
        for k in range(self.groups):
            mine = np.flatnonzero(self.members[own.user] == k)
            found.append(own.take(mine))
            if len(np.unique(found[k].user)) < fewest:
                others = (self.members[rest.user] == k) & ~np.isin(rest.user, found[k].user)
                more = mixed(everything.take(np.flatnonzero(others)), 2)
                found[k] = found[k].and_then(more.take(np.arange(min(pairs, len(more.user)))))
        self.quotas = shares(np.array([len(of_group.user) for of_group in found]), pairs)
        most = np.maximum(2, self.quotas // USERS)
        self.found = [mixed(of_group, n) for of_group, n in zip(found, most.tolist(), strict=True)]

    def take(self, skip: int = 0) -> Batch:
        """Pairs of every group: the first of each, or those after as many batches; from the front again at the end."""
        parts = []
        for of_group, n in zip(self.found, self.quotas.tolist(), strict=True):
            places = (skip * n + np.arange(n)) % max(1, len(of_group.user))
            parts.append(of_group.take(places))
        return self.of(parts)

    def other(self) -> Batch:
        """Other pairs of every group, three quarters as many, from the end: what a network has seen before.

        Whatever it keeps of that batch is then not of the one that is looked at.
        """
        parts = []
        for of_group, n in zip(self.found, self.quotas.tolist(), strict=True):
            fewer = -(-n * 3 // 4)
            parts.append(of_group.take(np.arange(len(of_group.user) - fewer, len(of_group.user))))
        return self.of(parts)

    def of(self, parts: list[PairsOf]) -> Batch:
        """A batch of its own of some pairs."""
        user, title, label = (np.concatenate(values) for values in zip(*parts, strict=True))
        memory = None if self.memory is None else self.memory.of_pairs(user, title)
        batch = self.batcher.batch_view(user, title, label, memory)
        return Batch(**{field.name: getattr(batch, field.name).copy() for field in fields(Batch)})

    def part(self, batch: Batch, groups: list[int]) -> Batch:
        """The pairs of some groups of a batch, as a batch of their own."""
        pairs = PairsOf(batch.user_rows[batch.pair_user], batch.title_rows[batch.pair_title], batch.labels)
        return self.of([pairs.take(np.flatnonzero(np.isin(self.members[pairs.user], groups)))])


def mixed(pairs: PairsOf, most: int) -> PairsOf:
    """The same pairs in another order: ``most`` of each user, in the order of users, then as many again, and so on."""
    by_user = np.argsort(pairs.user, kind="stable")
    _, start, counts = np.unique(pairs.user[by_user], return_index=True, return_counts=True)
    turn = np.empty(len(by_user), np.intp)
    turn[by_user] = (np.arange(len(by_user)) - np.repeat(start, counts)) // most
    return pairs.take(np.argsort(turn, kind="stable"))


def shares(have: np.ndarray, wanted: int) -> np.ndarray:
    """How many of ``wanted`` each gives, evenly, where nobody gives more than it has; (K,) each."""
    given = np.zeros_like(have)
    while (short := min(wanted, int(have.sum())) - int(given.sum())) > 0:
        able = np.flatnonzero(given < have)
        each = max(1, short // len(able))
        for k in able[:short]:
            given[k] = min(have[k], given[k] + each)
    return given

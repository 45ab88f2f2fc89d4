"""Counts that a model keeps from day to day, so that no day is read twice: those of memory, and of title offsets.

With each day counts lose 1/n of themselves, n being the training days: they weigh as many days as were trained on. What
the labels of memory lose passes to its history. ``latest`` labels lose ten times as much, since a tenth of the labels
counted as the latest in training.
"""

from dataclasses import dataclass

import numpy as np

from twotower.data.grown import GrownDataset
from twotower.data.memory.knowledge import Knowledge, viewers_of
from twotower.data.memory.memory import TERMS, Array
from twotower.data.memory.rates import LEVELS, RECENT_SHARE, log_shares, recent_labels
from twotower.model.title_offsets import OffsetCounts

NAMES = ("viewers", "history", "streams", "labels", "latest")


@dataclass
class Counts:
    """(C, T) float64 each."""

    viewers: Array  # users who ever watched the title, for availability
    history: Array  # first streams that have passed from ``streams``
    streams: Array  # first streams of users who are not held out
    labels: Array  # positive labels that were learned from
    latest: Array  # the same, faster to pass
    offsets: OffsetCounts
    days: int  # that counts weigh

    @classmethod
    def of(cls, known: Knowledge, held_out: Array, streams: tuple[Array, Array], viewers: Array, days: int) -> "Counts":
        """Those of a run as it was trained: ``streams`` are user and title (n,) of the training days' first streams;
        viewers (C, T)."""
        shape = viewers.shape
        user, title = (rows[~held_out[streams[0]]] for rows in streams)
        of_days = np.zeros(shape)
        np.add.at(of_days, (known.territory[user], title), 1)
        of = {"history": known.history, "labels": known.labels, "latest": recent_labels(known).labels}
        counted = {name: viewers_of(matrix, known.territory, shape[0]) for name, matrix in of.items()}
        return cls(viewers=viewers.astype(np.float64), streams=of_days, **counted,
                   offsets=OffsetCounts.none(shape), days=days)  # fmt: skip

    def arrays(self) -> dict[str, Array]:
        """All of them by name."""
        kept = {name: getattr(self, name) for name in NAMES}
        return kept | {f"offsets.{name}": array for name, array in self.offsets._asdict().items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Array], days: int) -> "Counts":
        offsets = OffsetCounts(**{name: arrays[f"offsets.{name}"] for name in OffsetCounts._fields})
        return cls(**{name: arrays[name] for name in NAMES}, offsets=offsets, days=days)

    def grow(self, C: int, T: int) -> "Counts":
        """With zeros for new territories and titles."""
        if self.labels.shape == (C, T):
            return self
        grown = {}
        for name, array in self.arrays().items():
            grown[name] = np.zeros((C, T))
            grown[name][: array.shape[0], : array.shape[1]] = array
        return Counts.from_arrays(grown, self.days)

    def pass_day(self) -> None:
        """A day is over: older counts weigh less."""
        lost = 1 / max(self.days, 1)
        self.history += lost * self.streams
        for array in (self.streams, self.labels, *self.offsets):
            array *= 1 - lost
        self.latest *= 1 - min(1.0, lost / RECENT_SHARE)

    def add(self, territory: Array, title: Array, held_out: Array, label_territory: Array, label_title: Array) -> None:
        """First streams (n,) of a day, and the positive labels (m,) that were learned from."""
        np.add.at(self.viewers, (territory, title), 1)
        np.add.at(self.streams, (territory[~held_out], title[~held_out]), 1)
        for array in (self.labels, self.latest):
            np.add.at(array, (label_territory, label_title), 1)

    def tables(self, dataset: GrownDataset, group: Array, day: int) -> tuple[Array, Array]:
        """Terms of territories and titles as of a day, (F_t, C, T) float32, and (F_t, C) of a new title."""
        users = np.asarray(dataset.territories.users, np.float64)
        counts = self.history, self.labels, self.latest
        nothing = tuple(np.zeros((len(users), 1)) for _ in counts)
        ages = np.maximum(day - dataset.first_seen, 0), np.zeros(1)
        everywhere = np.ones((1, len(users)), bool)
        tables = terms_of(counts, users, group, dataset.availability, ages[0])
        unwatched = terms_of(nothing, users, group, everywhere, ages[1])[:, :, 0]
        labels = TERMS.index("labels, world")
        mean = np.log(np.exp(tables[labels]).mean())
        tables[labels] -= mean
        unwatched[labels] -= mean
        return tables, unwatched


def terms_of(counts: tuple[Array, ...], users: Array, group: Array, availability: Array, age: Array) -> Array:
    """``TITLE_TERMS`` (F_t, C, T) float32 of history, labels and latest labels (C, T) each; age (T,) in days."""
    history, labels, latest = counts
    tables = []
    for viewers in (history, labels):
        world, of_group, territory = (log_shares(viewers, users, group, availability, level) for level in LEVELS)
        tables += [world, of_group - world, territory - of_group]
    tables.append(log_shares(latest, users, group, availability, "territory") - territory)
    tables.append(np.tile(np.log1p(age).astype(np.float32), (len(users), 1)))
    return np.stack([np.broadcast_to(table, tables[-1].shape) for table in tables])

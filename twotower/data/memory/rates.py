"""How often a title is watched: everywhere, in a group of territories, in a territory."""

import numpy as np

from twotower.data.memory.knowledge import Knowledge, viewers_of

PSEUDO_USERS = 20.0  # that a territory borrows from its group, and a group from the world
RECENT_SHARE = 0.1  # of the labels, the latest ones, that count as recent
LEVELS = ("world", "group", "territory")


def log_rates(viewers: np.ndarray, known: Knowledge, level: str, counted: np.ndarray | None = None) -> np.ndarray:
    """Log share of viewers (C, T) of each title among users, (C, T) float32, by territory: see ``log_shares``.

    ``counted`` (U,) bool are the users that shares are of, by default all: a share is as high when a fold's labels are
    left out as with them.
    """
    territory = known.territory if counted is None else known.territory[counted]
    users = np.bincount(territory, minlength=len(known.group)).astype(np.float64)  # (C,)
    return log_shares(viewers, users, known.group, known.availability, level)


def log_shares(
    viewers: np.ndarray, users: np.ndarray, group: np.ndarray, availability: np.ndarray, level: str
) -> np.ndarray:
    """Log share of viewers (C, T) of each title among users (C,), (C, T) float32, by territory.

    A territory's share is drawn to its group's by ``PSEUDO_USERS`` viewers' worth of evidence, and that to the share
    among all users whose territory has the title (empirical Bayes; a title that nobody watched has half a viewer).
    ``viewers`` are float64, users of a territory who watched a title; ``group`` (C,) is each territory's; availability
    (T, C) bool; ``level`` is one of ``LEVELS``.
    """
    C = len(group)
    could = users @ availability.T.astype(np.float64)  # (T,) users whose territory has the title
    world = (viewers.sum(0) + 0.5) / (could + 1)
    rates = np.broadcast_to(world, viewers.shape)
    if level != "world":
        of_group = np.zeros((int(group.max()) + 1, C))
        of_group[group, np.arange(C)] = 1
        there = of_group @ (users[:, None] * availability.T)  # (groups, T)
        rates = ((of_group @ viewers + PSEUDO_USERS * world) / (there + PSEUDO_USERS))[group]
    if level == "territory":
        rates = (viewers + PSEUDO_USERS * rates) / (users[:, None] + PSEUDO_USERS)
    return np.log(rates).astype(np.float32)


def recent_log_rates(known: Knowledge) -> np.ndarray:
    """The same by territory, of the latest labels alone."""
    recent = recent_labels(known)
    viewers = viewers_of(recent.labels, recent.territory, len(recent.group))
    return log_rates(viewers, recent, "territory", recent.counted)


def recent_labels(known: Knowledge) -> Knowledge:
    """What is known, with the latest labels alone: the last ``RECENT_SHARE`` of the positives by day."""
    positive = known.pairs.take(known.pairs.label > 0)
    since = np.quantile(positive.day, 1 - RECENT_SHARE, method="lower") if len(positive) else 0
    return known.only(positive.take(positive.day >= since))

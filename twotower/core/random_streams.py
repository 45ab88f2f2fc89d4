"""Every random stream of a seed, in one list: no two uses of one seed draw the same numbers.

Numbers stay what they are once given out: a stream's number is part of what a seed means.
"""

from enum import IntEnum, unique

import numpy as np


@unique
class Stream(IntEnum):
    """What is drawn. ``path`` tells uses of one stream apart, such as epochs or days."""

    INITIAL_WEIGHTS = 0
    BATCH_ORDER = 1  # path: epoch
    VALIDATION_USERS = 2
    UPDATE_ORDER = 3  # path: first test day of the period
    PCGRAD = 4  # path: step
    OFFSET_FOLDS = 5
    GRADIENT_CHECK = 6  # path: check
    LEAKS = 7  # path: group, batch
    TEST_USERS = 10
    RANDOM_USERS = 11
    ACTIVE_USERS = 12
    NEGATIVES = 13  # path: split
    USERS_OF_NEGATIVES = 14  # path: split, day
    HISTORY_SPLIT = 20
    SYNTHETIC_WORLD = 21
    RANDOM_GROUPS = 30
    PANEL_USERS = 31
    BOOTSTRAP = 32  # path: resample


def seed_sequence(seed: int, stream: Stream, *path: int) -> np.random.SeedSequence:
    """The seed of a stream, for what spawns seeds of its own.

    Stream and path are the spawn key: as part of the entropy, a 0 at its end would be lost ([7, 2] and [7, 2, 0] seed
    the same numbers).
    """
    return np.random.SeedSequence(seed, spawn_key=(stream, *path))


def generator(seed: int, stream: Stream, *path: int) -> np.random.Generator:
    """A generator that starts at the beginning of a stream."""
    return np.random.default_rng(seed_sequence(seed, stream, *path))


def random_key(seed: int, stream: Stream, *path: int) -> int:
    """64 random bits, for what is a function of them and draws no stream."""
    return int(seed_sequence(seed, stream, *path).generate_state(1, np.uint64)[0])

"""The random streams of the package: one member per use, so that no two uses share their random numbers.

A stream is a function of a seed, its member and a path of integers (an epoch, a group). The member is mixed in as a
spawn key of NumPy's ``SeedSequence``, which keeps it apart from seeds of any size and from paths of any length.
"""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What the numbers are for. Never reuse a value: results of earlier runs would change meaning."""

    # training
    INITIAL_WEIGHTS = 10  # of the network
    VALIDATION_USERS = 11  # users held out for early stopping
    PAIR_ORDER = 12  # order of the pairs; path: epoch
    UPDATE_ORDER = 13  # the same when training goes on with later days; path: first day
    OFFSET_FOLDS = 14  # folds of users that the prior of title offsets is chosen on
    GRADIENT_SURGERY = 15  # order of the groups in PCGrad; path: step
    MEMORY_FIT = 16  # order of the pairs that memory is fitted on
    KEPT_PAIRS = 17  # of a day, to be learned from again or evaluated for ever; path: day, kind
    REPLAY = 18  # pairs of earlier days that a day learns from again; path: day
    # sampling
    TEST_USERS = 30  # test users, and development users
    RANDOM_USERS = 31  # training users
    ACTIVE_USERS = 32  # additional training users with recent streams
    TRAIN_NEGATIVES = 33  # negatives of the training pairs
    TEST_NEGATIVES = 34  # negatives of the test pairs
    UPDATE_NEGATIVES = 35  # negatives of the days that a model is updated with
    DAILY_ACTIVE_USERS = 36  # additional training users of a daily update; path: day
    DAILY_INTERVALS = 37  # users drawn for the intervals of a day's evaluation; path: day
    # making and reading data
    WORLD = 50  # territories, titles and tastes of a synthetic world
    WORLD_TITLES = 51  # features of its titles
    WORLD_USERS = 52  # its users and what they watch
    RANDOM_SPLIT = 53  # history, training and test events of a log without times
    SVD_START = 54  # start vector of the singular value decomposition
    HELD_OUT_TITLES = 55  # titles of histories that the weighting of vectors is chosen by
    FACTORS_START = 56  # start vector of the eigenvectors that make factors of titles
    # experiments
    RANDOM_GROUPS = 70  # control: territories assigned to groups at random
    SHUFFLED_HEADS = 71  # control: users served by the head of another user's territory
    BOOTSTRAP = 72  # resampled users of test pairs
    PANEL_USERS = 73  # test users whose recommendations are compared
    PANEL_PAIRS = 74  # their pairs whose scores are compared
    RIVAL_FOLDS = 75  # parts of the users, so that no label counts itself in a simple rival
    USER_BOOTSTRAP = 77  # resampled users of means over users
    RANKED_USERS = 78  # test users whose rankings are evaluated
    RIVAL_FACTORS = 76  # factors of titles that alternating least squares start from
    # looking inside
    GRADIENT_CHECK = 90  # checked elements and directions; path: block
    LEAKS = 91  # perturbations of other groups' rows; path: group, kind of row
    TINY_NETWORK = 92  # parameters and features of the network that trace prints


def seed_sequence(seed: int, stream: Stream, *path: int) -> np.random.SeedSequence:
    """The entropy of a stream, for code that spawns from it or hashes with it."""
    return np.random.SeedSequence(seed, spawn_key=(stream, *path))


def generator(seed: int, stream: Stream, *path: int) -> np.random.Generator:
    """A generator at the start of a stream."""
    return np.random.default_rng(seed_sequence(seed, stream, *path))


def placeholder() -> np.random.Generator:
    """For a network whose initial weights are replaced at once by others."""
    return np.random.default_rng(0)

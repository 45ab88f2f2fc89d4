"""Memory for a network: what may be remembered, and its terms for the training pairs."""

from dataclasses import replace

import numpy as np

from twotower.data.dataset import Dataset
from twotower.data.memory.knowledge import Knowledge, read_history
from twotower.data.memory.memory import Memory, training_terms
from twotower.data.sample import Pairs


def known_to(dataset: Dataset, pairs: Pairs, territory_group: np.ndarray, seed: int) -> Knowledge:
    """What may be remembered: the history of all users, and labelled pairs of training users.

    Territories without a group (−1) make one of their own.
    """
    return Knowledge(
        history=read_history(dataset),
        pairs=replace(pairs, memory=None),
        territory=np.asarray(dataset.user_territory).astype(np.int64),
        group=np.asarray(territory_group, np.int64) - min(0, int(territory_group.min())),
        availability=np.asarray(dataset.availability),
        launch_day=np.asarray(dataset.launch_day),
        seed=seed,
    )


def remember(dataset: Dataset, pairs: Pairs, territory_group: np.ndarray, seed: int) -> tuple[Memory, Pairs]:
    """The memory of all training labels, and the training pairs (n,) with their terms, mean 0 and spread 1 over them.

    The terms of a pair leave out the labels of its user's fold.
    """
    known = known_to(dataset, pairs, territory_group, seed)
    memory = Memory.of(known)
    terms = memory.standardise(training_terms(known))
    return memory, replace(pairs, memory=terms)

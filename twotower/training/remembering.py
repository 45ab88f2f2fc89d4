"""Memory for a network: its terms for the training pairs, and the weights to start from."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from twotower.data.dataset import Dataset
from twotower.data.memory.knowledge import Knowledge, read_history
from twotower.data.memory.memory import Memory, training_terms
from twotower.data.memory.regression import logistic_regression
from twotower.data.sample import Pairs


class Remembered(NamedTuple):
    """What a network with memory starts from."""

    memory: Memory  # of all training labels
    pairs: Pairs  # the training pairs with their terms, which leave out their own labels
    weights: np.ndarray  # (F,) of the logistic regression of the labels on the terms alone


def known_to(dataset: Dataset, pairs: Pairs, territory_group: np.ndarray, seed: int) -> Knowledge:
    """What may be remembered: the history of all users, and labelled pairs of training users."""
    return Knowledge(
        history=read_history(dataset),
        pairs=replace(pairs, memory=None),
        territory=np.asarray(dataset.user_territory).astype(np.int64),
        group=np.maximum(territory_group, 0).astype(np.int64),
        availability=np.asarray(dataset.availability),
        launch_day=np.asarray(dataset.launch_day),
        seed=seed,
    )


def remember(dataset: Dataset, pairs: Pairs, territory_group: np.ndarray, seed: int) -> Remembered:
    """The memory of the training pairs (n,), with terms of mean 0 and spread 1 over them."""
    known = known_to(dataset, pairs, territory_group, seed)
    memory = Memory.of(known)
    terms = memory.standardise(training_terms(known))
    weights, _ = logistic_regression(terms, pairs.label)
    return Remembered(memory, replace(pairs, memory=terms), weights.astype(np.float32))

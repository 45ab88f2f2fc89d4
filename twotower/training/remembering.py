"""Memory for a network: what may be remembered, its terms for the training pairs, and the weights to start from."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from twotower.core.progress import Progress, silent
from twotower.core.random_streams import Stream, generator
from twotower.data.dataset import Dataset
from twotower.data.memory.knowledge import Knowledge, read_history
from twotower.data.memory.memory import Memory, training_terms
from twotower.data.memory.regression import logistic_regression
from twotower.data.sample import Pairs
from twotower.model.engine import kernels
from twotower.model.parameters import Arena, Floats

FIT_BATCH = 1024
FIT_EPOCHS = 6
FIT_STEPS = 2400  # at most
FIT_RATE = 5e-3  # of Adam at first; it falls to 0


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


def remember(
    dataset: Dataset, pairs: Pairs, territory_group: np.ndarray, seed: int, progress: Progress = silent
) -> tuple[Memory, Pairs]:
    """The memory of all training labels, and the training pairs (n,) with their terms, mean 0 and spread 1 over them.

    The terms of a pair leave out the labels of its user's fold.
    """
    known = known_to(dataset, pairs, territory_group, seed)
    terms = training_terms(known, progress)
    memory = Memory.of(known)
    terms = memory.standardise(terms)
    return memory, replace(pairs, memory=terms)


class FittedMemory(NamedTuple):
    """Memory weights that predict labels without a network."""

    linear: Floats  # (F,)
    layer: Floats  # (F + 1, H)
    units: Floats  # (H,)
    bias: float


def fit_memory(m: Floats, labels: Floats, layer: Floats, seed: int) -> FittedMemory:
    """Weights for terms m (n, F) of pairs and their labels (n,): a logistic regression, then a ReLU layer on top.

    ``layer`` (F + 1, H) is what the layer starts from; without units the regression is all. Adam's learning rate falls
    to 0 in a straight line. The layer is scored and differentiated by the network's own kernels.
    """
    F, H = m.shape[1], layer.shape[1]
    w, bias = logistic_regression(m, labels)
    params = Arena({"bias": (1,), "w": (F,), "A": (F + 1, H), "v": (H,)})
    params["w"][:], params["A"][:], params["bias"][:] = w, layer, bias
    grads, M, V = params.like(), params.like(), params.like()
    rng, n = generator(seed, Stream.MEMORY_FIT), len(m)
    B = min(FIT_BATCH, n)
    steps = min(FIT_STEPS, FIT_EPOCHS * (n // B)) if H else 0
    rows = np.empty(0, np.int64)
    for t in range(1, steps + 1):
        if len(rows) < B:
            rows = rng.permutation(n)
        batch, rows = rows[:B], rows[B:]
        z, terms = np.full(B, params["bias"][0]), m[batch]
        loss, dz = np.empty_like(z), np.empty_like(z)
        kernels.memory_score(z, terms, params["w"], params["A"], params["v"])
        kernels.binary_cross_entropy(loss, dz, z, labels[batch], B)
        of_terms = grads["w"], grads["A"], grads["v"]
        kernels.memory_score_backward(*of_terms, dz, terms, params["A"], params["v"])
        grads["bias"][0] = dz.sum()
        rate = FIT_RATE * (1 - (t - 1) / steps)
        kernels.adam(params.flat, M.flat, V.flat, grads.flat, rate, 0.9, 0.999, 1e-8, t)
    return FittedMemory(params["w"], params["A"], params["v"], float(params["bias"][0]))

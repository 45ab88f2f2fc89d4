"""How far one step moves the weights: Adam's update for a batch, on copies of parameters and optimiser."""

from collections.abc import Iterable

import numpy as np

from twotower.lab.attribution.gradient_matrix import Block
from twotower.model.adam import Adam
from twotower.model.engine.threads import Threads
from twotower.model.parameters import Arena


def copy_of(arena: Arena) -> Arena:
    """The same names and numbers in another place."""
    other = arena.like()
    other.flat[:] = arena.flat
    return other


def copied_optimiser(optimiser: Adam) -> Adam:
    """An optimiser that goes on from the same moments and counts, on a copy of the parameters."""
    blocks = optimiser.shared, optimiser.group_blocks
    other = Adam(copy_of(optimiser.params), *blocks, optimiser.lr, *optimiser.betas, optimiser.eps)
    other.m.flat[:], other.v.flat[:] = optimiser.m.flat, optimiser.v.flat
    other.steps = list(optimiser.steps)
    other.decays = [list(spans) for spans in optimiser.decays]
    return other


def update_norms(
    optimiser: Adam, grads: Arena, present: Iterable[int], blocks: list[Block], threads: Threads
) -> np.ndarray:
    """Norm (N,) of what the next step would add to each block, weight decay included; the optimiser stays as it is.

    A block whose group is absent is not updated: 0.
    """
    taken = copied_optimiser(optimiser)
    taken.update(grads, present, threads)
    return np.array([np.linalg.norm(block.of(taken.params) - block.of(optimiser.params)) for block in blocks])

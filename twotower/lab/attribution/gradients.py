"""The gradient of a batch by block and by group, conflicts between groups, and the size of Adam's next step.

The part of group k is the model's own backward pass in which the pairs of all other groups send no gradient back
(``gradients_of_group``): forward, batch-norm and loss are those of the whole batch. The backward
pass is linear in the gradients of the logits, so the parts add up to the gradient. No value is set to 0 here: a 0 in
the matrix was computed.

    K groups · N blocks · g the gradient of a block, g_k the part from the rows of group k
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from twotower.data.batches import PairBatch
from twotower.lab.attribution.blocks import Block
from twotower.model.adam import Adam
from twotower.model.engine.threads import Threads
from twotower.model.parameters import Arena
from twotower.model.two_tower import TwoTower
from twotower.model.variants.one_group import gradients_of_group

GRAM_PIECE = 1 << 18  # values of each group's gradient that are converted to float64 at a time


@dataclass
class GradientMatrix:
    """The gradient of a batch, by blocks and by groups."""

    whole: np.ndarray  # (N,) norm of each block's gradient
    by_group: np.ndarray  # (N, K) norm of the part from each group's rows
    share: np.ndarray  # (N, K) <g_k, g> / <g, g>, which sum to 1; NaN where the gradient is 0
    remainder: np.ndarray  # (N,) norm of g − Σ_k g_k: rounding
    towers: np.ndarray  # (K, K) <g_j, g_k> over all parameters of both towers


@contextmanager
def running_statistics_kept(model: TwoTower) -> Iterator[None]:
    """Restore the running statistics afterwards, which a training pass updates."""
    running = model.running.flat.copy()
    try:
        yield
    finally:
        model.running.flat[:] = running


def gradient_matrix(
    model: TwoTower, batch: PairBatch, blocks: list[Block], whole: Arena, tick: Callable[[], None] = lambda: None
) -> GradientMatrix:
    """Run a backward pass per group and compare it with the gradient of the ``whole`` batch.

    Updates the running statistics. ``tick`` is called after each pass.
    """
    N, K = len(blocks), model.config.groups
    gradients = [block.of(whole) for block in blocks]
    squares = np.array([g @ g for g in gradients])  # (N,)
    by_group, along = np.zeros((N, K)), np.zeros((N, K))
    towers = slice(0, model.params.span("title.beta2").stop)
    parts = np.empty((K, towers.stop), np.float32)  # (K, values in both towers)
    rest = [g.copy() for g in gradients]
    for k in range(K):
        gradients_of_group(model, batch, k)
        parts[k] = model.grads.flat[towers]
        for n, block in enumerate(blocks):
            g_k = block.of(model.grads)
            by_group[n, k], along[n, k] = np.sqrt(g_k @ g_k), g_k @ gradients[n]
            rest[n] -= g_k
        tick()
    with np.errstate(divide="ignore", invalid="ignore"):
        share = along / squares[:, None]
    remainder = np.array([np.sqrt(r @ r) for r in rest])
    return GradientMatrix(np.sqrt(squares), by_group, share, remainder, gram(parts))


def gram(parts: np.ndarray) -> np.ndarray:
    """Inner products (K, K) float64 of gradients (K, n) float32."""
    products = np.zeros((len(parts), len(parts)))
    for start in range(0, parts.shape[1], GRAM_PIECE):
        piece = parts[:, start : start + GRAM_PIECE].astype(np.float64)
        products += piece @ piece.T
    return products


class Conflict(NamedTuple):
    """The groups' gradients of the shared towers, compared with each other."""

    norm: np.ndarray  # (K,)
    cosine: np.ndarray  # (K, K) 1: same direction, 0: orthogonal, below 0: conflicting, NaN: no gradient
    share: np.ndarray  # (K,) <g_k, g> / <g, g>; below 0 where the sum moves against a group's own gradient


def conflict(inner: np.ndarray) -> Conflict:
    """Norms, cosines and shares from the inner products <g_j, g_k> (K, K) in float64."""
    squares = np.diag(inner)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = inner / np.sqrt(np.outer(squares, squares))
        share = inner.sum(1) / inner.sum()  # <g_k, g> is the sum of row k
    return Conflict(np.sqrt(squares), np.clip(cosine, -1, 1), share)


def copy_of(arena: Arena) -> Arena:
    """The same layout and values in other memory."""
    other = arena.like()
    other.flat[:] = arena.flat
    return other


def update_norms(
    optimiser: Adam, grads: Arena, present: Iterable[int], blocks: list[Block], threads: Threads
) -> np.ndarray:
    """Norm (N,) of what Adam's next step adds to each block, weight decay included; it is undone afterwards.

    The block of an absent group is not updated: 0.
    """
    arenas = optimiser.params, optimiser.m, optimiser.v
    before, steps = [copy_of(arena) for arena in arenas], list(optimiser.steps)
    try:
        optimiser.update(grads, present, threads)
        return np.array([np.linalg.norm(block.of(optimiser.params) - block.of(before[0])) for block in blocks])
    finally:
        for arena, old in zip(arenas, before, strict=True):
            arena.flat[:] = old.flat
        optimiser.steps[:] = steps

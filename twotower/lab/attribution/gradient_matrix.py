"""Whose rows moved this weight: the gradient of every block, taken apart by the groups that it comes from.

A group's part is the model's own backward pass in which the pairs of the other groups send nothing back
(``TwoTower.loss_and_gradients`` with ``only``): forward, batch-norm and loss are those of the whole batch. A backward
pass is linear in what is sent back, so that the parts add up to the gradient. Nothing is set to 0 here: where the
matrix says 0, the pass has found 0.

    K groups · N blocks · g the gradient of a block, g_k what the rows of group k add to it
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from twotower.model.parameters import Arena
from twotower.model.two_tower import TwoTower
from twotower.model.variants.one_group import gradients_of_group

PARTS = {
    "user": "user tower",
    "title": "title tower",
    "logit": "logit",
    "experts": "experts",
    "stitch": "head",
    "head": "head",
    "title_bias": "title bias",
    "territory": "territory",
}
OF_GROUPS = ("head.", "title_bias.", "territory.")  # parameters of which every group has a part to itself
#: The way of the gradient, from the loss down; what groups have to themselves goes before what all share.
WAY_DOWN = ("logit", "head", "title bias", "territory", "experts", "user tower", "title tower")
GRAM_PIECE = 1 << 18  # numbers of each group's gradient that are in float64 at a time


class Block(NamedTuple):
    """A parameter, or the part of it that one group has to itself."""

    name: str  # "user.W1", "head.P[2]"
    parameter: str
    owner: int | None  # the group, or None for what all share
    part: str
    layer: int | None  # of a tower
    shape: tuple[int, ...]
    where: Any  # of the flat parameters: a slice, or (n,) indices

    def of(self, arena: Arena) -> np.ndarray:
        """The block's numbers (n,) in float64: norms of a million float32 are summed there."""
        return arena.flat[self.where].astype(np.float64)


def blocks_of(model: TwoTower, territory_group: np.ndarray) -> list[Block]:
    """All blocks that training updates; ``territory_group`` (C,) says to which group a territory's offsets belong."""
    found: list[Block] = []
    for name, shape in model.params.shapes.items():
        prefix, _, rest = name.partition(".")
        if prefix == "logit" and not model.config.learned_logit:
            continue
        if not name.startswith(OF_GROUPS):
            layer = int(rest[-1]) if prefix in ("user", "title") else None
            found.append(Block(name, name, None, PARTS[prefix], layer, shape, model.params.span(name)))
            continue
        for k in range(model.config.groups):
            if prefix == "territory":
                own = np.asarray(territory_group) == k if model.config.groups > 1 else np.ones(shape[0], bool)
                numbers = np.arange(math.prod(shape)).reshape(shape) + model.params.offsets[name]
                where: Any = numbers[own].reshape(-1)
                size: tuple[int, ...] = (int(own.sum()), *shape[1:])
            else:
                where, size = model.params.span(name, k), shape[1:]
            found.append(Block(f"{name}[{k}]", name, k, PARTS[prefix], None, size, where))
    return found


def from_the_loss_down(blocks: list[Block]) -> list[Block]:
    """The blocks as a reader meets them: first those of groups, whose zeros are the mask, then those that all share,
    each in the order in which the gradient comes by: the reverse of the parameters'."""
    place = {name: n for n, name in enumerate(dict.fromkeys(block.parameter for block in blocks))}
    return sorted(blocks, key=lambda b: (b.owner is None, WAY_DOWN.index(b.part), -place[b.parameter], b.owner or 0))


@dataclass
class GradientMatrix:
    """The gradient of a batch, by blocks and by groups."""

    whole: np.ndarray  # (N,) norm of each block's gradient
    by_group: np.ndarray  # (N, K) norm of what each group's rows add to it
    share: np.ndarray  # (N, K) <g_k, g> / <g, g>, whose sum is 1; NaN where the gradient is 0
    remainder: np.ndarray  # (N,) norm of g − Σ_k g_k: rounding
    towers: np.ndarray  # (K, K) <g_j, g_k> over all parameters of both towers


@contextmanager
def left_as_it_was(model: TwoTower) -> Iterator[None]:
    """A training pass moves the running statistics along: put them back."""
    running = model.running.flat.copy()
    try:
        yield
    finally:
        model.running.flat[:] = running


def gradient_matrix(
    model: TwoTower, batch: Any, blocks: list[Block], whole: Arena, tick: Callable[[], None] = lambda: None
) -> GradientMatrix:
    """A backward pass a group, measured against the gradient of the ``whole`` batch. Running statistics move along.

    ``tick`` is called after each pass.
    """
    N, K = len(blocks), model.config.groups
    gradients = [block.of(whole) for block in blocks]
    squares = np.array([g @ g for g in gradients])  # (N,)
    by_group, along = np.zeros((N, K)), np.zeros((N, K))
    towers = slice(0, model.params.span("title.beta2").stop)
    parts = np.empty((K, towers.stop), np.float32)  # (K, numbers in both towers)
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
    found = np.zeros((len(parts), len(parts)))
    for start in range(0, parts.shape[1], GRAM_PIECE):
        piece = parts[:, start : start + GRAM_PIECE].astype(np.float64)
        found += piece @ piece.T
    return found

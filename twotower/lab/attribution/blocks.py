"""Blocks of parameters: a parameter that all groups share, or the part of one that belongs to a single group."""

import math
from typing import Any, NamedTuple

import numpy as np

from twotower.model.parameters import Arena
from twotower.model.two_tower import TwoTower

PARTS = {
    "user": "user tower",
    "title": "title tower",
    "logit": "logit",
    "experts": "experts",
    "stitch": "head",
    "head": "head",
    "title_bias": "title bias",
    "territory": "territory",
    "memory": "memory",
}
GROUP_PREFIXES = ("head.", "title_bias.", "memory.d", "memory.e", "territory.")  # parameters with a part for each group
BACKWARD_ORDER = ("logit", "head", "title bias", "memory", "territory", "experts", "user tower", "title tower")


class Block(NamedTuple):
    """A parameter, or the part of it that belongs to one group."""

    name: str  # "user.W1", "head.P[2]"
    parameter: str
    owner: int | None  # the group, or None where all groups share it
    part: str  # a value of PARTS
    layer: int | None  # of a tower
    shape: tuple[int, ...]
    where: Any  # in the flat parameters: a slice, or (n,) indices

    def of(self, arena: Arena) -> np.ndarray:
        """The block's values (n,) in float64, so that norms of a million float32 are summed in float64."""
        return arena.flat[self.where].astype(np.float64)


def blocks_of(model: TwoTower, territory_group: np.ndarray) -> list[Block]:
    """All blocks that training updates; ``territory_group`` (C,) assigns the offsets of territories to groups."""
    blocks: list[Block] = []
    for name, shape in model.params.shapes.items():
        prefix, _, rest = name.partition(".")
        if prefix == "logit" and not model.config.learned_logit:
            continue
        if not name.startswith(GROUP_PREFIXES):
            layer = int(rest[-1]) if prefix in ("user", "title") else None
            blocks.append(Block(name, name, None, PARTS[prefix], layer, shape, model.params.span(name)))
            continue
        for k in range(model.config.groups):
            if prefix == "territory":
                members = np.asarray(territory_group) == k if model.config.groups > 1 else np.ones(shape[0], bool)
                places = np.arange(math.prod(shape)).reshape(shape) + model.params.offsets[name]
                where: Any = places[members].reshape(-1)
                size: tuple[int, ...] = (int(members.sum()), *shape[1:])
            else:
                where, size = model.params.span(name, k), shape[1:]
            blocks.append(Block(f"{name}[{k}]", name, k, PARTS[prefix], None, size, where))
    return blocks


def in_backward_order(blocks: list[Block]) -> list[Block]:
    """Blocks of groups first, whose zeros show the mask, then shared blocks; each in the order of backpropagation."""
    place = {name: n for n, name in enumerate(dict.fromkeys(block.parameter for block in blocks))}
    return sorted(
        blocks, key=lambda b: (b.owner is None, BACKWARD_ORDER.index(b.part), -place[b.parameter], b.owner or 0)
    )

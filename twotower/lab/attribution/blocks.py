"""Blocks of parameters: a parameter that all groups share, or the part of one that belongs to a single group.

They follow from what the network declares (``model/parameters.py``), so that a new parameter is a block by itself.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from twotower.model.parameters import Arena, Parameter
from twotower.model.two_tower import TwoTower
from twotower.report.record_table import shown
from twotower.report.table import TEXT

#: Parts of the network by the first word of their parameters' names, in the order of backpropagation.
PARTS = {
    "logit": "logit", "head": "head", "stitch": "head", "title_bias": "title bias", "memory": "memory",
    "territory": "territory", "experts": "experts", "user": "user tower", "title": "title tower",
}  # fmt: skip
TOWERS = ("user tower", "title tower")


def part_of(parameter: str) -> str:
    """The part of the network that a parameter belongs to."""
    word = parameter.partition(".")[0]
    return PARTS.get(word, word)


@dataclass(kw_only=True)
class BlockName:
    """What every record says about a block."""

    name: str = shown("block", TEXT)  # "user.W1", "head.P[2]"
    parameter: str
    owner: int | None  # the group, or None where all groups share it
    part: str
    layer: int | None  # of a tower
    shape: list[int]

    def identity(self) -> dict[str, Any]:
        """These fields, for a record of the same block."""
        return {each.name: getattr(self, each.name) for each in fields(BlockName)}


@dataclass(kw_only=True)
class Block(BlockName):
    """A parameter, or the part of it that belongs to one group."""

    where: Any  # in the flat parameters: a slice, or (n,) indices

    def of(self, arena: Arena) -> np.ndarray:
        """The block's values (n,) in float64, so that norms of a million float32 are summed in float64."""
        return arena.flat[self.where].astype(np.float64)

    def places(self, arena: Arena) -> np.ndarray:
        """Positions (n,) of the block's elements in its parameter."""
        return np.arange(len(arena.flat))[self.where] - arena.offsets[self.parameter]

    def norm(self, arena: Arena) -> float:
        return float(np.linalg.norm(self.of(arena)))


def owned(parameter: Parameter) -> bool:
    """Whether groups, or the territories of groups, own the rows of a parameter."""
    return parameter.owner in ("group", "territory")


def blocks_of(model: TwoTower, territory_group: np.ndarray) -> list[Block]:
    """All blocks that training updates; ``territory_group`` (C,) assigns the rows of territories to groups."""
    return [
        Block(name=name if k is None else f"{name}[{k}]", parameter=name, owner=k, part=part_of(name),
              layer=int(name[-1]) if part_of(name) in TOWERS else None, shape=shape, where=where)
        for name, parameter in model.parameters.items()
        if parameter.owner != "nobody"
        for k, shape, where in parts_of(model, name, parameter, territory_group)
    ]  # fmt: skip


def parts_of(
    model: TwoTower, name: str, parameter: Parameter, territory_group: np.ndarray
) -> Iterator[tuple[int | None, list[int], Any]]:
    """Group, shape and place of each block of a parameter."""
    shape, arena, K = list(parameter.shape), model.params, model.config.groups
    if not owned(parameter):
        yield None, shape, arena.span(name)
        return
    for k in range(K):
        if parameter.owner == "group":
            yield k, shape[1:], arena.span(name, k)
        else:
            members = np.asarray(territory_group) == k if K > 1 else np.ones(shape[0], bool)
            places = np.arange(math.prod(shape)).reshape(shape) + arena.offsets[name]
            yield k, [int(members.sum()), *shape[1:]], places[members].reshape(-1)


def in_backward_order(blocks: list[Block]) -> list[Block]:
    """Blocks of groups first, whose zeros show the mask, then shared blocks; each in the order of backpropagation."""
    place = {name: n for n, name in enumerate(dict.fromkeys(block.parameter for block in blocks))}
    order = list(dict.fromkeys([*PARTS.values(), *(block.part for block in blocks)]))
    return sorted(blocks, key=lambda b: (b.owner is None, order.index(b.part), -place[b.parameter], b.owner or 0))

"""What the units of a batch are doing: activations of all rows, and which ReLU units are dead.

A unit is dead where it is at its floor for every row: it says nothing about them, and no gradient comes through it.
In one batch, that is; the next one may wake it up.
"""

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from twotower.model.engine.threads import Tile, chunked_tiles
from twotower.model.two_tower import TwoTower


class Activations(NamedTuple):
    """Outputs of the towers' layers for all unique rows of a batch, under its own batch-norm."""

    user1: np.ndarray  # (R, D) A1
    user2: np.ndarray  # (R, D) A2
    title1: np.ndarray  # (T, D)


class Dead(NamedTuple):
    """Dead units of one layer."""

    layer: str  # "user.1", "user.2", "title.1", "title.2" or "head"
    units: int  # D
    dead: int | None  # at the floor for all rows of the batch; None where there is no ReLU
    by_group: list[int | None] | None  # for all rows of each group; None for absent groups, and for titles


def activations(model: TwoTower, batch: Any) -> Activations:
    """A1 and A2 of all rows, again from Z1 and Z2, as the backward pass does. The batch is the model's last one."""
    R, T, D = len(batch.user_counts), len(batch.title_counts), model.config.hidden
    user, title = model.user_tower, model.title_tower
    found = Activations(*(np.empty((rows, D), np.float32) for rows in (R, R, T)))

    def users(run: list[Tile]) -> None:
        work = model.user_work
        for tile in run:
            user.norm1.forward(found.user1[tile.rows], work.Z1[tile.rows], work.stats1, tile.group)
            user.norm2.forward(found.user2[tile.rows], work.Z2[tile.rows], work.stats2, tile.group)

    def titles(run: list[Tile]) -> None:
        work = model.title_work
        for tile in run:
            title.norm1.forward(found.title1[tile.rows], work.Z1[tile.rows], work.stats1, tile.group)

    model.threads.run(users, chunked_tiles(batch.segments))
    model.threads.run(titles, chunked_tiles(np.array([0, T])))
    return found


def dead_units(model: TwoTower, batch: Any, found: Activations) -> list[Dead]:
    """Dead units of each layer of both towers and of the heads. The batch is the model's last one."""
    R, T, K = len(batch.user_counts), len(batch.title_counts), model.config.groups
    shape = model.config
    of_all = np.array([0, T])
    layers = [
        ("user.1", found.user1, 0.0, batch.segments),
        ("user.2", found.user2, shape.tower_floor, batch.segments),
        ("title.1", found.title1, 0.0, of_all),
        ("title.2", model.V[:T], shape.output_floor, of_all),
    ]
    if shape.head != "none":
        layers.append(("head", model.U[:R], shape.head_floor, batch.segments))
    return [count(name, A, floor, segments, K) for name, A, floor, segments in layers]


def count(layer: str, A: np.ndarray, floor: float, segments: np.ndarray, groups: int) -> Dead:
    """Dead units among the columns of A (n, D), whose rows of group k are segments[k]:segments[k+1]."""
    if math.isinf(floor):
        return Dead(layer, A.shape[1], None, None)
    alive = [(A[start:stop] > floor).any(0) for start, stop in pairwise(segments)]
    whole = int((~np.any(alive, axis=0)).sum())
    if len(alive) != groups or layer.startswith("title"):
        return Dead(layer, A.shape[1], whole, None)
    sizes = np.diff(segments)
    by_group = [int((~of).sum()) if n else None for of, n in zip(alive, sizes, strict=True)]
    return Dead(layer, A.shape[1], whole, by_group)

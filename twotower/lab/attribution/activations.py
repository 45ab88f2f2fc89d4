"""What the units of a batch do: activations of all rows, and dead ReLU units.

A unit is dead where it is at its floor for every row of the batch: it carries no information about them, and no
gradient passes through it. It may be active again in another batch.
"""

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from twotower.lab.attribution.record import DeadUnits
from twotower.model.engine.threads import Tile, chunked_tiles
from twotower.model.two_tower import TwoTower


class Activations(NamedTuple):
    """Outputs of the towers' layers for all unique rows of a batch, under its own batch-norm."""

    user1: np.ndarray  # (R, D) A1
    user2: np.ndarray  # (R, D) A2
    title1: np.ndarray  # (T, D)


def activations(model: TwoTower, batch: Any) -> Activations:
    """A1 and A2 of all rows of the model's last batch, recomputed from Z1 and Z2 as the backward pass does."""
    R, T, D = len(batch.user_counts), len(batch.title_counts), model.config.hidden
    user, title = model.user_tower, model.title_tower
    result = Activations(*(np.empty((rows, D), np.float32) for rows in (R, R, T)))

    def users(run: list[Tile]) -> None:
        work = model.user_work
        for tile in run:
            user.norm1.forward(result.user1[tile.rows], work.Z1[tile.rows], work.stats1, tile.group)
            user.norm2.forward(result.user2[tile.rows], work.Z2[tile.rows], work.stats2, tile.group)

    def titles(run: list[Tile]) -> None:
        work = model.title_work
        for tile in run:
            title.norm1.forward(result.title1[tile.rows], work.Z1[tile.rows], work.stats1, tile.group)

    model.threads.run(users, chunked_tiles(batch.segments))
    model.threads.run(titles, chunked_tiles(np.array([0, T])))
    return result


def dead_units(model: TwoTower, batch: Any, A: Activations) -> list[DeadUnits]:
    """Dead units of each layer of both towers and of the heads, in the model's last batch."""
    R, T, K = len(batch.user_counts), len(batch.title_counts), model.config.groups
    config = model.config
    all_titles = np.array([0, T])
    layers = [
        ("user.1", A.user1, 0.0, batch.segments),
        ("user.2", A.user2, config.tower_floor, batch.segments),
        ("title.1", A.title1, 0.0, all_titles),
        ("title.2", model.V[:T], config.output_floor, all_titles),
    ]
    if config.head != "none":
        layers.append(("head", model.U[:R], config.head_floor, batch.segments))
    return [count_dead(*layer, K) for layer in layers]


def count_dead(layer: str, A: np.ndarray, floor: float, segments: np.ndarray, groups: int) -> DeadUnits:
    """Dead units among the columns of A (n, D), whose rows of group k are segments[k]:segments[k+1]."""
    result: DeadUnits = {"layer": layer, "units": A.shape[1], "dead": None, "by_group": None}
    if math.isinf(floor):
        return result
    alive = [(A[start:stop] > floor).any(0) for start, stop in pairwise(segments)]
    result["dead"] = int((~np.any(alive, axis=0)).sum())
    if len(alive) == groups and not layer.startswith("title"):
        sizes = np.diff(segments)
        result["by_group"] = [int((~of).sum()) if n else None for of, n in zip(alive, sizes, strict=True)]
    return result

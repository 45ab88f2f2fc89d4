"""Dead ReLU units of a batch.

A unit is dead where it is at its floor for every row of the batch: it carries no information about them, and no
gradient passes through it. It may be active again in another batch.
"""

import math
from itertools import pairwise

import numpy as np

from twotower.data.batches import PairBatch
from twotower.lab.attribution.record import DeadUnits
from twotower.model.engine.threads import Tile, cut_into_tiles
from twotower.model.layers import BatchNormReLU, BatchStatistics
from twotower.model.parameters import Floats
from twotower.model.two_tower import TwoTower


def dead_units(model: TwoTower, batch: PairBatch) -> list[DeadUnits]:
    """Dead units of each layer of both towers and of the heads, in the model's last batch.

    A1 and A2 are recomputed from Z1 and Z2, as the backward pass does.
    """
    R, T, config = len(batch.user_counts), len(batch.title_counts), model.config
    users, titles, all_titles = model.user_work, model.title_work, np.array([0, T])

    def outputs(norm: BatchNormReLU, Z: Floats, stats: BatchStatistics, segments: np.ndarray) -> np.ndarray:
        A = np.empty_like(Z[: segments[-1]])

        def forward(tile: Tile) -> None:
            norm.forward(A[tile.rows], Z[tile.rows], stats, tile.group)

        model.threads.run(forward, cut_into_tiles(segments))
        return A

    A1 = outputs(model.user_tower.norm1, users.Z1, users.stats1, batch.segments)
    A2 = outputs(model.user_tower.norm2, users.Z2, users.stats2, batch.segments)
    layers = [
        ("user.1", A1, 0.0, batch.segments),
        ("user.2", A2, config.tower_floor, batch.segments),
        ("title.1", outputs(model.title_tower.norm1, titles.Z1, titles.stats1, all_titles), 0.0, all_titles),
        ("title.2", model.V[:T], config.output_floor, all_titles),
    ]
    if config.head != "none":
        layers.append(("head", model.U[:R], config.head_floor, batch.segments))
    return [count_dead(*layer, config.groups) for layer in layers]


def count_dead(layer: str, A: np.ndarray, floor: float, segments: np.ndarray, groups: int) -> DeadUnits:
    """Dead units among the columns of A (n, D), whose rows of group k are segments[k]:segments[k+1]."""
    if math.isinf(floor):
        return DeadUnits(layer, A.shape[1], None, None)
    alive = [(A[start:stop] > floor).any(0) for start, stop in pairwise(segments)]
    by_group = None
    if len(alive) == groups and not layer.startswith("title"):
        by_group = [int((~of).sum()) if n else None for of, n in zip(alive, np.diff(segments), strict=True)]
    return DeadUnits(layer, A.shape[1], int((~np.any(alive, axis=0)).sum()), by_group)

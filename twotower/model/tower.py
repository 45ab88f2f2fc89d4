"""A tower: two dense layers with batch-norm and ReLU, one pass over the tiles of rows for each.

Of a batch it keeps Z1, Z2 and one gradient; A1 is computed again on the way back, tile by tile, while it is in cache.
Both towers go through a layer in one pass, so that all threads have work until the layer is over.
"""

from collections.abc import Callable, Sequence

import numpy as np

from twotower.model.engine.threads import CHUNKS, TILE_ROWS, Threads, Tile
from twotower.model.exchange import Exchange
from twotower.model.layers import BatchNormReLU, BatchStatistics, Dense, GradientSums, Scratch, ScratchPool, pools_of
from twotower.model.parameters import Arena, Parameter, constant, uniform

Runs = list[list[Tile]]  # the tiles of a batch, chunk by chunk


class Tower:
    """Two dense layers, each with batch-norm and ReLU; ``floor`` is that of the last one."""

    @staticmethod
    def parameters(name: str, F: int, D: int) -> dict[str, Parameter]:
        """W1 (F, D), W2 (D, D), and a gamma and beta (D,) per layer, which all groups share."""
        declared: dict[str, Parameter] = {}
        for layer, inputs in (("1", F), ("2", D)):
            declared[f"{name}.W{layer}"] = Parameter((inputs, D), uniform, decay="tower")
            declared[f"{name}.gamma{layer}"] = Parameter((D,), constant(1))
            declared[f"{name}.beta{layer}"] = Parameter((D,))
        return declared

    def __init__(self, name: str, params: Arena, grads: Arena, running: Arena, floor: float):
        self.dense1 = Dense(f"{name}.W1", params, input_gradient=False)
        self.norm1 = BatchNormReLU(name, "1", params, grads, running, 0.0)
        self.dense2 = Dense(f"{name}.W2", params)
        self.norm2 = BatchNormReLU(name, "2", params, grads, running, floor)


class TowerWork:
    """What a tower keeps of a batch between its passes."""

    def __init__(self, rows: int, D: int, groups: int, pools: int = 1):
        self.rows = rows
        self.Z1, self.Z2, self.dY = (np.empty((rows, D), np.float32) for _ in range(3))
        tiles = rows // TILE_ROWS + groups + CHUNKS
        self.stats1, self.stats2 = BatchStatistics(D, tiles, pools), BatchStatistics(D, tiles, pools)


class TowerBatch:
    """A batch in a tower: its rows X (n, F), how often each occurs, counts (n,), and the tiles that they are cut into.

    A layer's method does one tile; it may be called by several threads for different tiles.
    """

    def __init__(self, tower: Tower, X: np.ndarray, counts: np.ndarray, runs: Runs, work: TowerWork):
        self.tower, self.X, self.counts, self.runs, self.work = tower, X, counts, runs, work
        self.pools = pools_of(runs, len(work.stats1.pairs))

    def first(self, tile: Tile, scratch: Scratch) -> None:
        """Z1 = X W1."""
        tower, work = self.tower, self.work
        Z1 = tower.dense1.forward(work.Z1[tile.rows], self.X[tile.rows], scratch)
        tower.norm1.observe(work.stats1, tile, Z1, self.counts[tile.rows])

    def second(self, tile: Tile, scratch: Scratch) -> None:
        """A1 = relu(batchnorm(Z1)), Z2 = A1 W2."""
        tower, work = self.tower, self.work
        Z1 = work.Z1[tile.rows]
        A1 = tower.norm1.forward(scratch.A[: len(Z1)], Z1, work.stats1, tile.group)
        Z2 = tower.dense2.forward(work.Z2[tile.rows], A1, scratch)
        tower.norm2.observe(work.stats2, tile, Z2, self.counts[tile.rows])

    def second_backward(self, tile: Tile, scratch: Scratch, sums: GradientSums) -> None:
        """From ``work.dY``, the gradient before the last ReLU, to that before the first; A1 is computed again."""
        tower, work = self.tower, self.work
        Z1, Z2, dY = work.Z1[tile.rows], work.Z2[tile.rows], work.dY[tile.rows]
        n = len(Z1)
        dZ2 = tower.norm2.backward(scratch.dZ[:n], dY, Z2, self.counts[tile.rows], work.stats2, tile.group)
        A1 = tower.norm1.forward(scratch.A[:n], Z1, work.stats1, tile.group)
        tower.dense2.backward_weights(sums, tile, A1, dZ2, scratch)
        dA1 = tower.dense2.backward_input(scratch.dA[:n], dZ2, scratch)
        tower.norm1.backward_relu(work.stats1, tile, dY, dA1, A1, Z1)

    def first_backward(self, tile: Tile, scratch: Scratch, sums: GradientSums) -> None:
        """From the gradient before the first ReLU to that of W1."""
        tower, work = self.tower, self.work
        Z1, dY = work.Z1[tile.rows], work.dY[tile.rows]
        dZ1 = tower.norm1.backward(scratch.dZ[: len(Z1)], dY, Z1, self.counts[tile.rows], work.stats1, tile.group)
        tower.dense1.backward_weights(sums, tile, self.X[tile.rows], dZ1, scratch)


def forward(
    towers: Sequence[TowerBatch], threads: Threads, scratches: ScratchPool, training: bool, exchange: Exchange
) -> None:
    """Z1 and Z2 of all rows, and batch-norm's moments: the batch's own in training, else the running ones."""
    for layer, number in ((TowerBatch.first, 1), (TowerBatch.second, 2)):
        sweep(towers, layer, threads, scratches)
        for on in towers:
            norm, stats = getattr(on.tower, f"norm{number}"), getattr(on.work, f"stats{number}")
            if training:
                norm.combine(stats, on.pools, exchange)
            else:
                norm.use_running(stats)


def backward(
    towers: Sequence[TowerBatch], threads: Threads, scratches: ScratchPool, sums: GradientSums, exchange: Exchange
) -> None:
    """All gradients of the towers, from ``work.dY``: the gradient before the last ReLU, with its tiles' sums."""
    for layer, number in ((TowerBatch.second_backward, 2), (TowerBatch.first_backward, 1)):
        for on in towers:
            norm, stats = getattr(on.tower, f"norm{number}"), getattr(on.work, f"stats{number}")
            norm.combine_backward(stats, on.pools, exchange)
        sweep(towers, layer, threads, scratches, sums)


def sweep(
    towers: Sequence[TowerBatch], layer: Callable[..., None], threads: Threads, scratches: ScratchPool, *rest: object
) -> None:
    """One pass over all tiles of the towers; the runs of tiles are shared out among the threads."""

    def one_run(task: tuple[TowerBatch, list[Tile]]) -> None:
        on, run = task
        with scratches.borrow() as scratch:
            for tile in run:
                layer(on, tile, scratch, *rest)

    threads.run(one_run, [(on, run) for on in towers for run in on.runs])

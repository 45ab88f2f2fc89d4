"""A tower: two dense layers with batch-norm and ReLU, one pass over the tiles of rows for each.

Of a batch it keeps Z1, Z2 and one gradient; A1 is computed again on the way back, tile by tile, while it is in cache.
"""

import numpy as np

from twotower.nn.arena import Arena
from twotower.nn.layers import BatchNormReLU, BatchStatistics, Dense, GradientSums, ScratchPool
from twotower.nn.workers import CHUNKS, TILE_ROWS, Tile, Workers

Runs = list[list[Tile]]  # the tiles of a batch, chunk by chunk


class TowerWork:
    """What a tower keeps of a batch between its passes."""

    def __init__(self, rows: int, D: int, groups: int):
        self.rows = rows
        self.Z1, self.Z2, self.dY = (np.empty((rows, D), np.float32) for _ in range(3))
        tiles = rows // TILE_ROWS + groups + CHUNKS
        self.stats1, self.stats2 = BatchStatistics(D, tiles), BatchStatistics(D, tiles)


class Tower:
    """Two dense layers, each with batch-norm and ReLU; the last has the floor that it is given."""

    def __init__(self, name: str, params: Arena, grads: Arena, running: Arena, floor: float):
        self.dense1 = Dense(f"{name}.W1", params, input_gradient=False)
        self.norm1 = BatchNormReLU(name, "1", params, grads, running, 0.0)
        self.dense2 = Dense(f"{name}.W2", params)
        self.norm2 = BatchNormReLU(name, "2", params, grads, running, floor)

    def forward(
        self, X: np.ndarray, counts: np.ndarray, runs: Runs, work: TowerWork,
        workers: Workers, scratches: ScratchPool, training: bool,
    ) -> None:  # fmt: skip
        """Z1 and Z2 of all rows, and batch-norm's moments: the batch's own in training, else the running ones."""
        tiles = sum(map(len, runs))

        def first(run: list[Tile]) -> None:
            with scratches.borrow() as scratch:
                for tile in run:
                    Z1 = self.dense1.forward(work.Z1[tile.rows], X[tile.rows], scratch)
                    if training:
                        self.norm1.observe(work.stats1, tile, Z1, counts[tile.rows])

        def second(run: list[Tile]) -> None:
            with scratches.borrow() as scratch:
                for tile in run:
                    Z1 = work.Z1[tile.rows]
                    A1 = self.norm1.forward(scratch.A[: len(Z1)], Z1, work.stats1)
                    Z2 = self.dense2.forward(work.Z2[tile.rows], A1, scratch)
                    if training:
                        self.norm2.observe(work.stats2, tile, Z2, counts[tile.rows])

        for layer_pass, norm, stats in ((first, self.norm1, work.stats1), (second, self.norm2, work.stats2)):
            workers.run(layer_pass, runs)
            if training:
                norm.combine(stats, tiles)
            else:
                norm.use_running(stats)

    def backward(
        self, X: np.ndarray, counts: np.ndarray, runs: Runs, work: TowerWork, B: int,
        workers: Workers, scratches: ScratchPool, sums: GradientSums,
    ) -> None:  # fmt: skip
        """All gradients of the tower, from ``work.dY``: the gradient before the last ReLU, with its tiles' sums."""
        tiles = sum(map(len, runs))

        def second(run: list[Tile]) -> None:
            with scratches.borrow() as scratch:
                for tile in run:
                    Z1, Z2, dY = work.Z1[tile.rows], work.Z2[tile.rows], work.dY[tile.rows]
                    n = len(Z1)
                    dZ2 = self.norm2.backward(scratch.dZ[:n], dY, Z2, counts[tile.rows], work.stats2, B)
                    A1 = self.norm1.forward(scratch.A[:n], Z1, work.stats1)
                    self.dense2.backward_weights(sums, tile, 0, A1, dZ2, scratch)
                    dA1 = self.dense2.backward_input(scratch.dA[:n], dZ2, scratch)
                    self.norm1.backward_relu(work.stats1, tile, dY, dA1, A1, Z1)

        def first(run: list[Tile]) -> None:
            with scratches.borrow() as scratch:
                for tile in run:
                    Z1, dY = work.Z1[tile.rows], work.dY[tile.rows]
                    dZ1 = self.norm1.backward(scratch.dZ[: len(Z1)], dY, Z1, counts[tile.rows], work.stats1, B)
                    self.dense1.backward_weights(sums, tile, 0, X[tile.rows], dZ1, scratch)

        self.norm2.combine_backward(work.stats2, tiles)
        workers.run(second, runs)
        self.norm1.combine_backward(work.stats1, tiles)
        workers.run(first, runs)

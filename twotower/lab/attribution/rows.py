"""Single users of a batch: their pairs, and how large the gradient is at each station of its way back."""

from typing import Any, NamedTuple

import numpy as np

from twotower.lab.attribution.units import Activations
from twotower.model import reference
from twotower.model.engine import kernels
from twotower.model.two_tower import TwoTower

ROWS = 6  # of a group
PAIRS = 12  # of a row, at most
RULE = (
    f"Of each group {ROWS} users: by the norm of dU from the largest to the smallest, at equal steps of the rank. "
    f"Of a user at most {PAIRS} pairs, those with the largest |dz|."
)


class RowGradients(NamedTuple):
    """Norms (n,) of the gradients of some rows, from the head's output back to the first layer."""

    U: np.ndarray
    A2: np.ndarray
    Z2: np.ndarray
    Z1: np.ndarray


def chosen_rows(dU: np.ndarray, segments: np.ndarray, most: int = ROWS) -> list[tuple[int, int]]:
    """(row, group) of at most ``most`` rows of each group, by ``RULE``; dU is (R, D). Of equals the earlier first."""
    size = np.linalg.norm(dU.astype(np.float64), axis=1)  # (R,)
    found = []
    for k, (start, stop) in enumerate(zip(segments[:-1].tolist(), segments[1:].tolist(), strict=True)):
        ranked = start + np.argsort(-size[start:stop], kind="stable")
        ranks = np.unique(np.linspace(0, len(ranked) - 1, min(most, len(ranked))).round().astype(int))
        found += [(int(row), k) for row in ranked[ranks]]
    return found


def embedding_gradients(model: TwoTower, batch: Any) -> np.ndarray:
    """dU (R, D) of the model's last pass: what the pairs of each row send to its embedding."""
    B, R = len(batch.labels), len(batch.user_counts)
    dU = np.empty((R, model.config.hidden), np.float32)
    kernels.user_gradient(dU, model.pairs.ddots[:B], model.V, batch.pair_start, batch.pair_title)
    return dU


def row_gradients(
    model: TwoTower, batch: Any, chosen: list[tuple[int, int]], dU: np.ndarray, A: Activations
) -> RowGradients:
    """Gradients at four stations of the model's last pass, for some rows (row, group).

    dU is summed from the pairs' gradients in the workspace, and goes back through the head and the second batch-norm
    with the sums of all rows that share its moments; at the first layer the workspace holds the gradient before the
    ReLU.
    """
    rows = np.array([row for row, _ in chosen], np.intp)
    A2, head_output = A.user2[rows], model.U[rows]
    params = dict(model.params)
    if model.config.head == "cross-stitch":
        params["head.W"] = reference.stitch(params["head.alpha"], params["stitch.W"])
    dA2 = np.empty_like(A2)
    for n, (row, k) in enumerate(chosen):
        one = slice(n, n + 1)
        territory = batch.user_territory[row : row + 1] if len(batch.user_territory) else None
        back = reference.head_backward(params, k, dU[row : row + 1], head_output[one], A2[one], model.config, territory)
        dA2[n] = back[1][0]
    work, tower = model.user_work, model.user_tower
    dY2 = np.where(tower.norm2.floor < A2, dA2, np.float32(0))
    dZ2, dZ1 = np.empty_like(dY2), np.empty_like(dY2)
    for n, (row, k) in enumerate(chosen):
        one, at = slice(n, n + 1), slice(row, row + 1)
        tower.norm2.backward(dZ2[one], dY2[one], work.Z2[at], batch.user_counts[at], work.stats2, k)
        tower.norm1.backward(dZ1[one], work.dY[at], work.Z1[at], batch.user_counts[at], work.stats1, k)
    sizes = [np.linalg.norm(gradient.astype(np.float64), axis=1) for gradient in (dU[rows], dA2, dZ2, dZ1)]
    return RowGradients(*sizes)


def pairs_of(batch: Any, row: int, dz: np.ndarray, most: int = PAIRS) -> np.ndarray:
    """Pairs of a user row, those with the largest |dz| where there are too many, in the batch's order."""
    pairs = np.arange(batch.pair_start[row], batch.pair_start[row + 1])
    largest = np.argsort(-np.abs(dz[pairs]), kind="stable")[:most]
    return pairs[np.sort(largest)]

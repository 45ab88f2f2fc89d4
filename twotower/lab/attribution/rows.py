"""Single users of a batch: their pairs, and the norm of the gradient at each step of backpropagation."""

from typing import Any, NamedTuple

import numpy as np

from twotower.lab.attribution.activations import Activations
from twotower.lab.attribution.record import UserRow
from twotower.lab.subject import Subject
from twotower.model import reference
from twotower.model.engine import kernels
from twotower.model.two_tower import TwoTower

ROWS = 6  # per group
PAIRS = 12  # per row, at most
RULE = (
    f"{ROWS} users per group: by the norm of dU from largest to smallest, at equal steps of the rank. "
    f"At most {PAIRS} pairs per user, those with the largest |dz|."
)


class RowGradients(NamedTuple):
    """Norms (n,) of the gradients of some rows, from the head's output back to the first layer."""

    U: np.ndarray
    A2: np.ndarray
    Z2: np.ndarray
    Z1: np.ndarray


def user_rows(subject: Subject, A: Activations) -> list[UserRow]:
    """Some users of each group, selected by ``RULE``. The model's last batch is the subject's."""
    model, batch, dataset = subject.model, subject.batch, subject.dataset
    dU, dz = embedding_gradients(model, batch), model.pairs.dz[: len(batch.labels)]
    probability = reference.sigmoid(model.pairs.z[: len(batch.labels)].astype(np.float64))
    selected = select_rows(dU, batch.segments)
    gradients = row_gradients(model, batch, selected, dU, A)._asdict()
    rows: list[UserRow] = []
    for n, (row, k) in enumerate(selected):
        user = int(batch.user_rows[row])
        rows.append({
            "user": dataset.user_ids[user] if dataset.user_ids else str(user),
            "group": k,
            "territory": dataset.territories.code[dataset.user_territory[user]],
            "pairs_in_batch": int(batch.user_counts[row]),
            "pairs": [
                {
                    "title": dataset.title_ids[batch.title_rows[batch.pair_title[i]]],
                    "label": int(batch.labels[i]),
                    "probability": probability[i],
                    "dz": dz[i],
                }
                for i in pairs_of(batch, row, dz)
            ],
            "gradient": {place: norms[n] for place, norms in gradients.items()},
        })  # fmt: skip
    return rows


def select_rows(dU: np.ndarray, segments: np.ndarray, most: int = ROWS) -> list[tuple[int, int]]:
    """(row, group) of at most ``most`` rows of each group, by ``RULE``; dU is (R, D). Ties: the earlier row first."""
    size = np.linalg.norm(dU.astype(np.float64), axis=1)  # (R,)
    selected = []
    for k, (start, stop) in enumerate(zip(segments[:-1].tolist(), segments[1:].tolist(), strict=True)):
        ranked = start + np.argsort(-size[start:stop], kind="stable")
        ranks = np.unique(np.linspace(0, len(ranked) - 1, min(most, len(ranked))).round().astype(int))
        selected += [(int(row), k) for row in ranked[ranks]]
    return selected


def embedding_gradients(model: TwoTower, batch: Any) -> np.ndarray:
    """dU (R, D) of the model's last pass, summed over the pairs of each row."""
    B, R = len(batch.labels), len(batch.user_counts)
    dU = np.empty((R, model.config.hidden), np.float32)
    kernels.user_gradient(dU, model.pairs.ddots[:B], model.V, batch.pair_start, batch.pair_title)
    return dU


def row_gradients(
    model: TwoTower, batch: Any, selected: list[tuple[int, int]], dU: np.ndarray, A: Activations
) -> RowGradients:
    """Norms of gradients in the model's last pass, for some rows (row, group).

    dU goes back through the head and the second batch-norm, with the sums over all rows that share its moments. At the
    first layer the workspace holds the gradient before the ReLU.
    """
    rows = np.array([row for row, _ in selected], np.intp)
    A2, head_output = A.user2[rows], model.U[rows]
    params = dict(model.params)
    if model.config.head == "cross-stitch":
        params["head.W"] = reference.stitch(params["head.alpha"], params["stitch.W"])
    dA2 = np.empty_like(A2)
    for n, (row, k) in enumerate(selected):
        one = slice(n, n + 1)
        territory = batch.user_territory[row : row + 1] if len(batch.user_territory) else None
        back = reference.head_backward(params, k, dU[row : row + 1], head_output[one], A2[one], model.config, territory)
        dA2[n] = back[1][0]
    work, tower = model.user_work, model.user_tower
    dY2 = np.where(tower.norm2.floor < A2, dA2, np.float32(0))
    dZ2, dZ1 = np.empty_like(dY2), np.empty_like(dY2)
    for n, (row, k) in enumerate(selected):
        one, at = slice(n, n + 1), slice(row, row + 1)
        tower.norm2.backward(dZ2[one], dY2[one], work.Z2[at], batch.user_counts[at], work.stats2, k)
        tower.norm1.backward(dZ1[one], work.dY[at], work.Z1[at], batch.user_counts[at], work.stats1, k)
    sizes = [np.linalg.norm(gradient.astype(np.float64), axis=1) for gradient in (dU[rows], dA2, dZ2, dZ1)]
    return RowGradients(*sizes)


def pairs_of(batch: Any, row: int, dz: np.ndarray, most: int = PAIRS) -> np.ndarray:
    """Pairs of a user row in the batch's order; at most ``most``, those with the largest |dz|."""
    pairs = np.arange(batch.pair_start[row], batch.pair_start[row + 1])
    largest = np.argsort(-np.abs(dz[pairs]), kind="stable")[:most]
    return pairs[np.sort(largest)]

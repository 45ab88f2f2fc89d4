"""What the mask keeps out: gradients of every head from the rows of every group, on the same batch.

With the mask, head k gets the rows of group k. Without it the loss is Σ_k Σ_i BCE(z_ik, y_i) / B over all rows i, as if
all K columns of the one-hot mask were 1, and every group's rows move head k. The towers do not depend on the mask, so a
pass of the model in which group j's rows go through head (j + shift) mod K gives one cell of each head's row: K − 1
such passes give all cells off the diagonal. The diagonal is the pass with the mask.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from twotower.data.batches import Batch
from twotower.model.loss import MaskedLoss
from twotower.model.parameters import Arena
from twotower.model.two_tower import TwoTower
from twotower.model.variants.objective import Objective


class UnmaskedGradients(NamedTuple):
    """Norms of the gradients of what each group owns, by the group of the rows that they come from."""

    blocks: dict[str, np.ndarray]  # parameter → (K heads, K groups); the diagonal is what the mask lets through
    others: dict[str, np.ndarray]  # parameter → (K heads,) norm of the sum over all other groups' rows

    def of(self, prefix: str = "") -> tuple[np.ndarray, np.ndarray]:
        """Both over all parameters with this prefix: (K heads, K groups) and (K heads,)."""
        names = [name for name in self.blocks if name.startswith(prefix)]
        return (
            np.sqrt(np.sum([self.blocks[name] ** 2 for name in names], 0)),
            np.sqrt(np.sum([self.others[name] ** 2 for name in names], 0)),
        )


def gradients_without_mask(model: TwoTower, batch: Batch, whole: Arena) -> UnmaskedGradients:
    """Gradients of every head from the rows of every group; ``whole`` is the gradient of the batch with the mask.

    The objective's weights and offsets of pairs apply as in training. A penalty on all logits at once needs one logit
    per pair, and stays on the diagonal. Updates the running statistics.
    """
    K = model.config.groups
    names = [name for name in model.params if name.startswith(("head.", "title_bias."))]
    norms = {name: np.zeros((K, K)) for name in names}
    sums = {name: np.zeros(model.params.shapes[name]) for name in names}
    for name in names:
        np.fill_diagonal(norms[name], [np.linalg.norm(part) for part in whole[name].astype(np.float64)])
    for shift in range(1, K) if names else ():
        model.loss_and_gradients(shifted(batch, shift), shifted_objective(model.objective, shift))
        for name in names:
            for k, part in enumerate(model.grads[name].astype(np.float64)):
                norms[name][k, (k - shift) % K] = np.linalg.norm(part)
                sums[name][k] += part
    others = {name: np.array([np.linalg.norm(part) for part in sums[name]]) for name in names}
    return UnmaskedGradients(norms, others)


def shifted(batch: Batch, shift: int) -> Batch:
    """The same pairs with the rows of group j assigned to group (j + shift) mod K."""
    sizes = np.roll(np.diff(batch.segments), shift)
    ends = batch.segments[len(sizes) - shift]  # rows from here on come first
    rows = np.roll(np.arange(len(batch.user_rows)), len(batch.user_rows) - ends)
    moved_pairs = len(batch) - batch.pair_start[ends]
    pairs = np.roll(np.arange(len(batch)), moved_pairs)
    counts = np.diff(batch.pair_start)[rows]
    territory = batch.user_territory[rows] if len(batch.user_territory) else batch.user_territory
    return replace(
        batch,
        user_features=batch.user_features[rows],
        user_rows=batch.user_rows[rows],
        user_counts=batch.user_counts[rows],
        user_territory=territory,
        segments=np.concatenate([[0], np.cumsum(sizes)]),
        pair_start=np.concatenate([[0], np.cumsum(counts)]),
        pair_user=np.repeat(np.arange(len(rows), dtype=batch.pair_user.dtype), counts),
        pair_title=batch.pair_title[pairs],
        labels=batch.labels[pairs],
        order=batch.order[pairs],
    )


def shifted_objective(objective: MaskedLoss, shift: int) -> MaskedLoss:
    """The same weights and offsets for the pairs of a shifted batch, without the penalty."""
    if not isinstance(objective, Objective):
        return objective
    weight = objective.group_weight
    if objective.uncertainty is not None:
        precision = np.exp(-objective.uncertainty.log_variance)
        weight = precision if weight is None else precision * weight
    by_label = None if weight is None else np.roll(weight, shift)
    return replace(objective, group_weight=by_label, uncertainty=None, penalty=0.0)

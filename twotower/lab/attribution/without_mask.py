"""What the mask keeps out: gradients of every head from the rows of every group, on the same batch.

With the mask, head k gets the rows of group k. Without it the loss is Σ_k Σ_i BCE(z_ik, y_i) / B over all rows i, as if
all K columns of the one-hot mask were 1, and every group's rows move head k. The towers do not depend on the mask, so a
pass of the model in which group j's rows go through head (j + shift) mod K gives one cell of each head's row: K − 1
such passes give all cells off the diagonal. The diagonal is the pass with the mask.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from twotower.lab.attribution.blocks import part_of
from twotower.lab.subject import Subject, pairs_of
from twotower.model.loss import MaskedLoss
from twotower.model.parameters import Arena
from twotower.model.variants.objective import Objective


class UnmaskedGradients(NamedTuple):
    """Norms of the gradients of what each group owns, by the group of the rows that they come from."""

    blocks: dict[str, np.ndarray]  # parameter → (K heads, K groups); the diagonal is what the mask lets through
    others: dict[str, np.ndarray]  # parameter → (K heads,) norm of the sum over all other groups' rows

    def of(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Both over all parameters of a part: (K heads, K groups) and (K heads,)."""
        names = [name for name in self.blocks if part_of(name) == part]
        blocks, others = (np.sqrt(sum(norms[name] ** 2 for name in names)) for norms in self)
        return blocks, others


def gradients_without_mask(subject: Subject, whole: Arena) -> UnmaskedGradients:
    """Gradients of every head from the rows of every group; ``whole`` is the gradient of the batch with the mask.

    The objective's weights and offsets of pairs apply as in training. A penalty on all logits at once needs one logit
    per pair, and stays on the diagonal. Updates the running statistics.
    """
    model, K, pairs = subject.model, subject.model.config.groups, pairs_of(subject.batch)
    names = [name for name, parameter in model.parameters.items() if parameter.owner == "group" and K > 1]
    norms = {name: np.diag([np.linalg.norm(part) for part in whole[name].astype(np.float64)]) for name in names}
    sums = {name: np.zeros(model.params.shapes[name]) for name in names}
    for shift in range(1, K) if names else ():
        batch = subject.make_batch(pairs, (subject.trainer.members + shift) % K)
        model.loss_and_gradients(batch, shifted_objective(model.objective, shift))
        for name in names:
            for k, part in enumerate(model.grads[name].astype(np.float64)):
                norms[name][k, (k - shift) % K] = np.linalg.norm(part)
                sums[name][k] += part
    return UnmaskedGradients(norms, {name: np.array([*map(np.linalg.norm, of_all)]) for name, of_all in sums.items()})


def shifted_objective(objective: MaskedLoss, shift: int) -> MaskedLoss:
    """The same weights and offsets where pairs of group j are in group (j + shift) mod K, without the penalty."""
    if not isinstance(objective, Objective):
        return objective
    weight = objective.group_weight
    if objective.uncertainty is not None:
        precision = np.exp(-objective.uncertainty.log_variance)
        weight = precision if weight is None else precision * weight
    by_label = None if weight is None else np.roll(weight, shift)
    return replace(objective, group_weight=by_label, uncertainty=None, penalty=0.0)

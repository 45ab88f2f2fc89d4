"""Gradient surgery: where two groups pull the shared towers against each other, neither takes from the other.

PCGrad, Algorithm 1 of Yu et al. 2020. A group's gradient comes from the model's own backward pass, with the batch-norm
of the whole batch, in which the pairs of the other groups send nothing back: K passes a step.
"""

from typing import Any

import numpy as np

from twotower.model.two_tower import Losses, TwoTower


def loss_and_gradients(model: TwoTower, batch: Any, rng: np.random.Generator) -> Losses:
    """Loss of a batch, and in ``model.grads`` the sum of the groups' gradients, those of the towers projected first.

    Running statistics move once.
    """
    present = np.flatnonzero(np.diff(batch.segments))
    towers = slice(0, model.params.span("title.beta2").stop)
    found, rest, running = [], np.zeros_like(model.grads.flat[towers.stop :]), None
    for k in present.tolist():
        losses = model.loss_and_gradients(batch, only=k)
        found.append(model.grads.flat[towers].copy())
        rest += model.grads.flat[towers.stop :]
        running = model.running.flat.copy() if running is None else running
    model.running.flat[:] = running
    model.grads.flat[towers] = project(np.stack(found), rng)
    model.grads.flat[towers.stop :] = rest
    return losses


def project(gradients: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sum (n,) of gradients (K, n), each without its components against the others, taken in random order."""
    squares = np.einsum("kn,kn->k", gradients, gradients)
    total = np.zeros_like(gradients[0])
    for k in range(len(gradients)):
        mine = gradients[k].copy()
        for other in rng.permutation(len(gradients)).tolist():
            along = np.dot(mine, gradients[other])
            if other != k and along < 0:
                mine -= along / squares[other] * gradients[other]
        total += mine
    return total

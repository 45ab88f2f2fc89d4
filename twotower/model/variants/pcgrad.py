"""PCGrad, Algorithm 1 of Yu et al. 2020: where the gradients of two groups conflict, each loses its component along
the other.

A group's gradient comes from the model's own backward pass, with the batch-norm of the whole batch, in which the pairs
of the other groups send nothing back: K passes per step. Only the towers, which all groups share, are projected.
"""

import numpy as np

from twotower.model.batch import Batch
from twotower.model.loss import Losses, Network
from twotower.model.parameters import Floats
from twotower.model.variants.one_group import gradients_of_group


def loss_and_gradients(model: Network, batch: Batch, rng: np.random.Generator) -> Losses:
    """Loss of a batch, and in ``model.grads`` the sum of the groups' gradients, those of the towers projected first.

    Running statistics move once.
    """
    present = np.flatnonzero(np.diff(batch.segments))
    towers = slice(0, model.params.span("title.beta2").stop)
    gradients, rest, running = [], np.zeros_like(model.grads.flat[towers.stop :]), None
    for k in present.tolist():
        losses = gradients_of_group(model, batch, k)
        gradients.append(model.grads.flat[towers].copy())
        rest += model.grads.flat[towers.stop :]
        running = model.running.flat.copy() if running is None else running
    model.running.flat[:] = running
    model.grads.flat[towers] = project(np.stack(gradients), rng)
    model.grads.flat[towers.stop :] = rest
    return losses


def project(gradients: Floats, rng: np.random.Generator) -> Floats:
    """Sum (n,) of gradients (K, n), each without its components against the others, taken in random order."""
    squares = np.einsum("kn,kn->k", gradients, gradients)
    total = np.zeros_like(gradients[0])
    for k in range(len(gradients)):
        projected = gradients[k].copy()
        for other in rng.permutation(len(gradients)).tolist():
            along = np.dot(projected, gradients[other])
            if other != k and along < 0:
                projected -= along / squares[other] * gradients[other]
        total += projected
    return total

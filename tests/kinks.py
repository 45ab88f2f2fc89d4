"""Where a network cannot be differentiated, or float32 has no digits left: no gradient can be compared there."""

import numpy as np
import pytest

from twotower.model import reference


def exact(network, batch):
    """Loss and gradients of the textbook, in float64, on the expanded batch."""
    params = {name: value.astype(np.float64) for name, value in network.params.items()}
    return reference.loss_and_gradients(params, reference.expand(batch), network.config)


def flips(network, batch):
    """Whether a ReLU input lies within float32's rounding of 0, where single precision may take the other side."""
    nearest = [np.inf]
    originals = reference.batchnorm_relu, reference.head_output
    names = "batchnorm_relu", "head_output"

    def spy(original):
        def spying(*arguments):
            Y = original(*arguments[:-1], -np.inf)
            if np.isfinite(arguments[-1]) and Y.size:
                nearest.append(np.abs(Y).min())
            return np.maximum(Y, arguments[-1])

        return spying

    with pytest.MonkeyPatch.context() as patch:
        for name, original in zip(names, originals, strict=True):
            patch.setattr(reference, name, spy(original))
        exact(network, batch)
    return min(nearest) < 1e-4


def spread_of_rows(network, batch):
    """Batch-norm divides by the spread of a column: where that is nearly 0, float32 has no digits left."""
    rows = reference.expand(batch)
    group = rows.group if network.config.batchnorm == "group" else None
    _, tape = reference.tower(network.params, "user", rows.user_features, 0.0, group)
    _, other = reference.tower(network.params, "title", rows.title_features, 0.0)
    return all(layer[3].max() < 20 for t in (tape, other) for layer in t.layers)


def far_from_kinks(params, batch, model):
    """No ReLU input within reach of the step of the finite difference, where the derivative jumps."""
    nearest = [np.inf]
    original = reference.batchnorm_relu

    def spy(Z, mean, rstd, gamma, beta, floor):
        Y = original(Z, mean, rstd, gamma, beta, -np.inf)
        if np.isfinite(floor):
            nearest.append(np.abs(Y).min())
        return np.maximum(Y, floor)

    def spy_head(U, A, b, residual, floor):
        Y = U + residual * A + b
        if np.isfinite(floor) and Y.size:
            nearest.append(np.abs(Y).min())
        return np.maximum(Y, floor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "batchnorm_relu", spy)
        patch.setattr(reference, "head_output", spy_head)
        reference.loss_and_gradients(params, batch, model)
    return min(nearest) > 1e-3

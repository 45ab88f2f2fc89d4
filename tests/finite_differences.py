"""Finite differences: the independent check of every gradient.

A gradient is tested along a random direction with a random cotangent, in float64. A cotangent of ones would not do:
the gradient of a sum through batch-norm is 0, and a backward with a term missing would pass.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from twotower.core.config import ModelConfig
from twotower.lab.gradcheck.finite_differences import central_difference
from twotower.model import reference
from twotower.model.parameters import Floats

STEP = 1e-6  # of the central difference; its error is of order STEP² + rounding/STEP, about 1e-10
TOLERANCE = 1e-6  # relative; a gradient that is 0.1 % wrong has an error of about 5e-4


def relative_error(a: float, b: float, scale: float = 0.0) -> float:
    """|a − b| over their mean size, or over ``scale`` where that is larger; two zeros agree."""
    return abs(a - b) / max((abs(a) + abs(b)) / 2, scale, 1e-12)


def vjp_error(
    forward: Callable[..., Floats],
    backward: Callable[[Floats], Sequence[Floats]],
    inputs: Sequence[Floats],
    rng: np.random.Generator,
    step: float = STEP,
) -> float:
    """Relative error of a backward function against a central difference of its forward.

    ``backward(cotangent)`` returns the gradients of <forward(inputs), cotangent> for the inputs, float64 arrays.
    """
    cotangent = rng.standard_normal(np.shape(forward(*inputs)))
    directions = [rng.standard_normal(np.shape(x)) for x in inputs]

    def along(t: float) -> Floats:
        return forward(*(x + t * d for x, d in zip(inputs, directions, strict=True)))

    numeric = float(np.sum(cotangent * central_difference(along, step)))
    analytic = sum(float(np.sum(g * d)) for g, d in zip(backward(cotangent), directions, strict=True))
    return relative_error(numeric, analytic)


def model_errors(
    params: Mapping[str, Floats],
    batch: reference.ExpandedBatch,
    model: ModelConfig,
    gradients: Mapping[str, Floats],
    rng: np.random.Generator,
    step: float = STEP,
    terms: reference.Terms | None = None,
) -> dict[str, float]:
    """Error of ``gradients`` for each parameter along one random direction of that parameter alone.

    Relative to the gradient's norm, which is the derivative's typical size along such a direction.
    A block whose true gradient is 0, such as an absent group's head, passes only when its gradient is 0 too.
    """
    params = {name: np.asarray(value, np.float64) for name, value in params.items()}

    def error(name: str) -> float:
        direction = rng.standard_normal(params[name].shape)

        def along(t: float) -> float:
            moved = {**params, name: params[name] + t * direction}
            return reference.loss_and_gradients(moved, batch, model, terms)[0]

        analytic, norm = float(np.sum(gradients[name] * direction)), float(np.linalg.norm(gradients[name]))
        return relative_error(central_difference(along, step), analytic, norm)

    return {name: error(name) for name in params}

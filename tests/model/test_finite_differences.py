"""The check itself: it passes right gradients, and a gradient that is off by a tenth of a percent fails."""

import pytest
from finite_differences import TOLERANCE, model_errors, relative_error, vjp_error
from networks import make_batch, make_parameters

from twotower.core.config import ModelConfig
from twotower.lab.gradcheck.finite_differences import central_difference
from twotower.model import reference


def test_the_difference_of_a_cubic_by_hand():
    """((1+h)³ − (1−h)³) / 2h = 3 + h²."""
    assert central_difference(lambda t: (1 + t) ** 3, step=0.1) == pytest.approx(3.01)


def test_a_right_gradient_passes(rng):
    W = rng.standard_normal((3, 2))
    assert vjp_error(lambda X: X @ W, lambda dZ: [dZ @ W.T], [rng.standard_normal((5, 3))], rng) < TOLERANCE


def test_a_gradient_off_by_a_tenth_of_a_percent_fails(rng):
    W = rng.standard_normal((3, 2))
    wrong = lambda dZ: [1.001 * dZ @ W.T]  # noqa: E731
    assert vjp_error(lambda X: X @ W, wrong, [rng.standard_normal((5, 3))], rng) > 100 * TOLERANCE


def test_every_block_of_a_model_is_looked_at(rng):
    model = ModelConfig(hidden=5, groups=3, head="residual", title_bias=True)
    params = make_parameters(model, rng)
    batch = reference.expand(make_batch(rng))
    _, gradients = reference.loss_and_gradients(params, batch, model)
    assert max(model_errors(params, batch, model, gradients, rng).values()) < TOLERANCE
    for name in params:
        wrong = {**gradients, name: 1.001 * gradients[name]}
        errors = model_errors(params, batch, model, wrong, rng)
        assert errors[name] > 10 * TOLERANCE, name
        assert max(error for other, error in errors.items() if other != name) < TOLERANCE


def test_a_gradient_that_should_be_zero_must_be_zero():
    assert relative_error(0.0, 0.0) == 0
    assert relative_error(0.0, 1e-6) > 1

"""Gradient surgery: projections by hand, and on the network's own gradients."""

import numpy as np
import pytest
from networks import make_batch, make_network

from twotower.core.config import ModelConfig
from twotower.model.variants import pcgrad
from twotower.model.variants.one_group import gradients_of_group
from twotower.model.variants.pcgrad import project

MTL = ModelConfig(hidden=8, groups=3, head="lowrank", rank=2, title_bias=True)


def test_gradients_that_agree_are_summed(rng):
    gradients = np.array([[1.0, 0], [0, 2], [1, 1]])
    np.testing.assert_array_equal(project(gradients, rng), [2, 3])


def test_a_conflict_is_projected_away_by_hand(rng):
    """(1, 0) and (−1, 1): the first loses its part along the second and becomes (½, ½), and the second (0, 1)."""
    np.testing.assert_allclose(project(np.array([[1.0, 0], [-1, 1]]), rng), [0.5, 1.5])


def test_of_two_groups_neither_is_hurt_by_the_sum(rng):
    for _ in range(20):
        gradients = rng.standard_normal((2, 5))
        assert (gradients @ project(gradients, rng) >= -1e-12).all()


def test_the_order_is_the_generators(rng):
    gradients = rng.standard_normal((4, 3))
    found = [project(gradients, np.random.default_rng(seed)) for seed in (1, 1, 2, 3, 4)]
    assert np.array_equal(found[0], found[1])
    assert not all(np.allclose(found[0], other) for other in found[2:])


def test_without_projection_it_is_the_plain_gradient(rng, monkeypatch):
    """The groups' own passes add up to the whole, and the loss and the running statistics are those of one pass."""
    monkeypatch.setattr(pcgrad, "project", lambda gradients, rng: gradients.sum(0))
    batch = make_batch(rng, pairs=300, users=90, titles=12)
    plain, cut = (make_network(MTL, np.random.default_rng(5)) for _ in range(2))
    assert pcgrad.loss_and_gradients(cut, batch, rng) == plain.loss_and_gradients(batch)
    assert np.array_equal(cut.running.flat, plain.running.flat)
    np.testing.assert_allclose(cut.grads.flat, plain.grads.flat, rtol=1e-3, atol=1e-6)


def test_only_the_towers_are_operated_on(rng):
    batch = make_batch(rng, pairs=300, users=90, titles=12)
    plain, cut = (make_network(MTL, np.random.default_rng(5)) for _ in range(2))
    plain.loss_and_gradients(batch)
    pcgrad.loss_and_gradients(cut, batch, rng)
    for name in plain.params:
        same = np.allclose(cut.grads[name], plain.grads[name], rtol=1e-3, atol=1e-6)
        assert same == (not name.startswith(("user.", "title."))), name


def test_a_groups_own_pass_is_the_gradient_of_its_own_pairs(rng):
    """Labels of the other groups change nothing in it, though they are in the batch."""
    batch, network = make_batch(rng, pairs=80, users=20), make_network(MTL, rng)
    own = slice(batch.pair_start[batch.segments[1]], batch.pair_start[batch.segments[2]])
    whole = gradients_of_group(network, batch, 1)
    before = network.grads.flat.copy()
    assert whole.total == pytest.approx(sum(whole.by_group))
    labels = 1 - batch.labels
    labels[own] = batch.labels[own]
    batch.labels = labels
    gradients_of_group(network, batch, 1)
    np.testing.assert_array_equal(network.grads.flat, before)
    assert before[network.params.span("user.W1")].any()
    assert not any(before[span].any() for k in (0, 2) for span in network.group_spans()[k])

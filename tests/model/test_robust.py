"""Losses for the groups that fare worst: group DRO and CVaR against the textbook, finite differences, and by hand."""

import numpy as np
import pytest
from finite_differences import model_errors
from hypothesis import given
from kinks import far_from_kinks
from networks import make_batch, make_network, make_parameters, seeds
from profiles import examples

from twotower.core.config import Config, ModelConfig, TrainConfig
from twotower.model import reference
from twotower.model.engine.threads import Threads
from twotower.model.variants.objective import Objective, make_objective
from twotower.model.variants.robust import STEP_SIZE, GroupDRO, worst_groups

MTL = ModelConfig(hidden=8, groups=3, head="lowrank", rank=2, title_bias=True, memory=True)


def in_textbook(network, batch, q):
    """Loss and gradients of Σ_k q_k · mean loss of group k."""
    params = {name: value.astype(np.float64) for name, value in network.params.items()}
    expanded = reference.expand(batch)
    terms = reference.Terms(reference.weights_of_group_means(q, expanded.group))
    return reference.loss_and_gradients(params, expanded, network.config, terms)


def mean_losses(network, batch):
    """Mean loss of each group (K,), NaN for an absent one, as the textbook has them."""
    K = network.config.groups
    return np.array([in_textbook(network, batch, np.eye(K)[k])[0] if (np.diff(batch.segments)[k]) else np.nan
                     for k in range(K)])  # fmt: skip


@pytest.mark.parametrize("absent", [(), (1,)])
@pytest.mark.parametrize("kind", ["dro", "cvar"])
def test_the_fast_model_equals_the_textbook(kind, absent, rng):
    network = make_network(MTL, rng, threads=2)
    batch = make_batch(rng, pairs=700, users=200, titles=12, absent=absent)
    batch.title_rows = np.arange(len(batch.title_counts))
    config = Config(MTL, TrainConfig(task_weights=kind))
    labels = batch.labels.astype(int)
    network.objective = make_objective(config, np.zeros(len(labels), int), batch.pair_title, labels, 12)
    losses = mean_losses(network, batch)
    if kind == "dro":
        network.objective.dro.q[:] = q = np.array([0.5, 0.2, 0.3])
        expected_loss = np.nansum(q * losses)
    else:
        m = int(np.ceil((3 - len(absent)) / 2))
        worst = np.argsort(-np.nan_to_num(losses, nan=-1.0))[:m]
        q = np.isin(np.arange(3), worst) / m
        expected_loss = losses[worst].mean()
    loss, expected = in_textbook(network, batch, q)
    assert loss == pytest.approx(expected_loss, rel=1e-9), "the textbook means what the paper says"
    assert network.loss_and_gradients(batch).total == pytest.approx(loss, rel=1e-5)
    for name, value in network.grads.items():
        assert np.abs(value - expected[name]).max() < 1e-3 * np.abs(expected[name]).max() + 1e-7, name


@examples(15)
@given(seeds)
def test_every_gradient_of_the_mean_of_the_worst_groups(seed):
    """By finite differences of the CVaR itself, whose choice of groups is not differentiated."""
    rng = np.random.default_rng(seed)
    params, batch = make_parameters(MTL, rng), reference.expand(make_batch(rng, pairs=40, users=12))
    if not far_from_kinks(params, batch, MTL):
        return
    q = np.array([0.5, 0.0, 0.5])
    terms = reference.Terms(reference.weights_of_group_means(q, batch.group))
    _, gradients = reference.loss_and_gradients(params, batch, MTL, terms)
    errors = model_errors(params, batch, MTL, gradients, rng, terms=terms)
    largest = max(np.abs(gradients[name]).max() for name in errors)
    assert all(errors[name] < 1e-3 for name in errors if np.abs(gradients[name]).max() > 1e-2 * largest), errors


def test_the_weights_of_group_dro_follow_the_losses_and_an_absent_group_waits():
    dro, losses = GroupDRO(3), np.array([0.2, 0.0, 0.9])
    dro.update((dro.q * losses).tolist(), [4, 0, 4])
    expected = np.exp(STEP_SIZE * losses) / np.exp(STEP_SIZE * losses).sum()
    np.testing.assert_allclose(dro.q, expected)
    for _ in range(2000):
        dro.update((dro.q * losses).tolist(), [4, 0, 4])
    assert dro.q[2] > 0.99, "in the end the worst group alone counts"


def test_the_worst_groups_by_hand():
    losses, pairs = np.array([0.3, 0.9, 0.5, 0.1]), np.array([5, 5, 5, 5])
    np.testing.assert_array_equal(worst_groups(losses, pairs), [0, 0.5, 0.5, 0])
    np.testing.assert_array_equal(worst_groups(losses, np.array([5, 0, 5, 5])), [0.5, 0, 0.5, 0])
    np.testing.assert_array_equal(worst_groups(losses, np.array([0, 0, 0, 5])), [0, 0, 0, 1])


def test_one_step_of_training_moves_q_and_it_is_kept_with_a_checkpoint(rng):
    network, batch = make_network(MTL, rng), make_batch(rng, pairs=60)
    batch.title_rows = np.arange(len(batch.title_counts))
    network.objective = Objective(dro=GroupDRO(3))
    losses = network.loss_and_gradients(batch)
    network.objective.update(losses, Threads(1))
    assert len(set(network.objective.dro.q.round(9))) == 3 and network.objective.state()["q"] is network.objective.dro.q

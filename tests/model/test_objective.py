"""Variants of the loss: gradients against finite differences, the fast model against the textbook, and the tables."""

import numpy as np
import pytest
from finite_differences import STEP, TOLERANCE, model_errors, relative_error
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st
from kinks import far_from_kinks, flips, spread_of_rows
from networks import batches, make_batch, make_network, make_parameters, model_configs, seeds
from profiles import examples

from twotower.core.config import Config, ModelConfig, TrainConfig
from twotower.model import reference
from twotower.model.engine.threads import Threads
from twotower.model.loss import MaskedLoss
from twotower.model.two_tower import TwoTower
from twotower.model.variants.objective import Objective
from twotower.model.variants.objective import make_objective as make_training_objective
from twotower.model.variants.penalty import correlation_penalty
from twotower.model.variants.uncertainty import LOG_VARIANCE, Uncertainty
from twotower.training.loop import make_optimiser, train_step

MTL = ModelConfig(hidden=8, groups=3, head="lowrank", rank=2, title_bias=True)
TITLES = 20  # of the whole table


def with_titles(batch, rng):
    """A batch that knows which rows of the title table it holds."""
    batch.title_rows = rng.choice(TITLES, len(batch.title_counts), replace=False)
    return batch


def make_objective(groups: int, rng, **leave_out) -> Objective:
    """All at once, except for what is left out."""
    uncertainty = Uncertainty(groups, 0.01)
    uncertainty.log_variance[...] = rng.normal(0, 0.5, groups)
    parts = {
        "title_weight": rng.uniform(0.2, 3, (2, TITLES)).astype(np.float32),
        "group_weight": rng.uniform(0.2, 3, groups).astype(np.float32),
        "title_offset": rng.normal(0, 1, TITLES).astype(np.float32),
        "popularity": rng.normal(3, 1, TITLES).astype(np.float32),
        "penalty": 0.7,
        "uncertainty": uncertainty,
    }
    return Objective(**{**parts, **leave_out})


def expanded_terms(objective: Objective, batch) -> reference.Terms:
    """An objective's terms as the textbook takes them."""
    title, label = batch.title_rows[batch.pair_title], batch.labels.astype(int)
    group = np.repeat(np.arange(len(batch.segments) - 1), np.diff(batch.segments))[batch.pair_user]
    weights = np.ones(len(label))
    if objective.title_weight is not None:
        weights = weights * objective.title_weight[label, title]
    if objective.group_weight is not None:
        weights = weights * objective.group_weight[group]
    s = objective.uncertainty.log_variance.astype(float) if objective.uncertainty else 0.0
    offsets = 0.0 if objective.title_offset is None else objective.title_offset[title].astype(float)
    popularity = 0.0 if objective.popularity is None else objective.popularity[title].astype(float)
    return reference.Terms(weights, offsets, s, popularity, objective.penalty)


def textbook(network, batch, objective):
    params = {name: value.astype(np.float64) for name, value in network.params.items()}
    terms = expanded_terms(objective, batch)
    return reference.loss_and_gradients(params, reference.expand(batch), network.config, terms)


# ---------------------------------------------------------------- the textbook against finite differences


@examples(30)
@given(st.data(), model_configs(), seeds)
def test_every_gradient_under_weights_offsets_and_penalty(data, model, seed):
    rng = np.random.default_rng(seed)
    params = make_parameters(model, rng)
    unique = with_titles(data.draw(batches(model.groups)), rng)
    batch, terms = reference.expand(unique), expanded_terms(make_objective(model.groups, rng), unique)
    _, gradients = reference.loss_and_gradients(params, batch, model, terms)
    assume(far_from_kinks(params, batch, model))
    errors = model_errors(params, batch, model, gradients, rng, terms=terms)
    if not model.learned_logit:
        del errors["logit.scale"], errors["logit.bias"]
    largest = max(np.abs(gradients[name]).max() for name in errors)
    significant = {name for name in errors if np.abs(gradients[name]).max() > 1e-2 * largest}
    assume(significant)
    assert all(errors[name] < 1e-3 for name in significant), errors


def test_the_log_variances_gradient(rng):
    params, unique = make_parameters(MTL, rng), with_titles(make_batch(rng, absent=(1,)), rng)
    batch, terms = reference.expand(unique), expanded_terms(make_objective(3, rng), unique)
    _, gradients = reference.loss_and_gradients(params, batch, MTL, terms)
    direction = rng.standard_normal(3)
    ahead, behind = (
        reference.loss_and_gradients(
            params, batch, MTL, terms._replace(log_variances=terms.log_variances + side * STEP * direction)
        )[0]
        for side in (1, -1)
    )
    analytic = gradients[LOG_VARIANCE] @ direction
    assert relative_error((ahead - behind) / (2 * STEP), analytic) < TOLERANCE
    assert gradients[LOG_VARIANCE][1] == 0, "the group is absent"


@given(seeds, st.integers(6, 30))
def test_the_penaltys_gradient(seed, n):
    rng = np.random.default_rng(seed)
    z, x, y = rng.standard_normal(n), rng.standard_normal(n), rng.permutation(np.arange(n) % 2)
    direction = rng.standard_normal(n)
    ahead, behind = (correlation_penalty(z + side * STEP * direction, y, x, 2.0)[0] for side in (1, -1))
    for loss, dz in (correlation_penalty(z, y, x, 2.0), reference.correlation_penalty(z, y, x, 2.0)):
        assert loss == pytest.approx(2 * sum(np.corrcoef(z[y == k], x[y == k])[0, 1] ** 2 for k in (0, 1)))
        scale = np.linalg.norm(dz)
        assert relative_error((ahead - behind) / (2 * STEP), dz @ direction, scale) < 100 * TOLERANCE


def test_the_penalty_by_hand():
    """Logits that are popularity itself correlate fully: the penalty is λ, and its gradient is 0 there."""
    x = np.array([0.0, 1, 2, 5])
    loss, dz = correlation_penalty(3 * x - 1, np.zeros(4), x, 0.5)
    assert loss == pytest.approx(0.5) and np.abs(dz).max() < 1e-12
    # means and deviations are exact in binary, so that 0 is 0 on any processor
    loss, dz = correlation_penalty(np.array([0.0, 1, 1, 0]), np.ones(4), np.array([-1.0, -1, 1, 1]), 0.5)
    assert loss == 0 and not dz.any(), "no correlation at all"


def test_logits_or_titles_that_are_all_alike_have_no_penalty():
    for z, x in ((np.zeros(5), np.arange(5.0)), (np.arange(5.0), np.ones(5))):
        loss, dz = correlation_penalty(z, np.ones(5), x, 0.5)
        assert loss == 0 and not dz.any()


# ---------------------------------------------------------------- the fast model against the textbook


LEFT_OUT = {
    "all": {},
    "weights": {"title_offset": None, "uncertainty": None, "penalty": 0.0},
    "weight by title": {"group_weight": None, "title_offset": None, "uncertainty": None, "penalty": 0.0},
    "offsets": {"title_weight": None, "group_weight": None, "uncertainty": None, "penalty": 0.0},
    "uncertainty": {"title_weight": None, "group_weight": None, "title_offset": None, "penalty": 0.0},
    "penalty": {"title_weight": None, "group_weight": None, "title_offset": None, "uncertainty": None},
}


@pytest.mark.parametrize("left_out", LEFT_OUT.values(), ids=LEFT_OUT)
def test_the_fast_model_equals_the_textbook(left_out, rng):
    network = make_network(MTL, rng, threads=2)
    network.objective = make_objective(3, rng, **left_out)
    batch = with_titles(make_batch(rng, pairs=700, users=200, titles=12), rng)
    loss, expected = textbook(network, batch, network.objective)
    found = network.loss_and_gradients(batch)
    assert found.total == pytest.approx(loss, rel=1e-5)
    for name, value in network.grads.items():
        gradient = expected[name]
        assert np.abs(value - gradient).max() < 1e-3 * np.abs(gradient).max() + 1e-7, name


@examples(30, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), model_configs(), seeds)
def test_every_model_takes_every_objective(data, config, seed):
    rng = np.random.default_rng(seed)
    batch = with_titles(data.draw(batches(config.groups)), rng)
    network = make_network(config, rng)
    network.objective = make_objective(config.groups, rng, penalty=0.0)  # float32's correlation of few pairs is noise
    assume(spread_of_rows(network, batch) and not flips(network, batch))
    loss, expected = textbook(network, batch, network.objective)
    assert network.loss_and_gradients(batch).total == pytest.approx(loss, rel=1e-4)
    size = max(np.abs(gradient).max() for gradient in expected.values())
    for name, value in network.grads.items():
        assert np.abs(value - expected[name]).max() < 1e-3 * max(np.abs(expected[name]).max(), 1e-2 * size), name


def test_an_objective_that_asks_for_nothing_changes_no_bit(rng):
    batch = with_titles(make_batch(rng, pairs=300, users=90, titles=12), rng)
    found = []
    for objective in (MaskedLoss(), Objective(), Objective(title_weight=np.ones((2, TITLES), np.float32))):
        network = make_network(MTL, np.random.default_rng(5))
        network.objective = objective
        found.append((network.loss_and_gradients(batch), network.grads.flat.tobytes()))
    assert found[0] == found[1] == found[2]


def test_offsets_are_of_training_only(rng):
    batch = with_titles(make_batch(rng), rng)
    network = make_network(MTL, rng)
    before = network.predict(batch).copy()
    network.objective = make_objective(3, rng)
    assert np.array_equal(network.predict(batch), before)


def test_any_number_of_threads_gives_the_same_bits(rng):
    batch = with_titles(make_batch(rng, pairs=3000, users=1100, titles=20), rng)
    found = []
    for threads in (1, 3):
        network = make_network(MTL, np.random.default_rng(5), threads=threads)
        network.objective = make_objective(3, np.random.default_rng(6))
        found.append((network.loss_and_gradients(batch), network.grads.flat.tobytes()))
    assert found[0] == found[1]


# ---------------------------------------------------------------- learned log-variances


def test_the_step_of_the_log_variances_follows_the_textbook(rng):
    network, batch = make_network(MTL, rng), with_titles(make_batch(rng, pairs=200, users=60, absent=(1,)), rng)
    network.objective = make_objective(3, rng)
    learned = network.objective.uncertainty
    before = learned.log_variance.copy()
    _, expected = textbook(network, batch, network.objective)
    losses = network.loss_and_gradients(batch)
    learned.update(losses.by_group, losses.pairs_by_group, Threads(1))
    np.testing.assert_allclose(learned.grads[LOG_VARIANCE], expected[LOG_VARIANCE], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(before - learned.log_variance, 0.01 * np.sign(expected[LOG_VARIANCE]), rtol=1e-3)
    assert learned.log_variance[1] == before[1] and learned.adam.steps[1:] == [1, 0, 1], "the group is absent"


def test_a_log_variance_settles_where_its_group_is_as_uncertain(rng):
    """At a loss of ℓ a pair the best weight e^(−s) is 1/2ℓ: the harder group weighs less."""
    learned, mean = Uncertainty(2, 0.05), np.array([0.2, 0.6])
    for _ in range(600):
        by_group = 0.5 * mean * np.exp(-learned.log_variance)
        learned.update(by_group.tolist(), [50, 50], Threads(1))
    np.testing.assert_allclose(np.exp(-learned.log_variance), 1 / (2 * mean), rtol=0.02)


# ---------------------------------------------------------------- what it is for


def popularity_in_the_logits(**settings) -> float:
    """How much a logit grows with log popularity, when that is all that there is to learn."""
    rng = np.random.default_rng(4)
    users, chance = 40, np.geomspace(0.05, 0.6, TITLES)
    batch = make_batch(rng, pairs=users, users=users, titles=TITLES, groups=1)
    batch.pair_user = np.repeat(np.arange(users), TITLES).astype(np.int32)
    batch.pair_title = np.tile(np.arange(TITLES), users).astype(np.int32)
    batch.pair_start = np.arange(users + 1) * TITLES
    batch.user_counts, batch.title_counts = np.full(users, TITLES, np.float32), np.full(TITLES, users, np.float32)
    batch.title_features = np.eye(TITLES, dtype=np.float32)
    batch.user_features[...] = 0  # nobody can be told from anybody
    batch.title_rows, title = np.arange(TITLES), batch.pair_title
    batch.labels = (batch.pair_user + 0.5 < users * chance[title]).astype(np.float32)
    config = Config(ModelConfig(hidden=6, title_offsets="none"), TrainConfig(learning_rate=0.02, **settings))
    network = TwoTower(config.model, 4, TITLES, rng)
    network.objective = make_training_objective(config, np.zeros(len(title), int), title, batch.labels, TITLES)
    optimiser = make_optimiser(network, config.train)
    for step in range(70):
        train_step(network, optimiser, batch, step)
    by_title = network.predict(batch).reshape(users, TITLES).mean(0)
    return float(np.polyfit(np.log(chance), by_title, 1)[0])


def test_every_way_against_popularity_bias_takes_popularity_out_of_the_logits():
    plain = popularity_in_the_logits()
    assert plain == pytest.approx(1.2, abs=0.3), "log-odds grow by a little more than log popularity"
    half, whole = (popularity_in_the_logits(debias="logq", debias_strength=strength) for strength in (0.5, 1.0))
    assert half == pytest.approx(plain / 2, abs=0.2) and whole == pytest.approx(0, abs=0.2)
    assert popularity_in_the_logits(debias="ipw", debias_strength=0.5) < 0.7 * plain
    assert popularity_in_the_logits(debias="penalty", debias_strength=2.0) < 0.5 * plain

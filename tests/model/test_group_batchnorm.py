"""Batch-norm with moments of each group: nothing of another group's users reaches a head, and nobody is a NaN."""

from functools import cache

import numpy as np
import pytest
from networks import make_batch, make_network
from threadpoolctl import threadpool_limits

from twotower.core.config import HEADS, ModelConfig
from twotower.model import reference
from twotower.model.retrieval import Retrieval, Users
from twotower.model.variants.one_group import gradients_of_group
from twotower.training.checkpoint import load_model, save_weights

K = 3


def shape(batchnorm="group", head="lowrank", **settings):
    return ModelConfig(hidden=24, groups=K, head=head, rank=4, title_bias=True, batchnorm=batchnorm, **settings)


def with_other_users(batch, k, rng):
    """Features of all users outside group ``k`` drawn anew; pairs, titles and labels stay."""
    features = (3 * rng.standard_normal(batch.user_features.shape) + 1).astype(np.float32)
    mine = slice(batch.segments[k], batch.segments[k + 1])
    features[mine] = batch.user_features[mine]
    return type(batch)(**{**vars(batch), "user_features": features})


def own_gradients(network, batch):
    """A group's loss, and the gradients of all that it has to itself, for each group."""
    losses = network.loss_and_gradients(batch)
    found = [b"".join(network.grads.flat[span].tobytes() for span in spans) for spans in network.group_spans()]
    return list(zip(losses.by_group, found, strict=True))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("head", HEADS)
def test_features_of_other_groups_change_nothing_in_a_head(head, threads, rng):
    """Bit for bit, over several tiles and chunks; with the batch's moments they act through them."""
    batch = make_batch(rng, pairs=1500, users=1100, titles=60)
    for batchnorm, leaks in (("group", False), ("all", True)):
        network = make_network(shape(batchnorm, head), np.random.default_rng(5), threads=threads)
        before = own_gradients(network, batch)
        for k in range(K):
            after = own_gradients(network, with_other_users(batch, k, rng))
            assert (after[k] != before[k]) == leaks
            assert after[k - 1] != before[k - 1]


def test_nan_among_the_users_of_a_group_stays_there(rng):
    """Not even through the mean: the heads of the other groups learn as if nothing had happened."""
    batch, network = make_batch(rng, pairs=300, users=90, titles=12), make_network(shape(), rng)
    before = own_gradients(network, batch)
    batch.user_features[batch.segments[1]] = np.nan
    after = own_gradients(network, batch)
    assert (after[0], after[2]) == (before[0], before[2])
    assert np.isnan(network.grads["head.Q"][1]).any()
    means = network.running["user.mean1"]
    assert np.isnan(means[1]).all() and np.isfinite(means[[0, 2]]).all()


def test_any_number_of_threads_gives_the_same_bits(rng):
    batch, found = make_batch(rng, pairs=3000, users=1100, titles=300), []
    for threads in (1, 2, 4):
        network = make_network(shape(), np.random.default_rng(5), threads=threads)
        losses = network.loss_and_gradients(batch)
        found.append((losses, network.grads.flat.tobytes(), network.running.flat.tobytes()))
    assert found[0] == found[1] == found[2]


def test_the_towers_gradient_is_the_sum_of_the_groups_own(rng):
    """A group alone in a batch, its loss over the same B pairs: no moments are shared, so gradients just add up."""
    batch, network = make_batch(rng, pairs=900, users=300, titles=20), make_network(shape(), rng)
    network.loss_and_gradients(batch)
    whole = {name: network.grads[name].copy() for name in ("user.W1", "user.W2", "user.gamma1", "user.beta2")}
    alone = {name: np.zeros_like(value) for name, value in whole.items()}
    for k in range(K):
        gradients_of_group(network, batch, k)
        for name in alone:
            alone[name] += network.grads[name]
    for name in whole:
        np.testing.assert_allclose(alone[name], whole[name], rtol=1e-3, atol=1e-6, err_msg=name)


# ---------------------------------------------------------------- groups of few rows, or none


def test_a_group_that_is_absent_keeps_its_running_statistics_bit_for_bit(rng):
    network = make_network(shape(), rng)
    network.loss_and_gradients(make_batch(rng, pairs=300, users=90))
    before = {name: value.copy() for name, value in network.running.items()}
    network.loss_and_gradients(make_batch(rng, pairs=300, users=90, absent=(1,)))
    assert np.isfinite(network.grads.flat).all()
    for name in ("user.mean1", "user.var1", "user.mean2", "user.var2"):
        assert network.running[name].shape == (K, 24)
        assert np.array_equal(network.running[name][1], before[name][1])
        assert not np.array_equal(network.running[name][0], before[name][0])
        assert not np.array_equal(network.running[name][2], before[name][2])


def one_user_in(k, rng, pairs_of_user=1):
    """A batch in which group ``k`` has one user, with so many pairs."""
    batch = make_batch(rng, pairs=300, users=90, titles=12)
    group = np.repeat(np.arange(K), np.diff(batch.segments))
    first = batch.segments[k]
    keep = (group != k) | (np.arange(len(group)) == first)
    pair = keep[batch.pair_user] & ((batch.pair_user != first) | (np.cumsum(batch.pair_user == first) <= pairs_of_user))
    row = np.cumsum(keep) - 1
    batch.user_features, group = batch.user_features[keep], group[keep]
    batch.pair_user, batch.pair_title = row[batch.pair_user[pair]].astype(np.int32), batch.pair_title[pair]
    batch.labels, batch.user_territory = batch.labels[pair], batch.user_territory[keep]
    batch.user_counts = np.bincount(batch.pair_user).astype(np.float32)
    batch.title_counts = np.bincount(batch.pair_title, minlength=len(batch.title_counts)).astype(np.float32)
    batch.segments = np.searchsorted(group, np.arange(K + 1))
    batch.pair_start = np.searchsorted(batch.pair_user, np.arange(len(group) + 1))
    return batch


@pytest.mark.parametrize("pairs_of_user", [1, 2])
def test_a_group_with_one_user_is_no_nan_and_leaves_its_running_statistics(pairs_of_user, rng):
    """A row alone is its own mean: batch-norm gives beta, sends nothing back, and has no spread to remember."""
    batch, network = one_user_in(1, rng, pairs_of_user), make_network(shape(), rng)
    before = {name: value.copy() for name, value in network.running.items()}
    losses = network.loss_and_gradients(batch)
    assert losses.pairs_by_group[1] == pairs_of_user and np.isfinite(losses.total)
    assert np.isfinite(network.grads.flat).all() and np.isfinite(network.predict(batch)).all()
    assert network.grads["head.Q"][1].any(), "its head learns all the same"
    for name in ("user.mean1", "user.var2"):
        assert np.array_equal(network.running[name][1], before[name][1])
        assert not np.array_equal(network.running[name][0], before[name][0])
    params = {name: value.astype(np.float64) for name, value in network.params.items()}
    loss, expected = reference.loss_and_gradients(params, reference.expand(batch), network.config)
    assert losses.total == pytest.approx(loss, rel=1e-4)
    for name, gradient in expected.items():
        assert np.abs(network.grads[name] - gradient).max() < 1e-3 * np.abs(gradient).max() + 1e-6, name
    gradients_of_group(network, batch, 1)
    assert np.abs(network.grads["user.W1"]).max() < 1e-4 * np.abs(expected["user.W1"]).max()


# ---------------------------------------------------------------- evaluation


@cache
def running_after(batches):
    """Running statistics after so many times the same batch."""
    network, batch = untrained()
    for _ in range(batches):
        network.loss_and_gradients(batch)
    return network.running.flat


def untrained():
    """A network, and a batch whose groups differ; the same each time."""
    rng = np.random.default_rng(6)
    network, batch = make_network(shape(), rng), make_batch(rng, pairs=150, users=60, titles=12)
    for k in range(K):
        batch.user_features[batch.segments[k] : batch.segments[k + 1]] += 2 * k
    return network, batch


@pytest.fixture
def experienced():
    """These, with running statistics that have come to rest."""
    network, batch = untrained()
    network.running.flat[:] = running_after(100)
    return network, batch


def test_running_statistics_approach_those_of_each_group(experienced):
    network, batch = experienced
    Z1 = batch.user_features[batch.pair_user] @ network.params["user.W1"]
    group = np.repeat(np.arange(K), np.diff(batch.segments))[batch.pair_user]
    for k in range(K):
        np.testing.assert_allclose(network.running["user.mean1"][k], Z1[group == k].mean(0), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(network.running["user.var1"][k], Z1[group == k].var(0, ddof=1), rtol=1e-3)
    assert network.running["title.mean1"].shape == (24,), "titles are everybody's"


def test_evaluation_uses_the_running_statistics_of_the_users_group():
    network, batch = untrained()
    before = network.predict(batch).copy()
    network.running["user.mean2"][1] += 0.5
    changed = network.predict(batch) != before
    group = np.repeat(np.arange(K), np.diff(batch.segments))[batch.pair_user]
    assert changed[group == 1].mean() > 0.9 and not changed[group != 1].any()


def test_evaluation_comes_near_to_training_where_the_batch_is_all_there_is(experienced):
    """The running moments are the batch's by now: forward in evaluation is the textbook's in training."""
    network, batch = experienced
    params = {name: value.astype(np.float64) for name, value in network.params.items()}
    loss, _ = reference.loss_and_gradients(params, reference.expand(batch), network.config)
    z = network.predict(batch).astype(np.float64)
    assert np.mean(np.logaddexp(0, z) - z * batch.labels) == pytest.approx(loss, rel=0.02)


def test_retrieval_gives_the_logits_of_prediction(experienced):
    network, batch = experienced
    users, titles = batch.user_features, batch.title_features
    group = np.repeat(np.arange(K), np.diff(batch.segments))
    z = np.empty((len(users), len(titles)), np.float32)

    def keep(who, first, dots):
        z[who, first : first + dots.shape[1]] = dots

    found = Retrieval(network, titles)
    found.scan(Users(users, np.arange(len(users)), group), keep)
    z = network.params["logit.scale"] * z + found.bias[group]
    np.testing.assert_allclose(z[batch.pair_user, batch.pair_title], network.predict(batch), rtol=1e-4, atol=1e-4)


def test_a_model_is_kept_and_read_with_the_moments_of_its_groups(experienced, tmp_path):
    network, batch = experienced
    save_weights(tmp_path / "weights.safetensors", network)
    found = load_model(tmp_path / "weights.safetensors")
    assert found.config.batchnorm == "group"
    with threadpool_limits(1, "blas"):
        assert np.array_equal(found.predict(batch), network.predict(batch))

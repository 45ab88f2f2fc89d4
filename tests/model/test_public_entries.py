"""Public entries of the network refuse by name what a kernel would take for memory of its own."""

import numpy as np
import pytest
from networks import TERRITORIES, make_batch, make_network

from twotower.core.config import ModelConfig
from twotower.model.adam import Adam
from twotower.model.two_tower import TwoTower
from twotower.model.variants.debiasing import LARGEST_WEIGHT, inverse_propensities

MTL = ModelConfig(hidden=8, groups=3, head="lowrank", rank=2, title_bias=True, territory_bias=True)


def changed(batch, **arrays):
    vars(batch).update(arrays)
    return batch


MISFITS = {
    "no pairs": (lambda b: changed(b, labels=b.labels[:0]), ValueError, "empty"),
    "user features of another width": (
        lambda b: changed(b, user_features=b.user_features[:, :3].copy()), ValueError, "user_features"),
    "title features of another width": (
        lambda b: changed(b, title_features=np.repeat(b.title_features, 2, 1)), ValueError, "title_features"),
    "features that are not contiguous": (
        lambda b: changed(b, user_features=np.asfortranarray(b.user_features)), ValueError, "user_features"),
    "features in float64": (lambda b: changed(b, user_features=b.user_features.astype(float)), ValueError, "float64"),
    "counts of other rows": (lambda b: changed(b, user_counts=b.user_counts[1:]), ValueError, "user_counts"),
    "fewer groups": (lambda b: changed(b, segments=b.segments[[0, 3]]), ValueError, "segments"),
    "segments beyond the rows": (
        lambda b: changed(b, segments=b.segments + np.array([0, 0, 0, 1])), ValueError, "segments"),
    "pairs beyond the titles": (lambda b: changed(b, pair_title=b.pair_title + 1), IndexError, "pair_title"),
    "negative rows": (lambda b: changed(b, pair_user=b.pair_user - 1), IndexError, "pair_user"),
    "fractional rows": (lambda b: changed(b, pair_title=b.pair_title + 0.9), ValueError, "pair_title"),
    "bounds that do not ascend": (
        lambda b: changed(b, pair_start=np.r_[b.pair_start[:1], b.pair_start[:0:-1][1:], b.pair_start[-1:]]),
        ValueError, "pair_start"),
    "a territory too many": (
        lambda b: changed(b, user_territory=b.user_territory + 1), IndexError, "user_territory goes from 1 to 5"),
    "a territory below 0": (lambda b: changed(b, user_territory=b.user_territory - 1), IndexError, "user_territory"),
    "no territories": (lambda b: changed(b, user_territory=b.user_territory[:0]), ValueError, "user_territory"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_a_batch_that_does_not_fit_is_refused(name, rng):
    spoil, error, message = MISFITS[name]
    network, batch = make_network(MTL, rng), spoil(make_batch(rng, users=9))
    before = network.running.flat.tobytes()
    for entry in (network.loss_and_gradients, network.predict):
        with pytest.raises(error, match=message):
            entry(batch)
    assert network.running.flat.tobytes() == before


@pytest.mark.parametrize("label", [7, np.nan, 0.5])
def test_labels_are_0_or_1_in_training(label, rng):
    network, batch = make_network(MTL, rng), make_batch(rng)
    batch.labels[0] = label
    with pytest.raises(ValueError, match="labels: expected 0 or 1"):
        network.loss_and_gradients(batch)
    network.predict(batch)  # which reads no label


@pytest.mark.parametrize("rate", [np.nan, 0, 1, -0.1, 2])
def test_a_base_rate_is_a_probability(rate, rng):
    with pytest.raises(ValueError, match="base_rate"):
        TwoTower(MTL, 4, 6, rng, base_rate=rate, territories=TERRITORIES)


@pytest.mark.parametrize("counts", [{"user_width": 0}, {"title_width": 2.5}, {"threads": 0}, {"territories": -1}])
def test_a_network_is_of_whole_numbers(counts, rng):
    whole = {"user_width": 4, "title_width": 6, "threads": 1, "territories": TERRITORIES}
    with pytest.raises(ValueError, match=next(iter(counts))):
        TwoTower(MTL, rng=rng, **(whole | counts))


def test_predictions_outlive_the_next_batch(rng):
    network = make_network(MTL, rng)
    first, second = make_batch(rng), make_batch(rng)
    kept = network.predict(first)
    before = kept.tobytes()
    network.predict(second)
    assert kept.tobytes() == before


def test_adam_takes_gradients_and_blocks_of_its_own_network_only(rng):
    network, smaller = make_network(MTL, rng), make_network(ModelConfig(hidden=4), rng)
    adam = Adam(network.params, network.shared_span(), network.group_spans(), 1e-3)
    before = network.params.flat.tobytes(), list(adam.steps)
    with pytest.raises(ValueError, match="another shape"):
        adam.update(smaller.grads, [0], network.threads)
    for groups in ([3], [-1, 0]):
        with pytest.raises(IndexError, match="expected 0 to 2"):
            adam.update(network.grads, groups, network.threads)
    assert (network.params.flat.tobytes(), adam.steps) == before


def test_clipped_weights_keep_their_limit_and_their_mean():
    positives = np.array([100_000, 1000, 30, 1, 1, 0])
    weight = inverse_propensities(positives, 1.0)
    assert weight.max() == LARGEST_WEIGHT and (weight == LARGEST_WEIGHT).sum() == 5
    assert (weight @ positives) / positives.sum() == pytest.approx(1, rel=1e-6)
    alike = inverse_propensities(np.array([4, 4]), 0.5)
    np.testing.assert_array_equal(alike, [1, 1])

"""Tables against popularity bias and for groups' weights, by hand."""

import numpy as np
import pytest

from twotower.model.variants.debiasing import LARGEST_WEIGHT, group_weights, inverse_propensities, title_log_odds


def test_weights_of_groups_by_hand():
    pairs = np.array([30, 10])
    np.testing.assert_allclose(group_weights(pairs, "inverse"), [40 / (2 * 30), 40 / (2 * 10)])
    np.testing.assert_allclose(group_weights(pairs, "count"), [30 * 40 / 1000, 10 * 40 / 1000])


@pytest.mark.parametrize("kind", ["count", "inverse"])
def test_the_mean_weight_of_a_pair_is_1_and_an_empty_group_does_no_harm(kind, rng):
    pairs = np.append(rng.integers(1, 10**6, 5), 0)
    weight = group_weights(pairs, kind)
    assert weight @ pairs / pairs.sum() == pytest.approx(1, rel=1e-5)
    assert np.isfinite(weight).all() and weight.dtype == np.float32


def test_rare_positives_weigh_more_and_the_mean_of_a_positive_is_1():
    """Counts 16 and 4 at strength 1/2: propensities 1 and 1/2, weights in the ratio 1 to 2."""
    weight = inverse_propensities(np.array([16, 4, 0]), 0.5)
    assert weight[1] == pytest.approx(2 * weight[0]) and weight[:2] @ [16, 4] == pytest.approx(20)
    assert weight[2] == pytest.approx(4 * weight[0]), "as a title with a single positive"


def test_the_weight_of_the_rarest_is_clipped():
    positives = np.array([10**6, 10**5, 1])
    weight = inverse_propensities(positives, 1.0)
    assert weight.max() <= 1.01 * LARGEST_WEIGHT
    assert weight @ positives / positives.sum() == pytest.approx(1, rel=1e-5)


def test_an_offset_is_the_titles_own_log_odds_with_mean_0():
    """Positives 9 and 1, negatives 4 and 14: shares of 10/12 and 2/12, and of 5/20 and 15/20."""
    positives, negatives = np.array([9, 1]), np.array([4, 14])
    offset = title_log_odds(positives, negatives, 0.5)
    expected = 0.5 * np.log([(10 / 12) / (5 / 20), (2 / 12) / (15 / 20)])
    assert offset[0] - offset[1] == pytest.approx(expected[0] - expected[1], rel=1e-5)
    assert offset @ (positives + negatives) == pytest.approx(0, abs=1e-5)


def test_titles_drawn_as_negatives_as_often_as_they_are_watched_have_no_offset():
    assert np.abs(title_log_odds(np.array([5, 2, 9]), np.array([5, 2, 9]), 1.0)).max() < 1e-6

"""Popularity bias: every measure by hand on a world of five users and six titles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.core.errors import InputError
from twotower.metrics import recommended as blocks_of
from twotower.metrics.popularity_bias import (
    MEASURES,
    gini,
    group_mean,
    long_tail,
    measures,
    probability,
    profile_popularity,
)

# Titles 0 and 1 are global, 4 is local to territory 0, 5 to territory 1; the top 2 of users 0 … 4 are
#   0: 0 1   1: 4 0   in territory 0,     2: 0 5   3: 2 0   in territory 1,     4: 0 1   in 2, without local titles
RANKED = [[0, 1], [4, 0], [0, 5], [2, 0], [0, 1]]
TERRITORY = np.array([0, 0, 1, 1, 2], np.int16)
POPULARITY = np.array([60, 24, 6, 5, 3, 2])  # of 100
LOCAL = np.zeros((4, 6), bool)
LOCAL[0, 4] = LOCAL[1, 5] = True
GLOBAL = np.array([True, True, False, False, False, False])
SECOND = 1 / np.log2(3)  # attention to the second place; to the first 1


def scores():
    z = np.full((5, 6), -2.0, np.float32)
    for user, (first, second) in enumerate(RANKED):
        z[user, first], z[user, second] = 2.0, 1.0
    return z


def everything(n=5, T=6):
    return np.ones((n, T), bool)


def bias_of(**changes):
    profile = np.array([60.0, 24.0, 42.0, np.nan, 10.0])
    given_ = {"scores": scores(), "allowed": everything(), "user_territory": TERRITORY, "popularity": POPULARITY,
              "local": LOCAL, "is_global": GLOBAL, "profile": profile, "k": 2}  # fmt: skip
    return measures(**{**given_, **changes})


def check(name, territories, overall):
    found = bias_of()
    np.testing.assert_allclose(found.territories[name], territories, rtol=1e-6)
    assert found.overall[name] == pytest.approx(overall, rel=1e-6)


def test_share_of_local_titles_counts_users_where_there_are_local_titles():
    check("local_share", [1 / 4, 1 / 4, np.nan, np.nan], 1 / 4)


def test_exposure_gives_the_first_place_more_than_the_second():
    first, second = 1 / (1 + SECOND), SECOND / (1 + SECOND)
    check("local_exposure", [first / 2, second / 2, np.nan, np.nan], 1 / 4)
    check("global_exposure", [(1 + second) / 2, (first + second) / 2, 1.0, np.nan], (1 + second + 1 + 1) / 5)


def test_share_of_global_titles():
    check("global_share", [3 / 4, 1 / 2, 1.0, np.nan], (1 + 1 / 2 + 1 / 2 + 1 / 2 + 1) / 5)


def test_average_popularity_of_recommendations():
    check("average_popularity", [(42 + 31.5) / 2, (31 + 33) / 2, 42, np.nan], (42 + 31.5 + 31 + 33 + 42) / 5)


def test_the_long_tail_is_outside_the_titles_that_hold_most_positives():
    assert long_tail(POPULARITY).tolist() == [False, False, True, True, True, True]  # 60 + 24 ≥ 80
    assert long_tail(np.array([1, 80, 19])).tolist() == [True, False, True]
    assert long_tail(np.array([10, 10, 10, 0])).tolist() == [False, False, False, True]
    assert long_tail(np.zeros(2)).tolist() == [True, True]
    check("long_tail_share", [1 / 4, 1 / 2, 0, np.nan], (0 + 1 / 2 + 1 / 2 + 1 / 2 + 0) / 5)


def test_popularity_lift_compares_users_with_what_they_watched():
    # user 3 watched nothing: neither what it watched nor what it is offered counts
    lifts = [(42 + 31.5) / (60 + 24) - 1, 31 / 42 - 1, 42 / 10 - 1, np.nan]
    check("popularity_lift", lifts, (42 + 31.5 + 31 + 42) / (60 + 24 + 42 + 10) - 1)


def test_coverage_is_the_share_of_titles_that_somebody_is_offered():
    check("coverage", [3 / 6, 3 / 6, 2 / 6, np.nan], 5 / 6)


def test_gini_by_hand():
    assert gini(np.array([1, 1, 1])) == 0
    assert gini(np.array([0, 0, 0, 4])) == 3 / 4
    assert gini(np.array([3, 1])) == pytest.approx(1 / 4)  # |3 − 1| twice in four, over twice the mean of 2
    assert np.isnan(gini(np.zeros(3))) and np.isnan(gini(np.empty(0)))
    # territory 2: two titles with one place each, four with none; overall 0, 1, 1, 1, 2 and 5 places
    check("gini", [gini([0, 0, 0, 1, 1, 2]), gini([0, 0, 0, 1, 1, 2]), 4 / 6, np.nan], (-3 - 1 + 1 + 6 + 25) / 60)


def test_mean_scores_of_local_and_global_titles():
    low, mid, high = (1 / (1 + np.exp(-z)) for z in (-2.0, 1.0, 2.0))
    local = [(low + high) / 2, (mid + low) / 2, np.nan, np.nan]
    global_ = [(high + mid + mid + low) / 4, (high + low + mid + low) / 4, (high + mid) / 2, np.nan]
    check("local_score", local, (local[0] + local[1]) / 2)
    check("global_score", global_, (2 * global_[0] + 2 * global_[1] + global_[2]) / 5)
    check("mean_score", [(high + mid + 4 * low) / 6] * 3 + [np.nan], (high + mid + 4 * low) / 6)
    ratio = [local[0] / global_[0], local[1] / global_[1], np.nan, np.nan]
    check("local_to_global", ratio, (local[0] + local[1]) / (global_[0] + global_[1]))


def test_titles_that_are_not_allowed_are_not_there():
    allowed = everything()
    allowed[:, 0] = False  # not even in the denominators
    found = bias_of(allowed=allowed)
    np.testing.assert_allclose(found.territories["coverage"][0], 3 / 5)  # 1 and 2, 4 and 1
    assert found.top.tolist() == [[1, 2], [4, 1], [5, 1], [2, 1], [1, 2]] and found.overall["global_share"] == 0.5
    high = np.where(np.arange(6) == 0, np.float32(9), scores())
    again = bias_of(scores=high, allowed=allowed)
    np.testing.assert_equal((again.overall, again.territories), (found.overall, found.territories))


def test_every_measure_is_given_overall_and_per_territory():
    found = bias_of()
    assert set(found.overall) == set(found.territories) == set(MEASURES)
    np.testing.assert_equal(found.territories["local_share"], [0.25, 0.25, np.nan, np.nan])
    assert all(measure.better in ("higher", "lower", "neither") for measure in MEASURES.values())
    assert bias_of().users.tolist() == [2, 2, 1, 0]


def test_a_model_that_prefers_popular_titles_is_found_out_by_every_measure():
    rng = np.random.default_rng(0)
    n, T = 300, 60
    territory, popularity = rng.integers(0, 3, n), np.sort(rng.zipf(1.7, T).clip(0, 500))[::-1]
    local, is_global = np.zeros((3, T), bool), np.arange(T) < 10
    local[np.arange(40) % 3, np.arange(20, 60)] = True
    taste = rng.standard_normal((n, T))
    profile = np.full(n, popularity.mean())
    fair, biased = (
        measures(taste + pull * np.log(popularity), everything(n, T), territory, popularity, local, is_global, profile)
        for pull in (0.0, 1.0)
    )
    for name, measure in MEASURES.items():
        if measure.better != "neither":
            sign = 1 if measure.better == "higher" else -1
            assert sign * fair.overall[name] > sign * biased.overall[name], name
            assert (sign * fair.territories[name] >= sign * biased.territories[name]).all(), name


@examples(25)
@given(st.integers(0, 9999))
def test_neither_the_order_of_users_nor_blocks_change_a_figure(seed):
    rng = np.random.default_rng(seed)
    n, T, C = rng.integers(1, 30), rng.integers(1, 15), 4
    kind, home = rng.integers(0, 3, T), rng.integers(0, C, T)
    given_ = {"scores": rng.standard_normal((n, T), np.float32), "allowed": rng.random((n, T)) < 0.7,
              "user_territory": rng.integers(0, C, n), "profile": rng.random(n) * 9}  # fmt: skip
    rest = {"popularity": rng.integers(0, 50, T), "local": (kind == 1) & (home == np.arange(C)[:, None]),
            "is_global": kind == 2, "k": 3}  # fmt: skip
    found, order = measures(**given_, **rest), rng.permutation(n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks_of, "BLOCK", 2 * T)
        again = measures(**{name: column[order] for name, column in given_.items()}, **rest)
    for name in MEASURES:
        np.testing.assert_allclose(found.overall[name], again.overall[name], rtol=1e-9, err_msg=name)
        np.testing.assert_allclose(found.territories[name], again.territories[name], rtol=1e-9, err_msg=name)
    shares = [name for name in MEASURES if name not in ("average_popularity", "popularity_lift", "local_to_global")]
    for name in shares:
        assert np.isnan(found.overall[name]) or 0 <= found.overall[name] <= 1, name


def test_profiles_are_as_popular_as_their_titles_on_average():
    start, titles = np.array([0, 2, 2, 5]), np.array([0, 1, 5, 5, 2])
    np.testing.assert_allclose(profile_popularity(start, titles, POPULARITY), [42, np.nan, 10 / 3])


def test_probabilities_of_extreme_logits_are_exact_and_silent():
    assert probability(np.array([-200, 0, 200], np.float32)).tolist() == [0, 0.5, 1]


def test_nobody_and_nothing_are_undefined_not_an_error():
    found = bias_of(scores=scores()[:0], allowed=everything(0), user_territory=TERRITORY[:0], profile=None)
    assert np.isnan(list(found.overall.values())).all()
    nothing = bias_of(allowed=~everything())
    assert np.isnan(list(nothing.overall.values())).all()


def test_columns_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="popularity: float64 \\(5,\\), expected \\(6,\\)"):
        bias_of(popularity=POPULARITY[:5])
    with pytest.raises(InputError, match="user_territory: row 4 holds 4, expected 0 to 3"):
        bias_of(user_territory=np.array([0, 1, 2, 3, 4]))


def test_means_by_key_leave_out_what_is_undefined():
    values, key = np.array([1.0, np.nan, 3.0, np.nan]), np.array([0, 0, 0, 1])
    assert group_mean(values, key, 3)[0] == 2 and np.isnan(group_mean(values, key, 3)[1:]).all()

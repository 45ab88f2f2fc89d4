"""P-values and corrections against worked examples; verdicts that keep silent where there is too little."""

from dataclasses import asdict

import numpy as np
import pytest

from twotower.core.serialisation import plain
from twotower.metrics.bootstrap import BootstrapGains
from twotower.metrics.significance import (
    benjamini_hochberg,
    bootstrap_p,
    enough_support,
    sign_test,
    summarise,
    verdicts,
)


def gains_of(estimates, positives=100, users=100, noise=1.0, replicates=999, seeds=1):
    """Gains of territories as if they had been measured and resampled again, without a spread over seeds."""
    estimates = np.asarray(estimates, float)
    C = len(estimates)
    shaken = estimates + noise * np.random.default_rng(0).normal(size=(replicates, seeds, C))
    return BootstrapGains(
        seeds=np.broadcast_to(estimates, (seeds, 2, C)),
        overall_seeds=np.full((seeds, 2), 3.0),
        resampled=shaken,
        overall_resampled=shaken.mean(axis=2),
        seed_noise=np.zeros(replicates),
        users=np.broadcast_to(users, C),
        positives=np.broadcast_to(positives, C),
        users_with_positives=np.broadcast_to(users, C),
    )


def record_of(*arguments, **options):
    """The summary of gains as it is written into a record."""
    return plain(asdict(summarise(*arguments, **options)))


@pytest.mark.parametrize(
    "wins, n, p", [(16, 16, 2 / 2**16), (0, 16, 2 / 2**16), (5, 5, 2 / 32), (4, 5, 12 / 32), (2, 4, 1.0), (0, 0, 1.0)]
)
def test_the_sign_test_is_exact_and_two_sided(wins, n, p):
    assert sign_test(wins, n) == pytest.approx(p)


def test_benjamini_hochberg_divides_by_the_rank():
    np.testing.assert_allclose(benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.005])), [0.02, 0.04, 0.04, 0.02])


def test_an_undefined_p_value_stays_so_and_costs_the_others_nothing():
    with_nan = benjamini_hochberg(np.array([np.nan, 0.01, np.nan, 0.2]))
    np.testing.assert_array_equal(with_nan[[1, 3]], benjamini_hochberg(np.array([0.01, 0.2])))
    assert np.isnan(with_nan[[0, 2]]).all()
    assert np.isnan(benjamini_hochberg(np.full(3, np.nan))).all() and not benjamini_hochberg(np.empty(0)).size


def test_the_p_value_counts_replicates_on_the_other_side_of_zero():
    replicates = np.full((99, 4), 1.0)
    replicates[:4, 1] = -1.0
    replicates[:, 2] = -1.0
    replicates[:, 3] = 0.0
    np.testing.assert_allclose(bootstrap_p(replicates), [2 / 100, 10 / 100, 2 / 100, 1.0])


def test_a_territory_that_most_replicates_cannot_see_has_no_p_value():
    replicates = np.ones((100, 2))
    replicates[:20, 0] = np.nan
    replicates[:5, 1] = np.nan
    assert np.isnan(bootstrap_p(replicates)[0]) and bootstrap_p(replicates)[1] == pytest.approx(2 / 96)


def test_verdicts_go_by_the_adjusted_p_value_and_the_sign():
    found = verdicts(
        np.array([2.0, -2.0, 2.0, 2.0, np.nan]),
        np.array([0.05, 0.01, 0.06, np.nan, np.nan]),
        np.array([True, True, True, False, False]),
    )
    assert found.tolist() == ["better", "worse", "undecided", "too small", "too small"]


def test_what_is_too_small_is_decided_by_support_alone():
    gains = gains_of([9.0, 9.0, 9.0, np.nan], positives=np.array([50, 49, 90, 90]), users=np.array([30, 90, 29, 90]))
    assert enough_support(gains).tolist() == [True, False, False, False]
    assert enough_support(gains, min_positives=1, min_users=1).tolist() == [True, True, True, False]


def test_a_summary_has_gains_intervals_verdicts_and_means():
    gains = gains_of([9.0, -9.0, 0.5, 9.0, np.nan], positives=np.array([90, 90, 90, 3, 0]))
    found = record_of(gains, np.array([True, True, False, True, True]))
    assert found["verdict"] == ["better", "worse", "undecided", "too small", "too small"]
    assert found["average"] == [9.0, -9.0, 0.5, 9.0, None] and found["by_period"] == [found["average"]] * 2
    assert found["p"][4] is None and found["p_adjusted"][3:] == [None, None] and found["spread"] == [None] * 5
    assert found["low"][0] < 9 < found["high"][0]
    major = {key: found["major"][key] for key in ("mean", "won", "evaluated", "better", "worse", "sign_p")}
    assert major == {"mean": 0.0, "won": 1, "evaluated": 2, "better": 1, "worse": 1, "sign_p": 1.0}
    assert found["all"]["evaluated"] == 3 and found["all"]["mean"] == pytest.approx(0.5 / 3)
    assert found["overall"]["mean"] == 3.0


def test_the_correction_is_among_the_judged_territories():
    gains = gains_of([2.2] * 3 + [9.0] * 50, positives=np.array([90] * 3 + [3] * 50))
    alone = gains_of([2.2] * 3)
    found, expected = record_of(gains, np.ones(53, bool)), np.array(record_of(alone, np.ones(3, bool))["p"])
    evaluated = np.array(found["p"][:3])
    assert expected.shape == evaluated.shape
    np.testing.assert_allclose(found["p_adjusted"][:3], benjamini_hochberg(evaluated))


def test_what_is_better_alone_is_undecided_among_many_without_a_difference():
    alone, among = (record_of(gains_of([2.2] + [0.0] * others), np.ones(1 + others, bool)) for others in (0, 20))
    assert max(alone["p"][0], among["p"][0]) <= 0.05 < among["p_adjusted"][0]
    assert (alone["verdict"][0], among["verdict"][0]) == ("better", "undecided")


def test_a_territory_without_a_gain_or_a_loss_is_no_comparison():
    found = record_of(gains_of([9.0, 9.0, 9.0, 9.0, -9.0, 0.0, 0.0, 0.0]), np.ones(8, bool))["all"]
    assert (found["won"], found["evaluated"], found["sign_p"]) == (4, 8, pytest.approx(12 / 32))


def test_nothing_judged_is_found_as_nothing():
    found = record_of(gains_of([1.0, 2.0], positives=0), np.ones(2, bool))
    assert found["all"] == {
        "mean": None, "low": None, "high": None, "won": 0, "evaluated": 0, "better": 0, "worse": 0, "sign_p": 1.0
    }  # fmt: skip

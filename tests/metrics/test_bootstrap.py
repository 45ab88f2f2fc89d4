"""Bootstrapped gains: the same bits on any threads, intervals that hold what they promise, and few false alarms."""

from dataclasses import asdict

import numpy as np
import pytest

from benchmarks.coverage import BASELINE, METHOD, PAIRS, bootstrap_gains, scored
from twotower.core.errors import InputError
from twotower.core.jit import COMPILES
from twotower.core.serialisation import plain
from twotower.metrics.average_precision import average_precision, average_precision_by
from twotower.metrics.bootstrap import (
    STAGE,
    BootstrapGains,
    Population,
    Resampling,
    percentile_interval,
    with_seed_noise,
)
from twotower.metrics.significance import summarise
from twotower.metrics.weighted_precision import LANES, weigh_blocks
from twotower.training.warm_up import compile_kernels


def record_of(*arguments, **options):
    """The summary of gains as it is written into a record."""
    return plain(asdict(summarise(*arguments, **options)))


def made_up(users=300, seeds=2, territories=4, periods=2, better=METHOD, seed=0):
    """Arguments of ``bootstrap_gains``, by name, but for rng."""
    rng = np.random.default_rng(seed)
    labels, scores, user = scored(rng, users, [better] * seeds + [BASELINE] * seeds)
    return {
        "labels": labels,
        "method": scores[:seeds],
        "baseline": scores[seeds:],
        "user": user + 7,
        "territory": user % territories,
        "n_territories": territories,
        "period": rng.integers(0, periods, user.size),
    }


def bootstrap(data, replicates=20, seed=1, **options):
    return bootstrap_gains(**data, replicates=replicates, rng=np.random.default_rng(seed), **options)


def bits(gains: BootstrapGains) -> list[bytes]:
    return [np.ascontiguousarray(value).tobytes() for value in vars(gains).values()]


def test_what_was_measured_is_the_gain_of_average_precision():
    data = made_up()
    gains = bootstrap(data, replicates=1)
    for n in range(2):
        rows = data["period"] == n
        columns = data["labels"][rows], data["territory"][rows]
        for s in range(2):
            method, baseline = (
                average_precision_by(columns[0], data[side][s, rows], columns[1], 4) for side in ("method", "baseline")
            )
            np.testing.assert_array_equal(gains.seeds[s, n], 100 * ((method - baseline) / baseline))
            method, baseline = (average_precision(columns[0], data[side][s, rows]) for side in ("method", "baseline"))
            assert gains.overall_seeds[s, n] == 100 * ((method - baseline) / baseline)
    np.testing.assert_allclose(gains.estimate, gains.seeds.mean(axis=(0, 1)))
    np.testing.assert_allclose(gains.by_period, gains.seeds.mean(axis=0))
    assert gains.mean(np.array([0, 2])) == pytest.approx(gains.estimate[[0, 2]].mean())


def test_a_replicate_is_the_gain_on_the_users_drawn():
    data = made_up(periods=1)
    gains = bootstrap(data, replicates=1, seed=3)
    population = Population(data["user"], data["territory"], 4)
    start = np.random.default_rng(3).integers(0, 2**63 - 1, 1)[0]
    times = population.draw(np.random.default_rng(start))[population.row]
    rows = np.repeat(np.arange(len(times)), times)  # the pairs of a user as often as the user was resampled
    for s in range(2):
        method, baseline = (
            average_precision_by(data["labels"][rows], data[side][s, rows], data["territory"][rows], 4)
            for side in ("method", "baseline")
        )
        np.testing.assert_allclose(gains.resampled[0, s], 100 * (method - baseline) / baseline, rtol=1e-12)


def test_methods_that_share_a_resampling_have_the_gains_of_two_alone():
    data = made_up()
    keys = ("labels", "user", "territory", "n_territories", "period")
    resampling = Resampling(*(data[key] for key in keys), rng=np.random.default_rng(1), replicates=20)
    method, baseline = (resampling.pr_auc(data[side]) for side in ("method", "baseline"))
    assert bits(resampling.gains(method, baseline)) == bits(bootstrap(data))
    turned = data | {"method": data["baseline"], "baseline": data["method"]}
    assert bits(resampling.gains(baseline, method)) == bits(bootstrap(turned))


def test_each_territory_keeps_its_number_of_users():
    rng = np.random.default_rng(0)
    user = rng.integers(0, 100, 500)
    population = Population(user, user % 3, 5)
    for _ in range(20):
        weight = population.draw(rng)
        assert np.bincount(population.home, weight, 5).tolist() == population.residents.tolist()
    assert population.residents[3:].tolist() == [0, 0] and population.residents.sum() == len(set(user.tolist()))
    assert weight.max() > 1 and weight.min() == 0


def test_every_user_is_drawn_as_often_as_the_others():
    population = Population(np.arange(10), np.arange(10) % 2, 2)
    rng = np.random.default_rng(0)
    mean = np.mean([population.draw(rng) for _ in range(4000)], axis=0)
    np.testing.assert_allclose(mean, 1, atol=0.08)  # its standard error is 0.014


def test_the_same_seed_gives_the_same_bits_on_one_thread_and_on_two():
    data = made_up()
    alone, again, other = (bootstrap(data, 3 * LANES + 1, **how) for how in ({}, {"threads": 2}, {"seed": 2}))
    assert bits(alone) == bits(again) == bits(bootstrap(data, 3 * LANES + 1))
    assert not np.array_equal(alone.resampled, other.resampled)


def test_the_order_of_the_pairs_and_the_names_of_the_users_change_nothing():
    data = made_up()
    shuffled = np.random.default_rng(5).permutation(len(data["labels"]))
    moved = {key: value[..., shuffled] if isinstance(value, np.ndarray) else value for key, value in data.items()}
    moved["user"] = 3 * moved["user"] + 10**12
    assert bits(bootstrap(moved)) == bits(bootstrap(data))


def test_two_equal_models_have_no_gain_in_any_replicate():
    data = made_up()
    gains = bootstrap(data | {"baseline": data["method"]})
    assert not gains.replicates.any() and not gains.overall_replicates.any()
    found = record_of(gains, np.ones(4, bool))
    assert found["p"] == [1.0] * 4 and found["all"]["sign_p"] == 1.0 and found["all"]["better"] == 0


def test_without_a_difference_alarms_are_as_rare_as_promised():
    worlds = 40 if COMPILES else 3
    p, outside = [], 0
    for seed in range(worlds):
        gains = bootstrap(made_up(users=300, better=BASELINE, seed=seed), replicates=100, seed=seed + worlds)
        found = record_of(gains, np.ones(4, bool))
        p += found["p"]
        outside += not found["all"]["low"] < 0 < found["all"]["high"]
        assert set(found["verdict"]) == {"undecided"}
    assert np.mean(np.array(p) <= 0.05) <= 0.1 and np.median(p) > 0.3
    assert outside <= 0.15 * worlds


def test_a_planted_difference_is_found_where_it_is():
    data = made_up(users=400, better=BASELINE)
    there = (data["territory"] == 2) & (data["labels"] == 1)
    data["method"][:, there] += 1.5
    found = record_of(bootstrap(data, replicates=200), np.ones(4, bool))
    assert found["verdict"] == ["undecided", "undecided", "better", "undecided"]
    assert found["low"][2] > 0 and found["major"]["better"] == 1
    turned = record_of(
        bootstrap(data | {"method": data["baseline"], "baseline": data["method"]}, 200), np.ones(4, bool)
    )
    assert turned["verdict"][2] == "worse"


def test_a_replicate_without_a_positive_is_undefined_and_too_many_leave_no_interval():
    data = made_up(users=120, periods=1)
    for territory, residents in ((1, 1), (2, 12)):  # that many users there keep their positives
        allowed = np.unique(data["user"][data["territory"] == territory])[:residents]
        data["labels"][(data["territory"] == territory) & ~np.isin(data["user"], allowed)] = 0
        data["labels"][np.isin(data["user"], allowed)] = np.resize([1, 0, 0], PAIRS * residents)
    data["labels"][data["territory"] == 3] = 0
    gains = bootstrap(data, replicates=300)
    defined = (~np.isnan(gains.replicates)).mean(axis=0)
    assert defined[0] == 1 and defined[3] == 0
    assert defined[1] == pytest.approx(1 - np.exp(-1), abs=0.1) and 0.99 < defined[2] <= 1
    low, high = percentile_interval(gains.replicates)
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [False, True, False, True]
    assert np.isnan(gains.estimate).tolist() == [False, False, False, True]
    assert not np.isnan(gains.mean_over(np.arange(4))).any()  # of the others
    assert gains.users_with_positives[1:].tolist() == [1, 12, 0] and gains.positives[3] == 0


def test_a_period_without_a_positive_is_left_out_of_the_mean():
    data = made_up()
    data["labels"][(data["period"] == 1) & (data["territory"] == 2)] = 0
    gains = bootstrap(data, replicates=2)
    assert np.isnan(gains.by_period[1, 2]) and gains.estimate[2] == gains.by_period[0, 2]
    assert not np.isnan(gains.replicates).any()


def test_a_last_period_without_pairs_is_undefined_and_leaves_the_mean_alone():
    data = made_up()
    without, with_it = bootstrap(data), bootstrap(data, n_periods=3)
    assert with_it.by_period.shape == (3, 4) and np.isnan(with_it.by_period[2]).all()
    np.testing.assert_array_equal(with_it.estimate, without.estimate)
    np.testing.assert_array_equal(with_it.resampled, without.resampled)


def test_the_percentile_interval_leaves_as_much_out_on_each_side():
    low, high = percentile_interval(np.arange(1001.0))
    assert (low, high) == (pytest.approx(25.0), pytest.approx(975.0))
    low, high = percentile_interval(np.arange(1001.0)[:, None], level=0.5)
    assert (low.tolist(), high.tolist()) == ([pytest.approx(250.0)], [pytest.approx(750.0)])


def test_the_seeds_part_is_what_users_do_not_explain():
    resampled = np.array([[1.0, 3.0], [3.0, 5.0]])  # seeds 2 apart whatever the users are: variance 2 over seeds
    np.testing.assert_allclose(
        with_seed_noise(resampled, np.array([1.0, 3.0]), np.array([0.0, 2.0])), [2.0, 4.0 + 2 * 1.0]
    )
    crossed = np.array([[1.0, 3.0], [3.0, 1.0]])  # all of it is of users within a seed
    np.testing.assert_allclose(with_seed_noise(crossed, np.array([1.0, 3.0]), np.array([0.0, 2.0])), [2.0, 2.0])
    np.testing.assert_allclose(with_seed_noise(resampled[:, :1], np.array([1.0]), np.zeros(2)), resampled[:, 0])


@pytest.mark.skipif(not COMPILES, reason="six thousand replicates take a minute without compiled kernels")
def test_the_luck_of_seeds_has_the_tails_of_so_few():
    for seeds, middle in ((2, 1.0), (3, 0.8165)):  # half of all draws of Student's t with 1 and 2 degrees of freedom
        seed_noise = bootstrap(made_up(users=60, seeds=seeds), replicates=3000).seed_noise
        assert np.median(np.abs(seed_noise)) == pytest.approx(middle, rel=0.07)


def test_a_lucky_seed_is_lucky_in_all_territories_at_once():
    by_seed = np.array([[1.0, 10.0], [3.0, 14.0]])
    seed_noise = np.random.default_rng(0).standard_t(1, 50)
    found = with_seed_noise(
        np.broadcast_to(by_seed, (50, 2, 2)), by_seed, seed_noise
    )  # the same users in each replicate
    np.testing.assert_allclose((found - found.mean(0))[:, 1], 2 * (found - found.mean(0))[:, 0])


def test_more_spread_between_seeds_makes_a_wider_interval():
    data = made_up(users=400, seeds=4, periods=1)
    steady = bootstrap(data, replicates=200)
    positive = data["labels"] == 1
    data["method"][:, positive] += np.array([-0.6, 0.6, -0.6, 0.6], np.float32)[:, None]
    shaky = bootstrap(data, replicates=200)
    widths = [np.subtract(*percentile_interval(gains.replicates)[::-1]) for gains in (steady, shaky)]
    assert (widths[1] > 1.5 * widths[0]).all() and (shaky.spread > 3 * steady.spread).all()


@pytest.mark.slow
@pytest.mark.skipif(not COMPILES, reason="two hundred worlds take minutes without compiled kernels")
@pytest.mark.parametrize("seeds, spread", [(1, 0.0), (5, 0.05)])
def test_intervals_hold_the_truth_as_often_as_they_say(seeds, spread):
    rng = np.random.default_rng(4)
    nodes, share = np.polynomial.hermite_e.hermegauss(7)  # the mean over all seeds, by quadrature
    labels, scores, _ = scored(rng, 40_000, [*(METHOD + spread * nodes), *(BASELINE + spread * nodes)])
    pr_auc = np.array([average_precision(labels, one) for one in scores])
    method, inverse = pr_auc[:7] @ share / share.sum(), (1 / pr_auc[7:]) @ share / share.sum()
    truth = 100 * (method * inverse - 1)
    held = 0
    for _ in range(200):
        labels, scores, user = scored(
            rng, 60, np.repeat([METHOD, BASELINE], seeds) + spread * rng.normal(size=2 * seeds)
        )
        nowhere = np.zeros_like(user)
        gains = bootstrap_gains(
            labels, scores[:seeds], scores[seeds:], user, nowhere, 1, nowhere, rng=rng, replicates=150
        )
        low, high = percentile_interval(gains.replicates)
        held += int(low[0] <= truth <= high[0])
    assert 0.90 <= held / 200 <= 0.99


@pytest.mark.skipif(not COMPILES, reason="nothing is compiled")
def test_one_compiled_kernel_serves_all():
    compile_kernels()
    bootstrap(made_up(users=40))
    bootstrap(made_up(users=40) | {"method": np.ones((1, 320)), "baseline": np.ones((1, 320))})
    assert len(weigh_blocks.signatures) == 1


def test_it_says_where_it_is():
    seen = []
    bootstrap(made_up(users=40), replicates=LANES + 1, progress=lambda *where: seen.append(where))
    assert seen == [(STAGE, done, LANES + 1) for done in (0, LANES, LANES + 1)]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"method": np.zeros((2, 3), np.float32)}, "expected two tables, seeds × 2400 pairs"),
        ({"method": np.zeros((0, 2400)), "baseline": np.zeros((0, 2400))}, "expected two tables"),
        ({"labels": np.full(2400, 2)}, "labels: row 0 holds 2"),
        ({"n_territories": 3}, "territories: row 24 holds 3"),
        ({"period": np.full(2400, -1)}, "periods: row 0 holds -1"),
        ({"user": np.zeros(2400, int)}, "user 0 has pairs in two territories, the second in row 8"),
        ({"user": np.zeros(2400)}, "users: float64"),
        ({"baseline": np.full((2, 2400), np.nan, np.float32)}, "scores: 2400 of 2400 are NaN"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        bootstrap(made_up() | change)

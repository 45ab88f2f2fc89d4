"""Means over users: those of the users drawn, with intervals that hold what they promise."""

import numpy as np
import pytest

from twotower.core.errors import InputError
from twotower.metrics.significance import ENOUGH_USERS
from twotower.metrics.user_means import UserMeans


def made_up(rng, n=300, seeds=3, territories=4):
    """Figures from 0 to 1 of users in territories, the last of which has nobody; some have none."""
    values = rng.random((seeds, n))
    values[:, rng.random(n) < 0.1] = np.nan
    return values, rng.integers(0, territories - 1, n)


def test_what_is_measured_are_means_and_a_replicate_is_the_mean_of_the_users_drawn(rng):
    values, territory = made_up(rng)
    users = UserMeans(territory, 4, np.random.default_rng(1), replicates=70)
    found = users.means(values)
    for s in range(3):
        expected = [np.nanmean(values[s, territory == c]) for c in range(3)]
        np.testing.assert_allclose(found.measured[s, 0], [*expected, np.nan, np.nanmean(values[s])])
    for r in (0, 69):
        rows = np.repeat(np.arange(300), users.drawn[r][users.population.row])
        assert np.bincount(territory[rows]).tolist() == np.bincount(territory).tolist()
        np.testing.assert_allclose(found.resampled[r, :, 0, -1], np.nanmean(values[:, rows], axis=1))
        np.testing.assert_allclose(found.resampled[r, 1, 0, 2], np.nanmean(values[1, rows[territory[rows] == 2]]))


def test_levels_gains_and_changes_agree(rng):
    values, territory = made_up(rng)
    users = UserMeans(territory, 4, np.random.default_rng(1), replicates=200)
    method, baseline = users.means(np.minimum(1.1 * values, 1.1)), users.means(values)
    level = users.level(baseline)
    assert level.overall.mean == pytest.approx(np.nanmean(values)) and level.low[0] < level.mean[0] < level.high[0]
    assert level.macro.mean == pytest.approx(np.nanmean(level.mean)) and np.isnan(level.mean[3])
    gain = users.gain(method, baseline, np.ones(4, bool))
    assert gain.overall.mean == pytest.approx(10) and gain.all.evaluated == gain.all.better == 3
    change = users.change(method, baseline)
    assert change.mean == pytest.approx(0.1 * level.overall.mean) and change.low > 0


def test_the_noise_of_seeds_widens_an_interval(rng):
    """Two trainings far apart say little, however many users agree in each."""
    values = np.stack([np.full(400, 0.4), np.full(400, 0.6)]) + rng.normal(0, 0.01, (2, 400))
    users = UserMeans(np.zeros(400, int), 1, np.random.default_rng(0), replicates=400)
    apart, one = users.level(users.means(values)).overall, users.level(users.means(values[:1])).overall
    assert one.high - one.low < 0.01 and apart.high - apart.low > 0.5 and 0 <= apart.low < 0.5 < apart.high <= 1


def test_a_territory_with_few_users_counts_for_no_mean(rng):
    territory = np.repeat([0, 1], [ENOUGH_USERS, ENOUGH_USERS - 1])
    values = np.where(territory == 0, 0.25, 0.75)[None]
    users = UserMeans(territory, 2, np.random.default_rng(0), replicates=20)
    level = users.level(users.means(values))
    assert level.macro.mean == 0.25 and level.mean.tolist() == [0.25, 0.75] and level.overall.mean > 0.4


def test_intervals_cover_the_truth_as_often_as_they_say():
    """The mean of coins of users, 400 times, with the same users drawn."""
    rng, users = np.random.default_rng(0), UserMeans(np.zeros(100, int), 1, np.random.default_rng(1), replicates=200)
    levels = [users.level(users.means((rng.random((1, 100)) < 0.3).astype(float))).overall for _ in range(400)]
    assert 0.90 <= np.mean([level.low <= 0.3 <= level.high for level in levels]) <= 0.98


def test_figures_of_other_users_are_refused():
    users = UserMeans(np.zeros(5, int), 1, np.random.default_rng(0), replicates=1)
    with pytest.raises(InputError, match="expected a table, seeds × 5 users"):
        users.means(np.zeros((2, 4)))

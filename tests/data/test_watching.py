"""First streams and repeats: what the clocks promise."""

import numpy as np
import pytest

from twotower.data.dataset import HISTORY
from twotower.data.synthetic.watching import INACTIVE, REPEATS, Watches, first_streams, repeats, sample_rates
from twotower.data.synthetic.world import WorldConfig

N = 40_000  # users


def config(**settings):
    return WorldConfig(**{"users": 1000, "history_days": 10, "train_days": 20, "test_days": 0, **settings})


def watch(rate, shares, launch, seed=0, **settings):
    """First streams of N users with one rate and one row of shares."""
    shares = np.tile(np.array(shares, np.float32), (N, 1))
    rates = np.full(N, rate, np.float32)
    return first_streams(config(**settings), np.array(launch), rates, shares, np.random.default_rng(seed))


def test_rates_have_the_mean_asked_for_a_heavy_tail_and_many_users_who_hardly_watch():
    rates = sample_rates(config(streams=0.3), 400_000, np.random.default_rng(0))
    assert rates.mean() == pytest.approx(0.3, rel=0.05) and rates.dtype == np.float32
    assert np.sort(rates)[-40_000:].sum() > 0.35 * rates.sum()  # a tenth of the users
    assert (rates < 0.3 / 20).mean() == pytest.approx(INACTIVE, abs=0.02)


def test_nobody_streams_a_title_for_the_first_time_twice():
    first = watch(rate=5.0, shares=[0.5, 0.3, 0.2], launch=[-10, -10, -10])
    assert len(np.unique(first.user * 3 + first.title)) == len(first.user)


def test_a_clock_rings_as_often_and_as_early_as_its_rate_says():
    first = watch(rate=0.1, shares=[0.75, 0.25], launch=[-10, 5])
    for title, (share, days, launch) in enumerate([(0.75, 30, -10), (0.25, 15, 5)]):
        time = first.time[first.title == title]
        rate = 0.1 * share
        assert len(time) / N == pytest.approx(1 - np.exp(-rate * days), rel=0.03)
        early = (time < launch + days / 3).sum() / N
        assert early == pytest.approx(1 - np.exp(-rate * days / 3), rel=0.05)


def test_the_first_title_that_a_user_streams_follows_the_shares():
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    first = watch(rate=3.0, shares=shares, launch=[-10] * 4)
    in_order = np.lexsort((first.time, first.user))
    _, starts = np.unique(first.user[in_order], return_index=True)
    assert np.bincount(first.title[in_order][starts]) / N == pytest.approx(shares, abs=0.01)


def test_no_title_is_streamed_before_its_launch_where_it_is_not_offered_or_after_the_log():
    first = watch(rate=50.0, shares=[0.6, 0.4, 0.0], launch=[-10, 12, -10])
    assert set(first.title) == {0, 1} and first.time[first.title == 1].min() >= 12
    assert first.time.min() >= -10 and first.time.max() < 20
    assert set(first.day) <= set(range(HISTORY, 20))


def test_the_whole_history_is_one_day():
    watches = Watches(np.zeros(4, int), np.zeros(4, int), np.array([-9.5, -0.1, 0.0, 7.9]))
    assert watches.day.tolist() == [HISTORY, HISTORY, 0, 7] and watches.day.dtype == np.int16


def test_repeats_come_after_the_first_stream_and_within_the_log():
    first = watch(rate=0.2, shares=[0.5, 0.5], launch=[-10, -10])
    again = repeats(20, np.array([0, 1]), first, np.random.default_rng(1))
    began = dict(zip(zip(first.user, first.title, strict=True), first.time, strict=True))
    assert all(time >= began[u, t] for u, t, time in zip(*again, strict=True))
    assert again.time.max() < 20 and len(again.user) > 0


def test_series_are_repeated_most_and_the_average_is_as_said():
    early = Watches(np.arange(N), np.arange(N) % 2, np.full(N, -400.0))  # no repeat is too late for the log
    films, series = np.bincount(repeats(20, np.array([0, 1]), early, np.random.default_rng(0)).title)
    assert (films + series) / N == pytest.approx(REPEATS, rel=0.03) and series > 5 * films

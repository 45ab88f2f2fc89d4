"""Active users are shared out as the quota says, to the last one."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from profiles import examples

from twotower.data.sampling.quotas import QUOTAS, active_quota, fill_up, round_within


@st.composite
def territories(draw):
    """Users available, positives there already, positives an active user brings, and users to share out."""
    n = draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    available = rng.integers(0, 40, n)
    base, per_user = rng.integers(0, 60, n).astype(float), np.where(available, 1 + 4 * rng.random(n), 0.0)
    return available, base, per_user, draw(st.integers(0, int(available.sum())))


@examples(100)
@given(territories(), st.sampled_from(QUOTAS))
def test_quotas_add_up_and_nobody_is_asked_for_who_is_not_there(world, quota):
    available, base, per_user, total = world
    users = active_quota(quota, total, available, base, per_user)
    assert users.sum() == total and (users >= 0).all() and (users <= available).all()


@examples(100)
@given(territories())
def test_water_finds_one_level(world):
    available, base, per_user, total = world
    x = fill_up(base, per_user, available, total)
    assert np.isclose(x.sum(), total) and (x >= 0).all() and (x <= available).all()
    positives = base + per_user * x
    wet, not_full = x > 1e-9, x < available - 1e-9
    assume(wet.any() and not_full.any())  # nothing was poured where it was higher than where there was room
    assert positives[wet].max() <= positives[not_full].min() + 1e-6


@examples(100)
@given(territories())
def test_adaptive_raises_the_minimum_at_least_as_far_as_any_other_quota(world):
    available, base, per_user, total = world
    lowest = {
        quota: (base + per_user * active_quota(quota, total, available, base, per_user)).min() for quota in QUOTAS
    }
    one_user = per_user.max()  # by which rounding to whole users may miss
    assert lowest["adaptive"] >= max(lowest.values()) - one_user
    assert lowest["adaptive"] >= base.min()


def test_the_three_quotas_by_hand():
    available, base = np.array([60, 30, 10]), np.array([100.0, 20.0, 0.0])
    per_user = np.array([2.0, 2.0, 4.0])
    assert active_quota("proportional", 20, available, base, per_user).tolist() == [12, 6, 2]
    assert active_quota("equal", 36, available, base, per_user).tolist() == [13, 13, 10]
    # the third is filled to 20 with 5 users, then second and third rise together to 40: 10 and 5 users
    assert active_quota("adaptive", 5, available, base, per_user).tolist() == [0, 0, 5]
    assert active_quota("adaptive", 20, available, base, per_user).tolist() == [0, 10, 10]
    assert active_quota("adaptive", 50, available, base, per_user).tolist() == [10, 30, 10]


def test_more_than_there_are_is_refused():
    with pytest.raises(ValueError, match="11 users asked for, 10 available"):
        active_quota("equal", 11, np.array([4, 6]), np.zeros(2), np.ones(2))


def test_rounding_keeps_the_sum_within_the_capacity():
    assert round_within(np.array([1.5, 1.5, 1.0]), 4, np.array([1, 9, 9])).tolist() == [1, 2, 1]
    assert round_within(np.array([0.4, 0.3, 0.3]), 1, np.array([0, 1, 1])).tolist() == [0, 1, 0]
    assert round_within(np.zeros(2), 0, np.zeros(2, int)).tolist() == [0, 0]

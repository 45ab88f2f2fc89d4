"""Negatives could have been watched and never were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples
from toy_logs import Log, random_log

from twotower.data.first_streams import FirstStreams
from twotower.data.sampling.negatives import Candidates, sample_negatives


def draw(log: Log, user, wanted, day: int = 5, key: int = 7):
    candidates = Candidates(log.availability, log.launch_day)
    wanted = np.broadcast_to(np.asarray(wanted, float), np.shape(user))
    return sample_negatives(np.asarray(user), wanted, day, log.user_territory, FirstStreams.read(log), candidates, key)


def equal_users(n_users: int, n_titles: int, watched: int | None = None) -> Log:
    """Users of one territory who all have watched one title, or none, out of those that are all there."""
    user = np.arange(n_users if watched is not None else 0)
    return Log(
        day=np.zeros(len(user), int),
        user=user,
        title=np.full(len(user), watched or 0),
        user_territory=np.zeros(n_users, int),
        availability=np.ones((n_titles, 1), bool),
        launch_day=np.zeros(n_titles, int),
        train_days=10,
        test_days=0,
    )


@examples(80)
@given(
    st.integers(0, 9999), st.integers(1, 15), st.integers(1, 30), st.integers(0, 60),
    st.integers(0, 12), st.integers(0, 25), st.integers(0, 2**64 - 1),
)  # fmt: skip
def test_negatives_are_available_launched_unwatched_and_different(seed, n_users, n_titles, n_events, day, wanted, key):
    log = random_log(seed, n_users, n_titles, 3, n_events)
    drawn = draw(log, np.arange(n_users), wanted, day, key)
    shortfall = np.zeros(3, int)
    for user in range(n_users):
        titles = drawn.title[drawn.user == user].tolist()
        could = log.could_watch(user, day)
        assert len(set(titles)) == len(titles) == min(wanted, len(could))
        assert set(titles) <= could
        shortfall[log.user_territory[user]] += wanted - len(titles)
    np.testing.assert_array_equal(drawn.shortfall, shortfall)
    assert (np.diff(drawn.user) >= 0).all()


@pytest.mark.parametrize("n_titles", [12, 60], ids=["many out of few", "few out of many"])
def test_every_candidate_is_as_likely_as_any_other(n_titles):
    log = equal_users(900, n_titles, watched=3)
    counts = np.bincount(draw(log, np.arange(900), 6).title, minlength=n_titles)
    assert counts[3] == 0
    expected = 900 * 6 / (n_titles - 1)
    chi_square = np.sum((np.delete(counts, 3) - expected) ** 2) / expected
    freedom = n_titles - 2
    assert abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom)


def test_a_fraction_is_right_on_average():
    log = equal_users(900, 50)
    drawn = np.bincount(draw(log, np.arange(900), 2.3).user)
    assert set(drawn) == {2, 3} and abs(np.mean(drawn) - 2.3) < 0.08
    assert set(np.bincount(draw(log, np.arange(900), 4.0).user)) == {4}


def test_a_users_negatives_do_not_depend_on_who_else_is_drawn():
    log = random_log(n_users=40, n_titles=30)
    together = draw(log, np.arange(40), 4)
    for user in (0, 17, 39):
        np.testing.assert_array_equal(together.title[together.user == user], draw(log, [user], 4).title)
    backwards = draw(log, np.arange(40)[::-1], 4)
    np.testing.assert_array_equal(
        np.sort(together.user * 100 + together.title), np.sort(backwards.user * 100 + backwards.title)
    )


def test_users_days_and_keys_draw_differently():
    log = random_log(n_users=2, n_titles=200, n_events=0, n_territories=1)
    log.availability[:], log.launch_day[:] = True, 0
    base = draw(log, [0], 20).title.tolist()
    assert base == draw(log, [0], 20).title.tolist()
    others = draw(log, [1], 20), draw(log, [0], 20, day=6), draw(log, [0], 20, key=8)
    for other in others:  # 2 of 20 would be shared by chance
        assert len(set(base) & set(other.title.tolist())) < 10


def test_what_is_watched_on_a_later_day_is_no_negative_either():
    log = equal_users(1, 4)
    log.day, log.user, log.title = np.array([-1, 9]), np.array([0, 0]), np.array([1, 2])
    assert set(draw(log, [0], 4, day=0).title.tolist()) == {0, 3}


def test_candidates_come_in_order_of_launch():
    availability = np.array([[1, 0], [1, 1], [0, 1], [1, 1]], bool)
    candidates = Candidates(availability, np.array([5, 0, 2, 2]))
    assert candidates.title.tolist() == [1, 3, 0, 1, 2, 3] and candidates.start.tolist() == [0, 3, 6]
    assert [candidates.launched(day).tolist() for day in (-1, 0, 1, 2, 5)] == [
        [0, 0], [1, 1], [1, 1], [2, 3], [3, 3],
    ]  # fmt: skip


def test_nobody_asked_is_nothing_drawn():
    drawn = draw(random_log(), np.array([], int), 8)
    assert len(drawn.user) == len(drawn.title) == drawn.shortfall.sum() == 0

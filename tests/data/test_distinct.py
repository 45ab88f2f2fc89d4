"""Of the events of one user, title and day one is kept, and all stand in order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.data.ingest.distinct import distinct_events, order_of_days


@examples(80)
@given(
    st.lists(st.tuples(st.integers(-5, 9), st.integers(0, 3), st.integers(0, 40)), max_size=60),
    st.booleans(),
)
def test_distinct_events_are_those_of_a_set_in_order(rows, timed):
    day, user, title = np.array(sorted(rows, key=lambda row: row[0]), np.int32).reshape(-1, 3).T.copy()
    found = distinct_events(user, title, day if timed else None, 5, 41)
    expected = sorted({(d if timed else 0, u, t) for d, u, t in rows})
    assert list(zip(found[2].tolist(), found[0].tolist(), found[1].tolist(), strict=True)) == expected
    assert {column.dtype for column in found} == {np.dtype("i4")}


def test_a_user_with_very_many_titles_has_them_in_order_too():
    title = np.random.default_rng(0).permutation(5000).astype(np.int32)
    user, found, _ = distinct_events(np.ones(5000, np.int32), title, None, 2, 5000)
    assert found.tolist() == list(range(5000)) and user.all()


@pytest.mark.parametrize("far", [0, 9, 1 << 20])
def test_events_of_one_day_keep_their_order(far):
    day = np.array([3, 1, 2, 1, 3 + far, 1], np.int32)
    assert order_of_days(day).tolist() == [1, 3, 5, 2, 0, 4]


def test_what_is_in_order_is_left_alone():
    assert order_of_days(np.array([-1, 0, 0, 7])) is None
    assert order_of_days(np.array([], np.int32)) is None

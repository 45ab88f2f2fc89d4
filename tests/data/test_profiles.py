"""Who lives where, and what is known of users and titles."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_logs import log
from profiles import examples

from twotower.core.errors import InputError
from twotower.data.ingest import territory_names
from twotower.data.ingest.events import NONE
from twotower.data.ingest.profiles import SideData, assign_territories, describe_titles, describe_users, majority
from twotower.data.ingest.side_tables import SideTable


def table(ids: str, **columns: list[str]) -> SideTable:
    return SideTable(Path("table.csv"), {name: row for row, name in enumerate(ids)}, columns)


def homes(events, known=None):
    """Territories, the one of each user by code, and the notes."""
    notes = []
    ids, user = events.user.renumbered()
    territories, home, _ = assign_territories(events, known or SideData(), user, ids, notes)
    return territories, dict(zip(ids, [territories.code[i] for i in home], strict=True)), notes


@examples(100)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 3)), max_size=30))
def test_the_majority_is_what_counting_by_hand_gives(pairs):
    owner, value = np.array(pairs, np.int32).reshape(-1, 2).T
    choice, several = majority(owner, value, 5)
    expected, torn = [], 0
    for person in range(5):
        own = [v for o, v in pairs if o == person and v != NONE]
        torn += len(set(own)) > 1
        # max keeps the first of equals, and dict.fromkeys the order of first appearance
        expected.append(max(dict.fromkeys(own), key=own.count) if own else NONE)
    assert choice.tolist() == expected
    assert several == torn


def test_a_user_lives_where_most_of_the_events_are():
    territories, home, notes = homes(log("aaabb", "vwxyz", ["DE", "FR", "FR", "DE", "DE"]))
    assert home == {"a": "FR", "b": "DE"}
    assert territories.users.tolist() == [1, 1]
    assert notes == ["1 user seen in several territories: assigned to the one with most of their events."]


def test_on_a_tie_the_earliest_counts():
    assert homes(log("aaaa", "wxyz", ["FR", "DE", "DE", "FR"]))[1] == {"a": "FR"}


def test_territories_stand_in_order_of_users_and_those_without_users_are_left_out():
    territories, _, _ = homes(log("abcddd", "xxxxyz", ["DE", "FR", "FR", "FR", "PL", "FR"]))
    assert territories.code == ["FR", "DE"]
    assert territories.users.tolist() == [3, 1]
    assert territories.users.dtype == np.int64


def test_spellings_of_one_country_are_one_territory_before_majorities_are_counted():
    events = log("aaaaabc", "tuvwxyz", ["UK", "UK", "United Kingdom", "FR", "FR", "Great Britain", "FR"])
    territories, home, _ = homes(events)
    assert home == {"a": "GB", "b": "GB", "c": "FR"}
    assert territories.name == ["United Kingdom", "France"]


def test_an_unknown_territory_stays_without_a_place_and_is_told():
    territories, home, notes = homes(log("ab", "xx", ["Atlantis", "DE"]))
    assert home == {"a": "Atlantis", "b": "DE"}
    assert np.isnan(territories.latitude[territories.index("Atlantis")])
    (note,) = notes
    assert note.startswith("1 territory without a place, for no such country is known in English: 'Atlantis' (")


def test_territories_may_come_from_the_table_of_users():
    users = table("bac", land=["FR", "DE", "PL"], age=["1", "2", "3"])
    territories, home, notes = homes(log("ab", "xx", ["US", "US"]), SideData(users=users, territory="land"))
    assert home == {"a": "DE", "b": "FR"}
    assert sorted(territories.code) == ["DE", "FR"]
    assert notes == []


def test_a_user_without_a_territory_is_named():
    users = table("ab", land=["DE", " "])
    with pytest.raises(InputError, match=r"table.csv, column 'land': no territory for 2 users of the log, such as 'b'"):
        homes(log("abc", "xxx"), SideData(users=users, territory="land"))


def test_a_log_without_territories_is_refused():
    with pytest.raises(InputError, match="no territories"):
        homes(log("ab", "xx"))


def test_more_territories_than_users_can_carry_are_refused(monkeypatch):
    monkeypatch.setattr(territory_names, "MAX_TERRITORIES", 2)
    with pytest.raises(InputError, match="3 territories, such as 'x1', expected at most 2"):
        homes(log("abc", "xxx", ["x1", "x2", "x3"]))


def describe(events, known):
    notes = []
    user_ids, user = events.user.renumbered()
    title_ids, title = events.title.renumbered()
    columns = (
        describe_users(events, known, user, user_ids, notes),
        describe_titles(events, known, title, title_ids, notes),
    )
    return *columns, notes


def test_columns_of_the_tables_come_in_the_order_of_the_dataset():
    known = SideData(
        users=table("abz", land=["DE", "FR", "PL"], age=["1", "2", "3"]),
        titles=table("yx", genre=["pop", "rock"]),
        territory="land",
    )
    users, titles, notes = describe(log("ba", "xy"), known)
    assert users == {"age": ["2", "1"]}, "the territory is stored elsewhere"
    assert titles == {"genre": ["rock", "pop"]}
    assert notes == ["1 of 3 users in table.csv not used: no events."]


def test_columns_of_the_log_are_settled_by_majority():
    events = log("aaabc", "xyzxy", age=["1", "2", "2", "", "3"], genre=["pop", "", "jazz", "rock", "blues"])
    users, titles, notes = describe(events, SideData(user_info=("age",), title_info=("genre",)))
    assert users == {"age": ["2", "", "3"]}
    assert titles == {"genre": ["pop", "blues", "jazz"]}
    assert notes == [
        "1 user with several values of 'age': the most frequent is kept.",
        "1 title with several values of 'genre': the most frequent is kept.",
    ]


def test_a_column_of_both_the_log_and_the_table_is_refused():
    known = SideData(users=table("a", age=["1"]), user_info=("age",))
    with pytest.raises(
        InputError, match="column 'age' is in the events and in --users: remove it from one, or drop --user-info age"
    ):
        describe(log("a", "x", age=["1"]), known)


def test_a_column_that_is_called_like_the_ids_gets_an_underscore():
    known = SideData(titles=table("x", title=["The Name"]))
    assert describe(log("a", "x"), known)[1] == {"title_": ["The Name"]}

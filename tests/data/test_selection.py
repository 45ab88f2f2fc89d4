"""Which events of a log become a dataset, and what is told of the others."""

from pathlib import Path

import pytest
from made_up_logs import log

from twotower.core.errors import InputError
from twotower.data.ingest.selection import Selection
from twotower.data.ingest.side_tables import SideTable

TITLES = SideTable(Path("titles.csv"), {"x": 0, "y": 1}, {})


def events_of(selection: Selection) -> str:
    """The titles that are left, an event each."""
    kept = selection.events()
    return "".join(kept.title.names[code] for code in kept.title.codes)


def test_titles_are_kept_where_the_expression_is_found():
    notes: list[str] = []
    selection = Selection(log("aabc", ["85123A", "POST", "22222", "x12345"]), notes)
    selection.match_titles(r"^\d{5}")
    assert events_of(selection) == "85123A22222"
    assert notes == [r"2 titles left out with 2 events: no match of ^\d{5}."]


def test_titles_with_few_users_are_left_out_however_often_they_were_watched():
    notes: list[str] = []
    selection = Selection(log("aaaabb", "xxxyxy"), notes)
    selection.require_users(2)
    assert events_of(selection) == "xxxyxy"
    selection = Selection(log("aaaab", "xxxyy"), notes)
    selection.require_users(2)
    assert events_of(selection) == "yy"
    assert notes == ["1 title left out with 3 events: fewer than 2 users."]


def test_steps_see_what_the_steps_before_have_left():
    notes: list[str] = []
    events = log("abcc", "xxxy")
    selection = Selection(events, notes)
    selection.require_known("user", events.user, SideTable(Path("users.csv"), {"a": 0, "c": 1}, {}), "drop")
    selection.require_users(3)
    with pytest.raises(InputError, match=r"no events are left of 4: 1 user left out .* users.csv. 2 titles left out"):
        selection.events()


def test_unlisted_titles_fail_with_their_number_and_one_of_them():
    events = log("abc", "xzw")
    with pytest.raises(InputError, match=r"titles.csv: 2 of 3 titles in the log are not in it, such as 'z'"):
        Selection(events, []).require_known("title", events.title, TITLES, "fail")


def test_unlisted_titles_may_be_dropped_or_kept():
    events, notes = log("abcd", "xzwy"), []
    selection = Selection(events, notes)
    selection.require_known("title", events.title, TITLES, "keep")
    assert events_of(selection) == "xzwy"
    selection.require_known("title", events.title, TITLES, "drop")
    assert events_of(selection) == "xy"
    assert notes == [
        "2 titles kept that are not in titles.csv.",
        "2 titles left out with 2 events: not in titles.csv.",
    ]


@pytest.mark.parametrize("unknown_ids", ["fail", "keep", "drop"])
def test_where_all_are_listed_nothing_is_told(unknown_ids):
    events, notes = log("ab", "xy"), []
    selection = Selection(events, notes)
    selection.require_known("title", events.title, TITLES, unknown_ids)
    assert selection.events() is events
    assert notes == []

"""Times become days, however a log writes them, and what is no time is not guessed at."""

from datetime import date, datetime, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.data.ingest import days as module
from twotower.data.ingest.days import UNREADABLE, Days, number_days

LEAP_DAY = date(2024, 2, 29).toordinal()


def day_of(text: str, form: str | None = None) -> int:
    return int(Days(form).codes([text])[0])


@pytest.mark.parametrize(
    "text",
    [
        "2024-02-29",
        "20240229",
        "2024-02-29 23:59",
        "2024-02-29T23:59:59",
        "2024-02-29 23:59:59.999999",
        "2024-02-29T23:59:59,5Z",
        "2024-02-29 00:00:00 UTC",
        "2024-02-29T23:59:59-08:00",
        "2024-02-29T00:10:00+0530",
        "2024-02-29T00:10:00+02",
        " 2024-02-29 ",
        "1709164800",
        "1709251199.75",
        "1.7091648e9",
        "1709164800000",
        "1709164800000000",
        "1709164800000000000",
        "19782",
        "19782.0",
    ],
)
def test_a_day_is_read_in_every_usual_spelling(text):
    assert day_of(text) == LEAP_DAY


@pytest.mark.parametrize(
    "text",
    ["", "nan", "yesterday", "2023-02-29", "2024-13-01", "20240230", "29/02/2024", "2024-2-9", "2024-02-29x", "-5",
     "1e30", "inf", "9" * 400],
)  # fmt: skip
def test_what_is_no_time_is_unreadable(text):
    assert day_of(text) == UNREADABLE


@pytest.mark.parametrize("year", [1900, 2000, 2023, 2024, 2100])
def test_a_century_is_a_leap_year_once_in_four(year):
    there = date(year, 3, 1).toordinal() - date(year, 2, 28).toordinal() == 2
    found = {day_of(f"{year}-02-29"), day_of(f"{year}0229"), int(number_days([year * 10000 + 229])[0])}
    assert found == {date(year, 2, 29).toordinal() if there else UNREADABLE}


def test_the_day_counts_as_it_is_written_in_its_own_time_zone():
    assert day_of("2024-03-01T00:30:00+09:00") == LEAP_DAY + 1


def test_a_format_replaces_all_guesses():
    assert day_of("29/02/2024 07:45", "%d/%m/%Y %H:%M") == LEAP_DAY
    assert day_of("2024-02-29", "%d/%m/%Y %H:%M") == UNREADABLE


@given(st.integers(100_000_000, 189_999_999) | st.integers(220_000_000, 1_899_999_999))  # others may be dates in digits
def test_seconds_and_their_finer_units_are_the_day_that_datetime_says(seconds):
    expected = datetime.fromtimestamp(seconds, timezone.utc).date().toordinal()
    assert {day_of(str(seconds * unit)) for unit in (1, 1000, 10**6, 10**9)} == {expected}


@given(st.dates(date(1, 1, 1)))
def test_every_date_is_read_back(day):
    assert day_of(day.isoformat()) == day.toordinal()


def test_the_memory_of_times_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "CACHED_TIMES", 10)
    days = Days()
    for start in range(0, 1000, 20):
        days.codes([f"2024-02-29 00:00:00.{i:06d}" for i in range(start, start + 20)])
        assert len(days) <= 10 + 20
    assert days.codes(["2024-02-29", "20240229"]).dtype == np.int32

"""The folder of made-up cases beside the shared data: each comes out with its right value, where it is present."""

import os
from pathlib import Path

import pytest

from twotower.core.errors import InputError

CASES = Path(os.environ.get("TWOTOWER_DATA", "nowhere")).parent / "cases"
BY_NUMBER = {"no_header": True, "user": "1", "title": "2", "time": None}
GOOD = [  # file, settings, users, titles
    ("guess_tab_commas.tsv", BY_NUMBER | {"territory": "3"}, 240, 40),
    ("ga_datehour_3y.csv", {"time": "time"}, 80, 20),
    ("yyyymmdd_float_3y.csv", {"time": "time"}, 80, 20),
    ("id_missing_marker.csv", {"skip_bad_rows": True}, 48, 40),
    ("id_nfc_nfd.csv", {}, 60, 40),
    ("markup_title.csv", {}, 240, 40),
    ("repeated_header_no_time.csv", {"time": None}, 60, 40),
    ("sep_line.csv", {}, 60, 40),
    ("trailing_comma_rows_only.csv", {}, 60, 40),
    ("hive", {}, 60, 40),
    ("parts/*.csv", {}, 60, 40),
    ("time_dmy2.csv", {"time": "time", "time_format": "%d/%m/%y %H:%M"}, 60, 40),
    ("stray_dates.csv", {"time": "time", "from_date": "2024-01-01", "until_date": "2024-06-01"}, 120, 40),
    ("ml-1m/ratings.dat", BY_NUMBER | {"separator": "::", "time": "4", "users": "ml-1m/users.dat", "territory": "2"},
     240, 40),
    ("lastfm360/plays.tsv", BY_NUMBER | {"title": "3", "no_quotes": True, "users": "lastfm360/profile.tsv",
                                         "territory": "4", "missing_territory": "drop"}, 219, 40),
    ("bx/BX-Book-Ratings.csv", {"time": None, "user": "User-ID", "title": "ISBN", "encoding": "latin-1",
                                "users": "bx/BX-Users.csv", "territory": "Location", "titles": "bx/BX-Books.csv"},
     240, 40),
]  # fmt: skip
BAD = [  # file, settings, what the message says
    ("pq_list_titles.parquet", {}, "a list per row"),
    ("snowflake_ids_as_doubles.parquet", {}, "a rounded number"),
    ("time_dmy2.csv", {"time": "time"}, "--time-format names the format"),
    ("time_slash_ymd.csv", {"time": "time"}, "--time-format names the format"),
    ("online_retail_II.xlsx", {}, "an Excel workbook"),
    ("header_missing.csv", {}, "--no-header"),
    ("r_export.csv", {}, "'NA' is not a user"),
]


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not here")
class TestSharedCases:
    @pytest.fixture(autouse=True)
    def there(self, monkeypatch):
        monkeypatch.chdir(CASES)

    @pytest.mark.parametrize(("file", "settings", "users", "titles"), GOOD, ids=[case[0] for case in GOOD])
    def test_it_comes_out_right(self, imported, file, settings, users, titles):
        paths = {name: Path(value) for name, value in settings.items() if name in ("users", "titles")}
        dataset, _ = imported(Path(file), **{**settings, **paths})
        assert (dataset.n_users, dataset.n_titles) == (users, titles)

    @pytest.mark.parametrize(("file", "settings", "message"), BAD, ids=[case[0] for case in BAD])
    def test_it_is_refused_with_what_to_do(self, imported, file, settings, message):
        with pytest.raises(InputError, match=message):
            imported(Path(file), **settings)

    def test_floats_of_one_market_are_ids_of_the_other(self, imported):
        markets = (("DE", Path("market_float/de.csv")), ("FR", Path("market_float/fr.csv")))
        dataset, _ = imported(None, markets=markets, skip_bad_rows=True)
        assert dataset.n_titles == 40

    def test_three_years_of_hours_are_days(self, imported):
        _, summary = imported(Path("ga_datehour_3y.csv"), time="time")
        assert len(summary.split.dates) == 983 and "2 repeated events merged" in summary.notes[0]

    def test_stray_days_are_warned_of(self, imported):
        _, summary = imported(Path("stray_dates.csv"), time="time")
        assert len(summary.warnings) >= 2

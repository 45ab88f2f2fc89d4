"""The folder of made-up cases beside the shared data: each comes out with its right value, where it is present.

    pytest -n 0 -v tests/data/test_shared_cases.py      # one line per case, and how many are right
"""

import csv
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_runs import failing_line

from twotower.cli import cli
from twotower.core.errors import InputError
from twotower.data.dataset import Dataset

CASES = Path(os.environ.get("TWOTOWER_DATA", "nowhere")).parent / "cases"
BY_NUMBER = {"no_header": True, "user": "1", "title": "2", "time": None}
GA4 = """SELECT user_pseudo_id AS user, part.value.string_value AS title, geo.country AS territory, event_timestamp
FROM (SELECT *, unnest(event_params) AS part FROM 'ga4.parquet') WHERE part.key = 'content_id'"""
GOOD = [  # file, settings, users, titles
    ("plain.csv", {}, 240, 40),
    ("plain.csv", {"users": "users_table/dup.csv", "time": "date"}, 240, 40),
    ("bot.csv", {}, 241, 40),
    ("newlog.csv", {}, 243, 41),
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
    ("ga4.parquet", {"user": "user_pseudo_id", "title": "event_params", "territory": "geo.country", "time": None},
     "'event_params': a list per row, expected one id; write one row per item .--sql can, with unnest"),
    ("jsonl.jsonl", {"user": "reviewerID", "title": "asin", "time": "unixReviewTime"}, "--market CODE FILE"),
    ("pq_list_titles.parquet", {}, "a list per row"),
    ("snowflake_ids_as_doubles.parquet", {}, "a rounded number"),
    ("time_dmy2.csv", {"time": "time"}, "--time-format names the format"),
    ("time_slash_ymd.csv", {"time": "time"}, "--time-format names the format"),
    ("online_retail_II.xlsx", {}, "an Excel workbook"),
    ("header_missing.csv", {}, "--no-header"),
    ("r_export.csv", {}, "'NA' is not a user"),
]  # fmt: skip


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

    def test_parameters_of_events_are_unnested_by_a_query(self, tmp_path):
        pytest.importorskip("duckdb")
        run("import", tmp_path / "shop", "--sql", GA4, "--time", "event_timestamp", "--missing-territory", "drop")
        dataset = Dataset.open(tmp_path / "shop")
        assert (dataset.n_users, dataset.n_titles) == (226, 40)  # of 14 the country is never set

    def test_namibia_of_a_table_of_users_is_said(self, imported):
        _, summary = imported(Path("plain.csv"), users=Path("users_table/dup.csv"))
        assert any("'NA' is read as Namibia (33 users of dup.csv)" in line for line in summary.assumptions)

    def test_objects_of_json_lines_of_one_market(self, imported):
        columns = {"user": "reviewerID", "title": "asin", "time": "unixReviewTime"}
        dataset, _ = imported(None, markets=(("US", Path("jsonl.jsonl")),), **columns)
        assert (dataset.n_users, dataset.territories.code) == (60, ["US"])

    def test_spellings_of_countries_are_one_territory_each(self, imported, tmp_path):
        with open("country_names.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        dataset, _ = imported(Path("country_names.csv"), time=None)
        codes = [dataset.territories.code[c] for c in dataset.user_territory]
        found = dict(zip(dataset.user_ids, codes, strict=True))
        assert found == {row["user"]: row["right"] for row in rows}

    def test_users_and_times_are_no_words_of_titles(self, imported):
        columns = {"user": "userId", "title": "movieId", "time": "timestamp", "join_titles": True}
        markets = (("US", Path("ml-25m/ratings.csv")),)
        dataset, summary = imported(None, markets=markets, titles=Path("ml-25m/tags.csv"), **columns)
        assert list(dataset.titles) == ["title", "tag"]
        assert any("'userId', 'timestamp'" in line for line in summary.assumptions)

    def test_what_cannot_be_learned_is_said_with_counts_and_the_option(self, tmp_path):
        for name in ("one_title", "watched_all"):
            run("import", tmp_path / name, "--events", f"{name}.csv", "--time", "date")
            run("embed", tmp_path / name)
        line = failing_line("sample", tmp_path / "one_title")
        assert line.startswith("--alpha 8 negatives per positive: ") and "has 1 title; nothing can be ranked" in line
        line = failing_line("train", tmp_path / "watched_all", "--run", tmp_path / "run")
        assert "users have watched every title" in line

    def test_a_user_who_has_seen_everything_is_counted(self, tmp_path):
        shop, trained = train(tmp_path, "bot.csv")
        text = run("recommend", trained, shop, "--out", tmp_path / "best.csv")
        assert "2,400 recommendations for 240 users saved" in text
        assert "1 user with none, who watched all that is available" in text

    def test_a_visitor_of_a_new_country_does_not_stop_the_others(self, tmp_path):
        shop, trained = train(tmp_path, "plain.csv", "--mtl", "--groups", 2)
        run("import", tmp_path / "new", "--events", "newlog.csv", "--time", "date", "--train-days", 0, "--test-days", 0)
        run("embed", tmp_path / "new", "--basis-from", shop)
        for choice, served in (("skip", 241), ("shared", 243)):
            out = tmp_path / f"{choice}.csv"
            run("recommend", trained, tmp_path / "new", "--unknown-territory", choice, "--out", out)
            assert len({line.split(",")[0] for line in out.read_text().splitlines()[1:]}) == served

    def test_no_case_is_left_out(self):
        text = Path(__file__).read_text("utf-8")
        names = {path.name for path in CASES.iterdir()} - {"README.md"}
        assert not {name for name in names if Path(name).stem not in text}


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output + result.stderr
    return result.output


def train(folder: Path, log: str, *options: object) -> tuple[Path, Path]:
    """A dataset of a log, and a small run on it."""
    run("import", folder / "shop", "--events", log, "--time", "date")
    run("embed", folder / "shop")
    small = "--hidden", 8, "--epochs", 1, "--run", folder / "run"
    run("train", folder / "shop", *small, *options)
    return folder / "shop", folder / "run"

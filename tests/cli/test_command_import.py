"""`twotower import`: what one types and what one gets, from small files and from real ones."""

import csv
import gzip
import re
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from twotower.cli import cli
from twotower.cli.import_ import import_ as command
from twotower.data.dataset import Dataset
from twotower.data.ingest.import_config import ImportConfig

LOG = """who,what,where,when
ann,alpha,DE,2024-01-01
bob,beta,Atlantis,2024-01-02
ann,beta,DE,2024-01-03
cid,gamma,DE,2024-01-04
ann,gamma,FR,2024-01-05
"""
COLUMNS = ["--user", "who", "--title", "what", "--territory", "where"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A directory with a log, to work in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text(LOG)
    return tmp_path


def run(*arguments: str):
    return CliRunner().invoke(cli, ["import", *arguments])


def imported(*arguments: str) -> Dataset:
    result = run("set", *arguments)
    assert result.exit_code == 0, result.output
    return Dataset.open("set")


def fault_of(*arguments: str) -> str:
    result = run("set", *arguments)
    assert result.exit_code == 2
    *progress, fault = result.stderr.splitlines()
    assert all(line.startswith("reading ") for line in progress)
    assert fault.startswith("twotower: error: ")
    return fault.removeprefix("twotower: error: ")


def test_it_imports_prints_and_says_what_is_next(here, snapshot):
    result = run("set", "--events", "log.csv", *COLUMNS, "--time", "when")
    assert result.exit_code == 0, result.output
    snapshot(result.stdout)


def test_without_times_it_says_so(here):
    result = run("set", "--events", "log.csv", *COLUMNS)
    assert re.search(r"No times: \d pairs? (is|are) history, \d (is|are) for training and testing\.", result.stdout)


def test_names_like_markup_are_printed_as_they_are(here):
    (here / "log.csv").write_text("user,title,territory\n" + "".join(
        f"u{i}-{j},t,{name}\n" for i, name in enumerate(["[/Off]", "[unknown]", "\x1b[2Jgone"]) for j in range(9)
    ))  # fmt: skip
    text = run("set", "--events", "log.csv").stdout
    assert all(f"\n{name} " in text for name in ("[/Off]", "[unknown]", r"\x1b[2Jgone"))
    assert "\x1b" not in text and "'[/Off]', '[unknown]'" in text, "the table and the note"


def test_the_default_directory_is_world(here):
    assert run("--events", "log.csv", *COLUMNS).exit_code == 0
    assert Dataset.open("world").n_users == 3


def test_many_territories_are_summed_up_under_the_largest(here):
    rows = [f"u{i}-{j},t,land {i}" for i in range(30) for j in range(30 - i)]
    (here / "log.csv").write_text("user,title,territory\n" + "\n".join(rows))
    lines = [" ".join(line.split()) for line in run("set", "--events", "log.csv").stdout.splitlines()]
    assert "land 0 30 30 1 6.5 %" in lines
    assert "10 others 55 55 11.8 %" in lines
    assert not any(line.startswith("land 20 ") for line in lines)


def test_a_dry_run_says_how_the_log_is_read_and_writes_nothing(here):
    before = sorted(here.iterdir())
    result = run("set", "--events", "log.csv", *COLUMNS, "--dry-run")
    assert result.exit_code == 0 and result.stdout.endswith("Nothing was written (--dry-run).\n")
    assert "Read as CSV, separator comma, utf-8." in result.stdout and sorted(here.iterdir()) == before


def test_events_per_day_are_drawn(here):
    counts = [1, 4, 8, 1]
    rows = [f"u{i},t{i % 2},DE,2024-01-0{day}" for day, n in enumerate(counts, 1) for i in range(n)]
    (here / "log.csv").write_text("\n".join(["user,title,territory,date", *rows]))
    text = run("set", "--events", "log.csv", "--time", "date").stdout
    assert "Events per day: 2024-01-01 ▂▅█▂ 2024-01-04" in text


def test_every_setting_is_an_option_with_the_same_default():
    defaults = command.make_context("import", ["--events", "log.csv"]).params
    config = ImportConfig(events=(Path("log.csv"),))
    assert {item.name: defaults[item.name] for item in fields(ImportConfig)} == asdict(config)


@pytest.mark.parametrize(
    ("options", "setting", "value"),
    [
        (["--time", "when"], "time", "when"),
        (["--user-info", "where", "--user-info", "who"], "user_info", ["where", "who"]),
        (["--title-info", "what"], "title_info", ["what"]),
        (["--keep-titles", "a$"], "keep_titles", "a$"),
        (["--min-title-users", "1"], "min_title_users", 1),
        (["--history-share", "0.25"], "history_share", 0.25),
        (["--available-after", "1"], "available_after", 1),
        (["--unknown-ids", "keep"], "unknown_ids", "keep"),
        (["--skip-bad-rows"], "skip_bad_rows", True),
        (["--separator", ","], "separator", ","),
        (["--backslash-escapes"], "backslash_escapes", True),
        (["--skip-lines", "0"], "skip_lines", 0),
        (["--missing-territory", "drop"], "missing_territory", "drop"),
        (["--time", "when", "--from", "2024-01-01"], "from_date", "2024-01-01"),
        (["--time", "when", "--until", "2030-01-01"], "until_date", "2030-01-01"),
        (["--strict"], "strict", True),
        (["--encoding", "latin-1"], "encoding", "latin-1"),
        (["--no-quotes"], "no_quotes", True),
        (["--seed", "4"], "seed", 4),
        (["--time", "when", "--train-days", "1"], "train_days", 1),
        (["--time", "when", "--test-days", "1"], "test_days", 1),
        (["--time", "when", "--calendar"], "calendar", True),
        (["--time", "when", "--time-format", "%Y-%m-%d"], "time_format", "%Y-%m-%d"),
    ],
)
def test_every_option_reaches_its_setting(here, options, setting, value):
    config = imported("--events", "log.csv", *COLUMNS, *options).manifest["provenance"]["config"]
    assert config[setting] == value


def test_markets_users_and_titles_are_files(here):
    (here / "de=1.csv").write_text("id;film\nann;alpha\n")
    (here / "fr.csv").write_text("id;film\nbob;beta\n")
    (here / "people.csv").write_text("nr\tage\nann\t20\nbob\t30\n")
    (here / "tags.csv").write_text("name,tag,n\nalpha,pop,2\nbeta,rock,1\n")
    dataset = imported(
        "--market", "Germany", "de=1.csv", "--market", "FR", "fr.csv", "--user", "id", "--title", "film",
        "--users", "people.csv", "--users-id", "nr", "--titles", "tags.csv", "--titles-id", "name",
        "--title-weight", "n",
    )  # fmt: skip
    assert dataset.territories.code == ["DE", "FR"]
    assert dataset.user_columns["age"] == ["20", "30"]
    assert dataset.titles["tag"] == ["pop|pop", "rock"]
    dataset = imported(
        "--market", "DE", "de=1.csv", "--user", "id", "--title", "film", "--titles", "tags.csv", "--titles-id", "name",
        "--join-titles", "--overwrite",
    )  # fmt: skip
    assert dataset.titles["tag"] == ["pop"]


def test_a_log_without_header_has_numbered_columns(here):
    (here / "log.csv").write_text("ann\talpha\tDE\n")
    dataset = imported("--events", "log.csv", "--no-header", "--user", "1", "--title", "2", "--territory", "3")
    assert dataset.title_ids == ["alpha"]


def test_a_log_may_be_gzipped_or_parquet(here):
    (here / "log.csv.gz").write_bytes(gzip.compress(LOG.encode()))
    assert imported("--events", "log.csv.gz", *COLUMNS).n_users == 3
    pytest.importorskip("pyarrow")
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    parquet.write_table(arrow_csv.read_csv("log.csv"), "log.parquet")
    assert imported("--events", "log.parquet", *COLUMNS, "--time", "when", "--overwrite").test_days == 1


def test_an_existing_dataset_is_replaced_only_on_demand(here):
    imported("--events", "log.csv", *COLUMNS)
    assert fault_of("--events", "log.csv", *COLUMNS).startswith("set: exists already")
    assert imported("--events", "log.csv", *COLUMNS, "--keep-titles", "alpha", "--overwrite").n_titles == 1


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ([], "no watch log: expected --events FILE, --market TERRITORY FILE or --sql QUERY"),
        (["--events", "none.csv"], "none.csv: No such file or directory"),
        (["--events", "log.csv"], "log.csv: no column 'user' (--user); it has 'who', 'what', 'where', 'when'"),
        (["--events", "log.csv", *COLUMNS, "--time", "what"], "log.csv, line 2, column 'what': 'alpha' is not a time"),
        (["--events", "log.csv", *COLUMNS, "--titles", "log.csv", "--titles-id", "who"], "'ann' occurs a second time"),
        (["--events", "log.csv", *COLUMNS, "--keep-titles", "z"], "no events are left of 5: 3 titles left out"),
        (["--events", "log.csv", *COLUMNS, "--keep-titles", "("], "--keep-titles '(': not a regular expression"),
        (["--events", "log.csv", *COLUMNS, "--time", "when", "--test-days", "5"], "01-05): too few for 1 training"),
        (["--events", "log.csv", *COLUMNS, "--seed", "-1"], "--seed -1: expected a whole number >= 0"),
        (["--market", " ", "log.csv", *COLUMNS], "--market ' ' log.csv: expected a code or a name of a territory"),
        (
            ["--events", "log.csv", *COLUMNS, "--time", "when", "--time-format", "%d.%m.%Y"],
            "line 2, column 'when': '2024-01-01' is not a time of the form '%d.%m.%Y' (like 5 of 5 rows: check --time "
            "and --time-format)",
        ),
        (
            ["--events", "log.csv", *COLUMNS, "--separator", "::"],
            "it has 'who,what,where,when' (read with the separator '::'",
        ),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(here, arguments, fault):
    assert fault in fault_of(*arguments)
    assert [path.name for path in here.iterdir()] == ["log.csv"]


def test_a_file_in_utf_16_is_told_as_such(here):
    (here / "wide.csv").write_text(LOG, encoding="utf-16")
    assert "--encoding names another, such as utf-16" in fault_of("--events", "wide.csv", *COLUMNS)
    assert imported("--events", "wide.csv", *COLUMNS, "--encoding", "utf-16").n_titles == 3


def test_the_next_command_can_be_pasted(here):
    result = run("my shop", "--events", "log.csv", *COLUMNS)
    assert result.stdout.splitlines()[-1] == "Saved to my shop. Next: twotower embed 'my shop'"
    embedded = CliRunner().invoke(cli, ["embed", "my shop"]).stdout.splitlines()[-1]
    assert embedded == "Vectors saved to my shop. Next: twotower train 'my shop' --mtl --groups 2"


LASTFM = [
    "--title",
    "artist",
    "--territory",
    "country",
    "--user-info",
    "sex",
    "--title-weight",
    "n",
    "--unknown-ids",
    "keep",
]


def test_lastfm_by_country_is_imported_as_it_is_counted(lastfm_dir, here):
    files = ["--events", str(lastfm_dir / "lastfm.csv.gz"), "--titles", str(lastfm_dir / "artist_tags.csv.gz")]
    dataset = imported(*files, *LASTFM)
    assert (dataset.n_users, dataset.n_titles, dataset.n_territories) == (15_000, 1_004, 159)
    assert dataset.manifest["counts"]["events"] == 289_953
    user, _ = dataset.history()
    assert abs(len(user) - 289_953 / 2) < 100
    assert set(dataset.user_columns["sex"]) == {"f", "m"}
    assert sum(text == "" for text in dataset.titles["tag"]) == 15
    user, _, _ = dataset.all_events()
    pairs = np.bincount(np.asarray(dataset.user_territory)[user])
    with open(lastfm_dir / "territory_counts.csv", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            place = dataset.territories.index(row["country"])
            assert (dataset.territories.users[place], pairs[place]) == (int(row["users"]), int(row["pairs"]))


@pytest.mark.slow
def test_online_retail_is_imported_by_day(retail_dir, here):
    dataset = imported(
        "--events", str(retail_dir / "events.csv.gz"), "--title", "item", "--territory", "country", "--time", "date",
        "--titles", str(retail_dir / "items.csv.gz"), "--keep-titles", r"^\d{5}",
        "--train-days", "240", "--test-days", "30",
    )  # fmt: skip
    assert (dataset.n_users, dataset.n_titles, dataset.n_territories) == (5_854, 4_682, 41)
    assert (dataset.train_days, dataset.test_days, dataset.has_time) == (240, 30, True)
    assert dataset.manifest["counts"]["events"] == 860_277
    assert all(len(dataset.events(day)[0]) for day in range(-1, 270)), "a day without events is no trading day"
    assert dataset.territories.code[0] == "GB"
    assert dataset.titles["description"][dataset.title_ids.index("85123A")] == "WHITE HANGING HEART T-LIGHT HOLDER"

"""Raw logs become numbers: one code a name, one day a time, and faults with their place."""

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.core.errors import InputError
from twotower.data.ingest import blocks, tables
from twotower.data.ingest.blocks import CsvFormat
from twotower.data.ingest.cleaning import MISSING, clean
from twotower.data.ingest.events import NONE, EventLog, LogColumns, LogFile, Vocabulary, read_log

LOG = """user,title,territory,time
ann,alpha,DE,2024-01-03
bob,beta,FR,2024-01-01
ann,beta,DE,2024-01-02T23:59:00
"""
COLUMNS = LogColumns("user", "title", "territory", "time")
WITHOUT_TIME = LogColumns("user", "title", "territory")


@pytest.fixture
def write(tmp_path):
    """Write a log of this test and give it as a file of a log."""

    def write(text: str, name: str = "log.csv", territory: str | None = None) -> LogFile:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return LogFile(tmp_path / name, territory)

    return write


def named(log: EventLog) -> list[tuple[str, ...]]:
    """Each event as names."""
    columns = [log.user, log.title, *([log.territory] if log.territory else []), *log.info.values()]
    texts = [[column.names[code] if code != NONE else "" for code in column.codes] for column in columns]
    return list(zip(*texts, strict=True))


def fault_of(*files: LogFile, columns: LogColumns = COLUMNS) -> str:
    with pytest.raises(InputError) as caught:
        read_log(files, columns)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_log_becomes_codes_in_order_of_first_appearance(write):
    log = read_log([write(LOG)], COLUMNS)
    assert log.user.names == ["ann", "bob"]
    assert log.user.codes.tolist() == [0, 1, 0]
    assert log.title.codes.tolist() == [0, 1, 1]
    assert log.territory.names == ["DE", "FR"]
    assert np.diff(log.day).tolist() == [-2, 1]
    assert {log.user.codes.dtype, log.title.codes.dtype, log.territory.codes.dtype, log.day.dtype} == {np.dtype("i4")}
    assert len(log) == 3


def test_columns_may_have_any_name_and_order(write):
    log = read_log([write("when;film;x;who\n20240101;alpha;1;ann\n")], LogColumns("who", "film", None, "when"))
    assert named(log) == [("ann", "alpha")]
    assert log.territory is None


def test_without_a_time_there_are_no_days(write):
    assert read_log([write(LOG)], LogColumns("user", "title", "territory")).day is None


def test_several_files_share_their_names(write):
    more = write("time,user,title,territory\n2024-01-09,ann,gamma,FR\n", "more.csv")
    log = read_log([write(LOG), more], COLUMNS)
    assert log.user.codes.tolist() == [0, 1, 0, 0]
    assert named(log)[-1] == ("ann", "gamma", "FR")


def test_a_file_may_have_a_territory_of_its_own_and_needs_no_column_then(write):
    german = write("user,title,time\nann,alpha,2024-01-01\n", "de.csv", "DE")
    french = write("user,title,time\nbob,beta,2024-01-01\n", "fr.csv", "FR")
    log = read_log([write(LOG), german, french], COLUMNS)
    assert [names[2] for names in named(log)] == ["DE", "FR", "DE", "DE", "FR"]
    log = read_log([german, french], LogColumns("user", "title"))
    assert [names[2] for names in named(log)] == ["DE", "FR"]


def test_a_files_own_territory_goes_before_its_column(write):
    log = read_log([write(LOG, territory="PL")], COLUMNS)
    assert log.territory.names == ["PL"]


def test_columns_that_describe_users_or_titles_come_along_and_may_be_empty(write):
    path = write("user,title,territory,age,genre\nann,alpha,DE,18-24,pop\nbob,beta,FR,,rock\n")
    log = read_log([path], LogColumns("user", "title", "territory", info=("age", "genre", "title")))
    assert [names[3:] for names in named(log)] == [("18-24", "pop", "alpha"), ("", "rock", "beta")]


def test_white_space_around_and_within_names_does_not_make_others(write):
    log = read_log([write("user,title,territory\nann, alpha  x,DE\n ann ,alpha x,DE \n")], WITHOUT_TIME)
    assert log.user.names == ["ann"]
    assert log.title.names == ["alpha x"]
    assert log.territory.names == ["DE"]


@pytest.mark.parametrize(
    ("row", "column", "fault"),
    [
        (",alpha,DE,2024-01-01", "user", "'' is not a user"),
        ("  ,alpha,DE,2024-01-01", "user", "'' is not a user"),
        ("ann,NaN,DE,2024-01-01", "title", "'NaN' is not a title"),
        ("ann,alpha,NULL,2024-01-01", "territory", "'NULL' is not a territory"),
        ("ann,alpha,DE,soon", "time", "'soon' is not a time"),
        ("ann,alpha,DE,", "time", "'' is not a time"),
    ],
)
def test_a_missing_id_or_a_strange_time_is_named_by_file_line_and_column(write, row, column, fault):
    file = write(LOG + "\n" + row + "\n" + LOG.split("\n")[1] + "\n")
    message = fault_of(file)
    assert message.startswith(f"{file.path}, line 6, column {column!r}: {fault} (")
    hints = {
        "territory": "--missing-territory drop leaves out 1 of 5 rows; --missing-territory unknown keeps them)",
        "soon": "--time-format names the format of others; like 1 of 5 rows: check --time)",
    }
    assert message.endswith(hints.get("soon" if "soon" in row else column, "--skip-bad-rows leaves out 1 of 5 rows)"))


def test_a_fault_in_a_later_block_has_the_right_line(write, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 2)
    file = write(LOG + "bob,,FR,2024-01-01\n")
    assert f"{file.path}, line 5, column 'title'" in fault_of(file)


def test_bad_rows_can_be_skipped_and_are_counted_by_fault(write):
    bad = ",alpha,DE,2024-01-01\nann,,DE,2024-01-01\nann,,DE,soon\nann,alpha,DE,soon\nann,alpha\n"
    log = read_log([write(LOG + bad)], COLUMNS, skip_bad_rows=True)
    assert named(log) == [("ann", "alpha", "DE"), ("bob", "beta", "FR"), ("ann", "beta", "DE")]
    assert log.skipped == {"not a user": 1, "not a title": 2, "not a time": 1, "wrong number of fields": 1}


def test_namibia_is_a_territory(write):
    assert read_log([write("user,title,territory\nann,alpha,NA\n")], WITHOUT_TIME).territory.names == ["NA"]


def test_every_file_is_looked_at_before_the_first_is_read(write, monkeypatch):
    monkeypatch.setattr(tables.CsvTable, "blocks", lambda *args, **kwargs: pytest.fail("read too early"))
    bad = write("user,film\nann,alpha\n", "bad.csv")
    assert fault_of(write(LOG), bad) == f"{bad.path}: no column 'title' (--title); it has 'user', 'film'"
    assert "No such file" in fault_of(write(LOG), LogFile(Path("none.csv")))


def test_an_empty_log_is_refused(write):
    file = write("user,title,territory,time\n")
    assert fault_of(file) == f"{file.path}: no events"
    with pytest.raises(InputError, match="no events"):
        read_log([write("user,title,territory,time\n,,,\n")], COLUMNS, skip_bad_rows=True)


def test_how_files_are_written_can_be_told(write):
    form = CsvFormat(separator=":", header=False)
    assert named(read_log([write("ann:alpha\n")], LogColumns("1", "2"), form)) == [("ann", "alpha")]


def test_taking_events_takes_all_their_columns(write):
    log = read_log([write(LOG)], LogColumns("user", "title", "territory", "time", info=("title",)))
    part = log.take(np.array([2, 0]))
    assert named(part) == [named(log)[2], named(log)[0]]
    assert part.day.tolist() == log.day[[2, 0]].tolist()


def test_renumbering_keeps_only_names_that_occur_in_order_of_first_appearance(write):
    log = read_log([write("user,title\nann,a\nbob,b\ncid,c\nbob,b\n")], LogColumns("user", "title"))
    names, codes = log.take(np.array([2, 1, 3])).user.renumbered()
    assert names == ["cid", "bob"]
    assert codes.tolist() == [0, 1, 1]


def test_a_parquet_log_is_the_same_log(write, tmp_path):
    pytest.importorskip("pyarrow")
    from pyarrow import csv, parquet

    file = write(LOG)
    parquet.write_table(csv.read_csv(file.path), tmp_path / "log.parquet")
    assert named(read_log([LogFile(tmp_path / "log.parquet")], COLUMNS)) == named(read_log([file], COLUMNS))


@pytest.mark.parametrize("kind", ["duration[s]", "time32[s]"])
def test_parquet_times_without_a_day_are_refused(tmp_path, kind):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    of_kind = {"duration[s]": pa.duration("s"), "time32[s]": pa.time32("s")}[kind]
    columns = {"user": ["ann"], "title": ["alpha"], "territory": ["DE"], "time": pa.array([86_399], of_kind)}
    parquet.write_table(pa.table(columns), tmp_path / "log.parquet")
    with pytest.raises(InputError, match=r"log\.parquet, column 'time': .* without a day; expected dates, timestamps"):
        read_log([LogFile(tmp_path / "log.parquet")], COLUMNS, skip_bad_rows=True)
    assert len(read_log([LogFile(tmp_path / "log.parquet")], WITHOUT_TIME)) == 1


def test_memory_does_not_grow_with_what_is_written_in_a_row(tmp_path):
    rows = "".join(f"user {i % 50:090d},title {i % 70:090d},DE,2024-01-01 00:00:{i % 60:02d}\n" for i in range(60_000))
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(("user,title,territory,time\n" + rows).encode(), 1))
    tracemalloc.start()
    log = read_log([LogFile(tmp_path / "log.csv.gz")], COLUMNS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(log) == 60_000
    assert peak < 12e6 < len(rows)


@examples(50)
@given(st.lists(st.text(max_size=4), max_size=30))
def test_names_tell_exactly_the_cleaned_texts_apart(texts):
    names = Vocabulary()
    codes = names.codes(texts)
    cleaned = [clean(text) for text in texts]
    assert [names.names[code] if code != NONE else None for code in codes] == [
        None if text in MISSING else text for text in cleaned
    ]
    assert len(set(names.names)) == len(names.names)

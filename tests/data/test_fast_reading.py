"""A log is the same log, and a fault the same fault, whether it is read carefully or quickly."""

import csv
import gzip
import io
import json
import re
import sys
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.core.errors import InputError
from twotower.data.ingest import blocks, duck, events
from twotower.data.ingest.blocks import CsvFormat
from twotower.data.ingest.days import Days
from twotower.data.ingest.events import EventLog, LogColumns, LogFile, read_log

COLUMNS = LogColumns("user", "title", None, "time", info=("place", "title"))
LOG = """user,title,place,time
ann,alpha,DE,2024-01-03
bob,beta,,2024-01-01 07:30
ann,beta gamma,DE,1704067200
cid,alpha,FR,20240105
"""


def said(log: EventLog) -> dict:
    """All that a log says."""
    columns = {"user": log.user, "title": log.title, "territory": log.territory, **log.info}
    texts = {what: (column.codes.tolist(), column.names) for what, column in columns.items() if column is not None}
    return {"day": None if log.day is None else log.day.tolist(), "skipped": log.skipped, **texts}


def read(path: Path, columns: LogColumns, form: CsvFormat | None, skip: bool, **settings: int) -> dict | str:
    """What the log says or what is wrong with it, when read with these sizes."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setattr(events if name == "FAST_FROM_BYTES" else blocks, name, value)
        try:
            return said(read_log([LogFile(path)], columns, form, skip))
        except InputError as error:
            return str(error)


def carefully(path: Path, columns=COLUMNS, form=None, skip=False) -> dict | str:
    return read(path, columns, form, skip, FAST_FROM_BYTES=1 << 60, BLOCK_ROWS=1)


def quickly(path: Path, columns=COLUMNS, form=None, skip=False, rows=3) -> dict | str:
    return read(path, columns, form, skip, FAST_FROM_BYTES=0, BLOCK_ROWS=1, FAST_ROWS=rows, BATCH_ROWS=rows)


def by_duckdb(path: Path, columns=COLUMNS, form=None) -> bool:
    """Whether the fast reader needs no help of the careful one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duck.CsvTable, "blocks", lambda *_: pytest.fail("read carefully"))
        return isinstance(quickly(path, columns, form), dict)


def write(directory: Path, content: str | bytes, name: str = "log.csv") -> Path:
    path = directory / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


TIMES = [
    "2024-02-29T23:59:59.999Z", "2024-02-29 00:00:00 UTC", "2024-02-29T23:59:59-08:00", "0001-01-01", "9999-12-31",
    " 2024-02-29", "1709251199.75", "1.709164800E+09", "1709164800000", "1709164800000000000", "19782", "19782.5", "0",
    "00000000001709164800", "2024-02-29 99:99", "2024-01-03T10:00:00,5", "1709251199.9999999", "99999964799.999999",
]  # fmt: skip
FILES = {
    "plain": LOG,
    "no line end at the end": LOG.rstrip(),
    "Windows line ends": LOG.replace("\n", "\r\n"),
    "old line ends": LOG.replace("\n", "\r"),
    "blank lines": LOG.replace("\n", "\n\n") + "\r\r\n",
    "byte-order mark": b"\xef\xbb\xbf" + LOG.encode(),
    "gzip": gzip.compress(LOG.encode()),
    "semicolons": LOG.replace(",", ";"),
    "all in quotes": "".join('"' + line.replace(",", '","') + '"\n' for line in LOG.splitlines()),
    "quotes in quotes": LOG + 'dan,"a ""b"" c","""",2024-01-01\n"""","d""",,2024-01-02\n',
    "quotes within": LOG + 'dan,a "b" c,x",2024-01-01\n',
    "line breaks in quotes": LOG + 'dan,"two\nlines, and\r\nthree\r",DE,2024-01-01\nd,x,"\n\n",20240102\ne,x,,20240101',
    "spaces": LOG + " ann , alpha\t , DE ,2024-01-01\nann,beta  gamma,\u00a0DE,2024-01-01 \n",
    "ids of digits": LOG + "007,00,1,2024-01-01\n7,0,01,2024-01-01\n7.0,+7,1e3,2024-01-01\n",
    "names beyond ASCII": LOG + "zoë,Амели,日本,2024-01-01\nzoe\u0308,𝄞,,2024-01-02\n",
    "a zero byte": LOG + "d\0n,alpha,,2024-01-01\neve,beta,,2024-01-01\n",
    "times": LOG + "".join(f'ann,alpha,,"{time}"\n' for time in TIMES),
}
USUAL_TIME = r"\A(\d{1,19}(\.\d{0,8})?|\d{4}-[01]\d-[0-3]\d([T ]\d\d:\d\d(:\d\d([.,]\d{0,7})?)?Z?)?)\Z"
FAULTS = {
    "no user": ",alpha,DE,2024-01-01",
    "a user of spaces": '" ",alpha,DE,2024-01-01',
    "NaN for a title": "ann,NaN,DE,2024-01-01",
    "no time": "ann,alpha,DE,",
    "a strange time": "ann,alpha,DE,soon",
    "a day that is none": "ann,alpha,DE,2023-02-29",
    "the 13th month": "ann,alpha,DE,20241301",
    "a rounded time": "ann,alpha,DE,1.709251E+09",
    "year 0": "ann,alpha,DE,0000-01-01",
    "a negative time": "ann,alpha,DE,-5",
    "half a clock": "ann,alpha,DE,2024-01-01 07",
    "too few fields": "ann,alpha,DE",
    "too many fields": "ann,alpha,DE,2024-01-01,x",
    "only a space": " ",
    "text behind a quote": 'ann,"alpha"x,DE,2024-01-01',
    "a quote that never closes": 'ann,"alpha,DE,2024-01-01',
    "an endless field": f"ann,{'a' * (1 << 20)}b,DE,2024-01-01",
    "no field": '""',
}


#: Files that DuckDB leaves to the careful reader.
LEFT = ("blank lines", "old line ends")


@pytest.mark.parametrize("name", FILES)
def test_a_usual_file_is_read_alike(tmp_path, name):
    path = write(tmp_path, FILES[name])
    log = carefully(path)
    assert isinstance(log, dict)
    assert quickly(path) == log
    assert name in LEFT or by_duckdb(path)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("row", FAULTS.values(), ids=FAULTS)
def test_a_faulty_file_is_refused_or_skipped_alike(tmp_path, row, skip):
    path = write(tmp_path, LOG + 'bob,"in\ntwo",x,2024-01-07\n' + row + "\n" + LOG.partition("\n")[2])
    expected = carefully(path, skip=skip)
    assert skip or isinstance(expected, str)
    assert quickly(path, skip=skip) == quickly(path, skip=skip, rows=1000) == expected


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (LOG.encode("latin-1") + "ann,café,,2024-01-01\n".encode("latin-1"), CsvFormat(encoding="latin-1")),
        (LOG.encode("latin-1") + "ann,café,,2024-01-01\n".encode("latin-1"), None),
        ((LOG + "ann,café,,2024-01-01\n").encode("utf-16"), CsvFormat(encoding="utf-16")),
        (LOG.replace(",", "§").encode(), CsvFormat(separator="§")),
        (LOG.replace("alpha", '"alpha').encode(), CsvFormat(quotes=False)),
        (gzip.compress(LOG.encode() * 400)[:200], None),
        (b'"user"x,title,place,time\n' + LOG.encode(), None),
        (b"user,title,place,time", None),
    ],
    ids=["latin-1", "latin-1 taken for UTF-8", "UTF-16", "wide separator", "no quotes", "cut gzip", "header", "empty"],
)
def test_an_unusual_file_is_read_or_refused_alike(tmp_path, content, form):
    path = write(tmp_path, content)
    assert quickly(path, form=form) == carefully(path, form=form)


@pytest.mark.parametrize("header", [True, False])
def test_a_time_in_a_format_of_its_own_is_read_alike(tmp_path, header):
    names = ("user", "title", "time") if header else ("1", "2", "3")
    columns = LogColumns(names[0], names[1], None, names[2], "%d/%m/%Y")
    text = "ann,alpha,29/02/2024\nbob,beta,01/03/2024\nann,beta,29/02/2024\n"
    path = write(tmp_path, ("user,title,time\n" if header else "") + text)
    form = CsvFormat(header=header)
    assert quickly(path, columns, form) == carefully(path, columns, form)
    path = write(tmp_path, ("user,title,time\n" if header else "") + text + "ann,alpha,2024-02-29\n")
    assert "'2024-02-29' is not a time" in carefully(path, columns, form)
    assert quickly(path, columns, form) == carefully(path, columns, form)


#: A space behind a quoted field is an error to the careful reader alone.
SPACE_BEHIND = re.compile(r'" +(,|\r|\n|$)')


@examples(100)
@given(st.text(st.sampled_from('ab,,,"\n\n\r 0é\0'), max_size=60), st.booleans(), st.booleans())
def test_whatever_stands_in_a_file_is_read_or_refused_alike(tmp_path_factory, text, skip, quotes):
    path = write(tmp_path_factory.mktemp("quick"), "user,title\n" + text)
    columns, form = LogColumns("user", "title"), CsvFormat(separator=",", quotes=quotes)
    quick, careful = quickly(path, columns, form, skip), carefully(path, columns, form, skip)
    assert quick == careful or (quotes and SPACE_BEHIND.search(text))


TEXTS = st.text(st.sampled_from("ab,;\t|\"'\\ \néüß0.5-"), max_size=8)
MARKERS = st.sampled_from(["", "NA", "NaN", "None", "NULL", r"\N", "<NA>", "-", "5.0", "007", "1e3"])
CLOCKS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S.%f", "%Y%m%d", "%Y%m%d%H%M%S", "%s", "%s000", "%s.5"]


@examples(60)
@given(
    rows=st.lists(st.tuples(*[TEXTS | MARKERS] * 3, st.datetimes(datetime(1990, 1, 1))), min_size=1),
    clock=st.sampled_from(CLOCKS), separator=st.sampled_from([",", "\t", ";", "|", "::", "\x01"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16"]), skip=st.booleans(),
)  # fmt: skip
def test_generated_logs_are_read_alike(tmp_path_factory, rows, clock, separator, quoting, end, encoding, skip):
    """Separators × quotes × line ends × encodings × times × missing markers."""
    text = io.StringIO(newline="")
    lines = [(*fields, day.strftime(clock)) for *fields, day in rows]
    if len(separator) > 1:
        lines = [[field.replace(":", "").replace("\n", "").replace('"', "") for field in line] for line in lines]
        text.write(end.join(separator.join(line) for line in [("user", "title", "place", "time"), *lines]) + end)
    else:
        writer = csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=end)
        writer.writerows([("user", "title", "place", "time"), *lines])
    path = write(tmp_path_factory.mktemp("quick"), text.getvalue().encode(encoding))
    form = CsvFormat(separator=separator, encoding=encoding.removesuffix("-sig"))
    columns = LogColumns("user", "title", None, "time", info=("place",))
    assert quickly(path, columns, form, skip) == carefully(path, columns, form, skip)


@examples(100)
@given(st.lists(st.from_regex(USUAL_TIME) | MARKERS, min_size=1))
def test_times_are_the_same_days(times):
    pa = pytest.importorskip("pyarrow")
    assert Days().codes(pa.chunked_array([times])).tolist() == Days().codes(times).tolist()


def test_json_lines_are_read_alike(tmp_path):
    rows = [
        {"user": 7 + i % 3, "title": {"id": f"t{i % 5}"}, "place": ["x", None, "y z"][i % 3], "time": time, "n": i / 2}
        for i, time in enumerate(["2024-03-01T23:30:00-08:00", "2024-03-02", "2024-03-02T00:30:00+09:00"] * 4)
    ]
    path = write(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "log.jsonl")
    columns = LogColumns("user", "title.id", None, "time", info=("place", "n"))
    log = carefully(path, columns)
    assert isinstance(log, dict) and quickly(path, columns) == log
    path.write_text(path.read_text() + "{\n")
    assert quickly(path, columns) == carefully(path, columns)
    assert quickly(path, columns, skip=True) == carefully(path, columns, skip=True)


def test_a_large_file_is_read_in_its_order(tmp_path):
    """Larger than the pieces that DuckDB's threads read."""
    lines = [f'u{i % 30000},"t {i % 900}",2024-01-{i % 9 + 1:02}\n' for i in range(150_000)]
    path = write(tmp_path, "user,title,time\n" + "".join(lines))
    columns = LogColumns("user", "title", None, "time")
    assert quickly(path, columns, rows=40_000) == read(path, columns, None, False, FAST_FROM_BYTES=1 << 60)


def test_a_large_file_is_read_quickly_and_a_small_one_carefully(tmp_path, monkeypatch):
    path = write(tmp_path, LOG)
    monkeypatch.setattr(events, "FAST_FROM_BYTES", path.stat().st_size)
    monkeypatch.setattr(duck.CsvTable, "blocks", lambda *args, **kwargs: pytest.fail("read carefully"))
    assert len(read_log([LogFile(path)], COLUMNS)) == 4
    monkeypatch.undo()
    monkeypatch.setattr(duck.DuckTable, "fast_blocks", lambda *args, **kwargs: pytest.fail("read quickly"))
    assert len(read_log([LogFile(path)], COLUMNS)) == 4


def test_without_duckdb_a_large_file_is_the_same_log_and_the_remedy_is_named(tmp_path, monkeypatch):
    path = write(tmp_path, LOG)
    expected = carefully(path)
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert quickly(path) == expected
    monkeypatch.setattr(events, "FAST_FROM_BYTES", 0)
    assert any("pip install 'twotower[sql]'" in form for form in read_log([LogFile(path)], COLUMNS).formats)


def test_files_read_in_either_way_share_their_names(tmp_path, monkeypatch):
    large, small = write(tmp_path, LOG * 2 + "7,x,,20240101\n", "large.csv"), write(tmp_path, LOG, "small.csv")
    large.write_text(large.read_text().replace(LOG.splitlines()[0] + "\n", "", 2))
    large.write_text(LOG.splitlines()[0] + "\n" + large.read_text())
    monkeypatch.setattr(events, "FAST_FROM_BYTES", large.stat().st_size)
    mixed = said(read_log([LogFile(small), LogFile(large), LogFile(small)], COLUMNS))
    monkeypatch.setattr(events, "FAST_FROM_BYTES", 1 << 60)
    assert said(read_log([LogFile(small), LogFile(large), LogFile(small)], COLUMNS)) == mixed


# ---------------------------------------------------------------- Parquet


def parquet(path: Path, group: int = 4, **columns) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table(columns), path, row_group_size=group)
    return path


def parquet_columns() -> dict[str, tuple[list, object]]:
    """Name → values, and their Arrow type, as logs have them."""
    pa = pytest.importorskip("pyarrow")
    words = ["b", "a", " b ", "", "NaN", "b", "ü x", "a"]
    days = [date(2024, 2, 29), None, date(1969, 12, 31), date(1, 1, 1)] * 2
    times = [datetime(2024, 2, 29, 23, 59), None, datetime(1969, 12, 31, 1), datetime(1970, 1, 1)] * 2
    numbers = [3, -1, 3, None, 0, 20240229, 1709164800, 3]
    return {
        "text": (words, pa.string()),
        "large text": ([*words[:3], None, *words[4:]], pa.large_string()),
        "text without bytes": ([""] * 8, pa.string()),
        "dictionary": (words, pa.dictionary(pa.int8(), pa.string())),
        "dictionary with gaps": ([None, *words[1:]], pa.dictionary(pa.uint16(), pa.string())),
        "dictionary in another order": (
            pa.DictionaryArray.from_arrays(pa.array([2, 2, 0, 3, None, 0, 2, 3]), ["z", "unused", "b", " z "]),
            None,
        ),
        "dictionary of numbers": (numbers, pa.dictionary(pa.int32(), pa.int64())),
        "int64": (numbers, pa.int64()),
        "int32 without gaps": ([n or 5 for n in numbers], pa.int32()),
        "uint8": ([1, 2, 3, 1, 2, 3, None, 255], pa.uint8()),
        "uint64": ([1, 1 << 63, 1, None, (1 << 64) - 1, 0, 0, 1], pa.uint64()),
        "float": ([1.0, float("nan"), None, 2.5, 1.0, 1e20, 0.0, 1709164800.0], pa.float64()),
        "flag": ([True, None, False, True] * 2, pa.bool_()),
        "date32": (days, pa.date32()),
        "date64": (days, pa.date64()),
        **{f"timestamp {unit}": (times, pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")},
        "UTC": (times, pa.timestamp("us", "UTC")),
        "elsewhere": (times, pa.timestamp("us", "Asia/Tokyo")),
        "far away": ([datetime(9999, 12, 31), datetime(1, 1, 1)] * 4, pa.timestamp("us")),
        "list": ([["x", "y"], None, [], ["x"]] * 2, pa.list_(pa.string())),
    }


KINDS = [
    "text", "large text", "text without bytes", "dictionary", "dictionary with gaps",
    "dictionary in another order", "dictionary of numbers", "int64",
    "int32 without gaps", "uint8", "uint64", "float", "flag", "date32", "date64", "timestamp s", "timestamp ms",
    "timestamp us", "timestamp ns", "UTC", "elsewhere", "far away", "list",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["user and info", "time", "time in a format"])
def test_every_arrow_type_is_read_alike(tmp_path, kind, what):
    values, arrow_type = parquet_columns()[kind]
    pa = pytest.importorskip("pyarrow")
    path = parquet(tmp_path / "log.parquet", x=pa.array(values, arrow_type), y=list("abcdabcd"))
    columns = {
        "user and info": LogColumns("x", "y", info=("x",)),
        "time": LogColumns("y", "y", None, "x"),
        "time in a format": LogColumns("y", "y", None, "x", "%Y-%m-%d"),
    }[what]
    refused = isinstance(carefully(path, columns), str)
    for skip in [False, True] if refused else [False]:  # else there is nothing to skip
        log = carefully(path, columns, skip=skip)
        assert quickly(path, columns, skip=skip, rows=1) == log
        together = quickly(path, columns, skip=skip, rows=100)
        assert together == log or (isinstance(together, str) and isinstance(log, str)), (
            "of two faults either may be named"
        )


def test_all_kinds_are_tried():
    assert set(parquet_columns()) == set(KINDS)


def test_timestamps_far_outside_of_the_calendar_are_no_times(tmp_path):
    pa = pytest.importorskip("pyarrow")
    path = parquet(tmp_path / "log.parquet", x=pa.array([-(1 << 62), 1 << 62, 0], pa.timestamp("us")), y=list("abc"))
    assert quickly(path, LogColumns("y", "y", None, "x"), skip=True)["skipped"] == {"not a time": 2}


def test_a_damaged_parquet_file_is_refused_alike(tmp_path):
    path = parquet(tmp_path / "log.parquet", user=[f"u{i * i}" for i in range(5000)], title=["t"] * 5000)
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes(2000) + content[2100:])
    columns = LogColumns("user", "title")
    assert ": damaged Parquet file" in quickly(path, columns)


def test_bytes_that_are_no_text_are_refused_alike(tmp_path):
    pa = pytest.importorskip("pyarrow")
    buffers = (pa.py_buffer(part) for part in (np.array([0, 2, 4], np.int32), b"\xff\xfeab"))
    path = parquet(tmp_path / "log.parquet", user=pa.StringArray.from_buffers(2, *buffers), title=["a", "b"])
    columns = LogColumns("user", "title")
    fault = f"{path}, column 'user': bytes that are not UTF-8, expected text or numbers"
    assert quickly(path, columns) == carefully(path, columns) == fault

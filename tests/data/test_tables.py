"""CSV and Parquet files as people have them, read as they are meant, or refused with the place of the fault."""

import csv
import gzip
import io
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.core.errors import InputError
from twotower.data.ingest import blocks
from twotower.data.ingest.blocks import CsvFormat
from twotower.data.ingest.cleaning import clean
from twotower.data.ingest.tables import open_table, read_columns

ROWS = [["u1", "alpha"], ["u2", "beta"], ["u1", "gamma delta"]]
TEXT = "user,title\nu1,alpha\nu2,beta\nu1,gamma delta\n"


def rows_of(path: Path, form: CsvFormat | None = None, names=("user", "title")) -> list[list[str]]:
    return [list(row) for row in zip(*read_columns(open_table(path, form, names), names), strict=True)]


def fault_of(path: Path, form: CsvFormat | None = None, names=("user", "title")) -> str:
    with pytest.raises(InputError) as caught:
        rows_of(path, form, names)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


@pytest.fixture
def write(tmp_path):
    """Write text or bytes to a file of this test and give its path."""

    def write(content: str | bytes, name: str = "log.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def parquet(path: Path, **columns) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


def test_a_csv_file_is_read(write):
    assert rows_of(write(TEXT)) == ROWS


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
def test_the_separator_is_guessed(write, separator):
    assert rows_of(write(TEXT.replace(",", separator))) == ROWS


def test_the_separator_is_the_one_that_yields_the_columns_asked_for(write):
    path = write("user;title;a,b,c,d,e\nu1;alpha;1,2,3,4,5\n")
    assert rows_of(path) == [["u1", "alpha"]]


def test_a_header_in_quotes_does_not_confuse_the_guess(write):
    assert rows_of(write('"user";"title"\n"u1";"alpha"\n')) == [["u1", "alpha"]]


def test_a_separator_that_is_given_is_not_guessed(write):
    path = write("user:title\nu1:alpha\n")
    assert rows_of(path, CsvFormat(separator=":")) == [["u1", "alpha"]]
    assert "no column 'user'; it has 'user:title'" in fault_of(path)


@pytest.mark.parametrize("separator", ["", "\n", '"', ':"'])
def test_a_separator_is_neither_a_quote_nor_a_line_end(separator):
    with pytest.raises(InputError, match="expected one or more characters"):
        CsvFormat(separator=separator)


def test_gzip_is_told_by_content_not_by_name(write):
    assert rows_of(write(gzip.compress(TEXT.encode()), "log.csv")) == ROWS
    assert rows_of(write(TEXT, "plain.csv.gz")) == ROWS


def test_a_byte_order_mark_is_no_part_of_the_first_name(write):
    assert rows_of(write(b"\xef\xbb\xbf" + TEXT.encode())) == ROWS


def test_windows_line_ends_and_blank_lines_are_fine(write):
    assert rows_of(write(TEXT.replace("\n", "\r\n"))) == ROWS
    assert rows_of(write(TEXT.replace("\n", "\n\n"))) == ROWS


def test_quoted_fields_may_hold_separators_quotes_and_line_breaks(write):
    path = write('user,title\nu1,"a, ""b""\nc"\nu2,d\n')
    assert rows_of(path) == [["u1", 'a, "b"\nc'], ["u2", "d"]]


def test_without_quotes_a_quote_is_an_ordinary_character(write):
    path = write('user\ttitle\nu1\t"weird al" yankovic\nu2\tmichael "mj\n')
    assert rows_of(path, CsvFormat(quotes=False)) == [["u1", '"weird al" yankovic'], ["u2", 'michael "mj']]
    assert fault_of(path).startswith(", line 2: ")
    assert "--no-quotes" in fault_of(path)


def test_without_a_header_columns_are_numbers(write):
    path = write("u1,alpha\nu2,beta\n")
    assert rows_of(path, CsvFormat(header=False), ("2", "1")) == [["alpha", "u1"], ["beta", "u2"]]


def test_a_column_without_a_name_is_called_by_its_number(write):
    path = write(",user,title\n0,u1,alpha\n")
    assert open_table(path).columns == ["1", "user", "title"]


def test_another_encoding_can_be_named(write):
    path = write("user,title\nu1,alpha\nu2,café\n".encode("latin-1"))
    assert rows_of(path, CsvFormat(encoding="latin-1"))[1] == ["u2", "café"]
    assert fault_of(path) == ", line 3: byte 0xe9 is not utf-8; --encoding names another, such as latin-1"
    assert "--encoding 'utf8000' is unknown" in fault_of(path, CsvFormat(encoding="utf8000"))


def test_columns_come_in_the_order_asked_for_and_more_than_once(write):
    assert rows_of(write(TEXT), names=("title", "user", "title"))[0] == ["alpha", "u1", "alpha"]


def test_a_table_longer_than_a_block_is_read_whole(write, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 2)
    read = list(open_table(write(TEXT)).blocks(["user"]))
    assert [block.start for block in read] == [0, 2]
    assert [block.columns for block in read] == [[["u1", "u2"]], [["u1"]]]


def test_progress_ends_at_the_size_of_the_file(write):
    calls = []
    table = open_table(write(gzip.compress((TEXT * 5000).encode())))
    list(table.blocks(["user"], progress=lambda *call: calls.append(call)))
    assert calls[-1][1] == calls[-1][2] == -(-table.path.stat().st_size // 1000)  # kB, rounded up
    assert all("log.csv" in stage for stage, _, _ in calls)


def test_a_missing_file_is_named(tmp_path):
    assert fault_of(tmp_path / "none.csv") == ": No such file or directory"
    assert fault_of(tmp_path) == ": Is a directory"


def test_an_empty_file_is_named(write):
    assert fault_of(write("")) == ": the file is empty"
    assert "line 1: empty, expected column names" in fault_of(write("\n\n"))
    assert "line 1: empty" in fault_of(write(gzip.compress(b"")))


def test_a_missing_column_lists_those_present(write):
    assert fault_of(write(TEXT), names=("user", "film")) == ": no column 'film'; it has 'user', 'title'"


def test_two_columns_of_one_name_are_refused(write):
    assert (
        fault_of(write("user,title,user\n1,2,3\n"))
        == ", line 1: two columns are called 'user' (--separator, if it is not ','; --no-header, if that is data)"
    )


@pytest.mark.parametrize(("row", "fields"), [("u3", "1"), ("u3,a,b", "3")])
def test_a_ragged_row_is_named_by_its_line(write, row, fields):
    path = write(f'user,title\nu1,"two\nlines"\n\nu2,b\n{row}\nu4,c\n')
    fault = f", line 6: {fields} fields, the first line has 2, separated by ','"
    assert fault_of(path).startswith(f"{fault} (like 1 of 4 rows: --separator names another")
    path.write_text(path.read_text() + "u5,d\n" * 16)
    assert fault_of(path).endswith("(--skip-bad-rows leaves out 1 of 20 rows)")


def test_ragged_rows_can_be_skipped_and_are_counted(write, monkeypatch):
    table = open_table(write("user,title\nu1,a\nu2\nu3,b,c\nu4,d\n"))
    (block,) = table.blocks(["user"], skip_ragged=True)
    assert block.columns == [["u1", "u4"]]
    assert block.ragged == 2
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 2)
    read = list(table.blocks(["user"], skip_ragged=True))
    assert [(block.start, block.ragged) for block in read] == [(0, 1), (2, 1)], "rows count as they stand in the file"


def test_a_quote_that_never_closes_does_not_swallow_the_rest(write):
    path = write('user,title\nu1,a\nu2,"b\nu3,c\n')
    assert "unexpected end of data" in fault_of(path)


def test_a_field_without_end_is_told_before_it_fills_the_memory(write):
    csv.field_size_limit(1 << 28)  # as another reader in this process may have set it
    path = write('user,title\nu1,"' + "a\n" * 600_000)
    assert "field larger than field limit" in fault_of(path)
    assert len(rows_of(write(f"user,title\nu1,{'a' * 1_000_000}\n"))[0][1]) == 1_000_000


def test_a_damaged_gzip_file_is_told_with_the_last_good_line(write):
    packed = gzip.compress(b"user,title\n" + b"".join(b"u%d,t%d\n" % (i, i * i) for i in range(50_000)))
    assert "damaged gzip file (Compressed file ended" in fault_of(write(packed[: len(packed) // 2]))
    broken = packed[:1000] + bytes(255 - byte for byte in packed[1000:1100]) + packed[1100:]
    assert "damaged gzip file" in fault_of(write(broken))
    assert "damaged gzip file" in fault_of(write(packed[:5]))


def test_where_names_the_line_a_row_ends_on(write):
    table = open_table(write('user,title\nu1,"a\nb"\n\nu2,c\n'))
    assert table.where(0, "title").endswith("log.csv, line 3, column 'title'")
    assert table.where(1).endswith("log.csv, line 5")


def test_a_parquet_file_is_read_like_a_csv_file(tmp_path, write):
    path = parquet(tmp_path / "log.any", user=[row[0] for row in ROWS], title=[row[1] for row in ROWS])
    assert rows_of(path) == rows_of(write(TEXT)) == ROWS
    assert open_table(path).where(1, "user") == f"{path}, row 2, column 'user'"


def test_parquet_values_become_the_text_that_a_csv_file_would_have(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from datetime import date, datetime

    path = parquet(
        tmp_path / "log.parquet",
        whole=pa.array([12362, None], pa.int64()),
        met_a_nan=pa.array([12362.0, float("nan")], pa.float64()),
        real=pa.array([0.5, 2.0]),
        numeric=pa.array([Decimal("12362.000000000"), Decimal("0.500000000")], pa.decimal128(38, 9)),
        day=pa.array([date(2024, 2, 29), None]),
        time=pa.array([datetime(2024, 2, 29, 23, 59), None], pa.timestamp("us")),
        category=pa.array(["a", None]).dictionary_encode(),
        tags=pa.array([["indie rock", "pop"], None]),
        flag=pa.array([True, None]),
    )
    names = open_table(path).columns
    first, second = zip(*read_columns(open_table(path), names), strict=True)
    assert first[:5] == ("12362", "12362", "0.5", "12362", "2024-02-29")
    assert first[5].startswith("2024-02-29 23:59:00")
    assert first[6:] == ("a", "indie rock|pop", "true")
    assert second == ("", "", "2", "0.500000000", "", "", "", "", "")


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda pa: pa.array([{"id": "u1"}]), "column 'user': struct<id: string>, not readable as text"),
        (lambda pa: pa.array([[("id", "u1")]], pa.map_(pa.string(), pa.string())), "column 'user': map<string, string"),
        (lambda pa: pa.array([b"\xff\xfe"], pa.binary()), "column 'user': bytes that are not UTF-8"),
        (lambda pa: pa.array([0], pa.timestamp("us", "Mars/Phobos")), "column 'user': timestamp[us, tz=Mars/Phobos]"),
    ],
)
def test_a_parquet_column_that_is_no_text_is_named(tmp_path, make, fault):
    pa = pytest.importorskip("pyarrow")
    table = open_table(parquet(tmp_path / "log.parquet", user=make(pa)))
    with pytest.raises(InputError) as caught:
        list(table.blocks(["user"]))
    assert fault in str(caught.value)


def test_two_parquet_columns_of_one_name_are_refused(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table([pa.array(["a"])] * 2, names=["user", "user"]), tmp_path / "log.parquet")
    assert fault_of(tmp_path / "log.parquet").startswith(": two columns have one name")


def test_a_damaged_parquet_file_is_named(tmp_path, write):
    pytest.importorskip("pyarrow")
    assert ": not a readable Parquet file" in fault_of(write(b"PAR1 and nothing else", "log.parquet"))
    path = parquet(tmp_path / "log.parquet", user=[f"u{i * i}" for i in range(5000)], title=["t"] * 5000)
    content = path.read_bytes()
    path.write_bytes(content[:100] + bytes(2000) + content[2100:])
    assert ": damaged Parquet file" in fault_of(path)
    assert "no column 'film'; it has 'user', 'title'" in fault_of(path, names=("film",))


def test_without_pyarrow_parquet_is_one_line_on_what_to_install(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.dataset", None)
    assert fault_of(write(b"PAR1", "log.parquet")) == ": Parquet needs pyarrow: pip install 'twotower[parquet]'"


def test_clean_makes_every_run_of_white_space_one_space():
    assert clean("  a\r\n\tb  c\u00a0") == "a b c"


@examples(40)
@given(
    st.lists(st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)] * 2), min_size=1),
    st.sampled_from([",", "\t", ";", "|"]),
    st.booleans(),
)
def test_what_csv_writes_is_read_back(tmp_path_factory, rows, separator, pack):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, quoting=csv.QUOTE_ALL)
    writer.writerows([["user", "title"], *rows])
    path = tmp_path_factory.mktemp("tables") / "log"
    path.write_bytes(gzip.compress(text.getvalue().encode()) if pack else text.getvalue().encode())
    assert rows_of(path) == [list(row) for row in rows]

"""What import understands: each row of docs/reference/import.md is read, and comes out as the page says.

The page is made from these rows:  python tests/data/test_understood.py
"""

import bz2
import csv
import gzip
import json
import lzma
import sys
from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # when run to make the page
from public_layouts import EVENTS, HEADER, N_DAYS, assert_sound, csv_text, plain

from twotower.core.errors import InputError

NAMES = {"DE": "Germany", "FR": "France", "GB": "U.K.", "NA": "Namibia", "TR": "Türkiye"}
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "import.md"
INTRODUCTION = """# What import understands

Each form is a test. How to use the options: [import your own data](../how-to/own-data.md); all of them:
[commands](commands.md#twotower-import). `--where` and `--sql` need DuckDB (`pip install 'twotower[sql]'`), and large
text files are read several times as fast with it. Parquet, ORC and Feather need pyarrow (`twotower[parquet]`).
"""


class Row(NamedTuple):
    """One form of the page, and the log that it is about."""

    written: str
    read: str
    log: Callable[[], str | bytes]
    options: Mapping[str, Any] = MappingProxyType({})
    fault: str = ""  # of what is refused


def lines(separator: str) -> str:
    return "\n".join(separator.join(row) for row in [HEADER, *plain()])


def each(column: str, change: Callable[[str], str], **form) -> str:
    at = HEADER.index(column)
    rows = [[*row[:at], change(row[at]), *row[at + 1 :]] for row in plain()]
    return csv_text(rows, **form)


def one(column: str, value: str) -> str:
    rows = plain()
    rows[100][HEADER.index(column)] = value
    return csv_text(rows)


def two_forms(title: str, seen: list[str] = []) -> str:  # noqa: B006
    """A name with its é in one character and in two by turns."""
    seen.append(title)
    return ("né" if seen.count(title) % 2 else "ne\u0301") + title


def jsonl() -> str:
    return "".join(json.dumps(dict(zip(HEADER, row, strict=True))) + "\n" for row in plain())


def typed(kind: str) -> bytes:
    import io

    import pyarrow as pa
    from pyarrow import feather, orc, parquet

    table = pa.table(dict(zip(HEADER, zip(*plain(), strict=True), strict=True)))
    file = io.BytesIO()
    {"parquet": parquet.write_table, "orc": orc.write_table, "feather": feather.write_feather}[kind](table, file)
    return file.getvalue()


def zstd(text: bytes) -> bytes:
    import pyarrow as pa

    target = pa.BufferOutputStream()
    with pa.CompressedOutputStream(target, "zstd") as file:
        file.write(text)
    return target.getvalue().to_pybytes()


def at(form: str) -> Callable[[], str]:
    return lambda: csv_text([[u, t, c, f"{d:{form}}"] for u, t, c, d in EVENTS])


def since(unit: int) -> Callable[[], str]:
    return lambda: csv_text([[u, t, c, str((d.toordinal() - 719_163) * unit)] for u, t, c, d in EVENTS])


def missing(word: str) -> Row:
    options = {"fault": "is not a user (--skip-bad-rows leaves out 1 of 600 rows)"}
    return Row(f"`{word}`" if word else "nothing", "missing: an error, or left out by `--skip-bad-rows`",
               lambda: one("user", word), **options)  # fmt: skip


TABLES: dict[str, list[Row]] = {
    "Files": [
        Row("CSV", "detected", lambda: csv_text(plain())),
        Row("JSON lines", "keys are columns, nested ones `geo.country`", jsonl),
        *(Row(name, "by pyarrow", lambda name=name: typed(name.lower())) for name in ("Parquet", "ORC", "Feather")),
        *(Row(name, "unpacked on the way", lambda pack=pack: pack(lines(",").encode()))
          for name, pack in (("any text file in gzip", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress),
                             ("zstd or lz4, with pyarrow", zstd))),
        Row("JSON array", "refused", lambda: '[{"user": 1}]', fault="write one object per line"),
        Row("Excel, zip, Avro, SQLite, pickle …", "refused with what to do instead",
            lambda: b"Obj\x01" + bytes(99), fault="an Avro file; write it as Parquet"),
    ],
    "Separators, quotes, lines": [
        *(Row(name, "detected", lambda separator=separator: lines(separator))
          for name, separator in (("separated by `,`", ","), ("`;`", ";"), ("`tab`", "\t"), ("`\\|`", "|"))),
        *(Row(f"`{mark}`", "`--separator`", lambda mark=mark: lines(mark), {"separator": mark})
          for mark in ("::", "^", "\x01", " ")),
        Row("a first line `sep=;`", "followed", lambda: "sep=;\n" + csv_text(plain(), separator=";")),
        Row("lines before the header", "`--skip-lines 2`", lambda: "made\nby hand\n" + lines(","), {"skip_lines": 2}),
        Row("no header", "`--no-header`: columns are `1`, `2`, …", lambda: csv_text(plain(), None),
            {"no_header": True, "user": "1", "title": "2", "territory": "3", "time": "4"}),
        Row("the header once more, in the middle", "left out and counted", lambda: csv_text([*plain(), HEADER])),
        Row("quotes around fields, doubled in them", "detected", lambda: csv_text(plain(), quoting=csv.QUOTE_ALL)),
        Row('`\\"` in quoted fields', "detected, or `--backslash-escapes`", lambda: each("title", '"{}"'.format,
            quoting=csv.QUOTE_ALL, escapechar="\\", doublequote=False)),
        Row("single quotes around all names and fields", "detected", lambda: each("title", str, quoting=csv.QUOTE_ALL,
            quotechar="'")),
        Row("a space behind the separator", "skipped", lambda: lines(", ")),
        Row("line ends of Windows and of old Macs", "detected", lambda: csv_text(plain()).replace("\n", "\r")),
        Row("a row with too few or too many fields", "an error, or left out by `--skip-bad-rows`",
            lambda: csv_text([*plain(), ["x"]]), fault="1 fields, the first line has 4"),
    ],
    "Encodings": [
        Row("UTF-8, with a byte-order mark or without", "the default", lambda: csv_text(plain()).encode("utf-8-sig")),
        *(Row(name, "`--encoding`", lambda name=name: each("title", "né{}".format).encode(name),
              {"encoding": name}) for name in ("latin-1", "cp1252", "utf-16", "mac_roman")),
        Row("one of these, not named", "refused", lambda: each("title", "né{}".format).encode("latin-1"),
            fault="--encoding names another, such as latin-1"),
    ],
    "Ids": [
        Row("text or numbers", "as they are written: `007` is not `7`", lambda: each("user", "007-{}".format)),
        Row("`5.0` and `5`", "`5`", lambda: one("user", "7.0")),
        Row("white space and invisible characters", "runs are one space, none at the ends",
            lambda: one("user", "\u200b 7 ")),
        Row("é in one character or in two", "one id", lambda: each("title", two_forms)),
        Row("`1.23456789E+17`", "refused: a rounded number", lambda: one("user", "1.23456789E+17"),
            fault="is a rounded number, not an id"),
        *map(missing, ("", "NA", "NaN", "NULL", "None", "N/A", r"\N", "<NA>", "undefined", "(not set)", "-")),
    ],
    "Territories": [
        Row("codes and names of countries", "one territory", lambda: one("territory", NAMES[EVENTS[100][2]])),
        Row("`NA`", "Namibia, which the summary says", lambda: csv_text(plain())),
        Row("`NULL`, nothing, …", "an error, or `--missing-territory`", lambda: one("territory", "NULL"),
            fault="--missing-territory drop leaves out 1 of 600 rows"),
    ],
    "Times": [
        *(Row(f"`{EVENTS[0][3]:{form}}`", "the day as it is written", at(form)) for form in (
            "%Y-%m-%d", "%Y-%m-%d 23:59", "%Y-%m-%d 23:59:59.999 UTC", "%Y-%m-%dT23:59:59+09:00", "%Y%m%d", "%Y%m%d.0",
            "%Y%m%d23", "%Y%m%d2359", "%Y%m%d235959")),
        *(Row(f"{unit} since 1970", "by size", since(n)) for unit, n in (
            ("days", 1), ("seconds", 86_400), ("milliseconds", 86_400_000), ("microseconds", 86_400 * 10**6),
            ("nanoseconds", 86_400 * 10**9))),
        Row("days of Excel (45352)", "by size, from 1990 on",
            lambda: csv_text([[u, t, c, str(d.toordinal() - 693_594)] for u, t, c, d in EVENTS])),
        Row("`1.709251E+09`", "refused: a rounded number", lambda: one("date", "1.709251E+09"), fault="is not a time"),
        *(Row(f"`{EVENTS[0][3]:{form}}`", "an error that suggests the `--time-format`", at(form),
              fault=f"{form!r}") for form in ("%d/%m/%y", "%m/%d/%Y", "%d.%m.%Y", "%d %b %Y", "%y%m%d")),
    ],
}  # fmt: skip
ROWS = [row for rows in TABLES.values() for row in rows]


def page() -> str:
    parts = [INTRODUCTION]
    for title, rows in TABLES.items():
        parts.append(f"\n## {title}\n\n| written | read |\n|---|---|\n")
        for read, alike in groupby(rows, lambda row: row.read):
            written = ", ".join(row.written for row in alike).replace("\x01", r"\x01")
            parts.append(f"| {written} | {read} |\n")
    return "".join(parts)


@pytest.mark.parametrize("row", ROWS, ids=[row.written for row in ROWS])
def test_it_is_read_as_the_page_says(imported, row):
    pytest.importorskip("pyarrow")
    if not row.fault:
        found = imported(row.log(), **row.options)
        assert_sound(found)
        assert len(found[1].split.dates) == N_DAYS
        return
    with pytest.raises(InputError) as caught:
        imported(row.log(), **row.options)
    assert row.fault in str(caught.value)


def test_the_page_has_these_rows():
    assert PAGE.read_text(encoding="utf-8") == page(), f"make it anew: python {Path(__file__).name}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

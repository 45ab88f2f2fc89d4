"""Kinds of logs that are easily misread: each member comes out right in both ways of reading, or is refused.

A row of a table is what the kind is called, the log, options, and what is said: of a log that is read, a part of its
assumptions and warnings; of one that is refused, a part of the message.
"""

import bz2
import csv
import gzip
import json
import lzma
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from public_layouts import CODES, EVENTS, HEADER, N_DAYS, TITLES, USERS, csv_text, plain

from twotower.core.errors import InputError

EPOCH = date(1970, 1, 1).toordinal()
Case = tuple[str, Any, dict[str, Any], str]


def column(name: str, change: Callable[[int, str], Any], **form: Any) -> str:
    at = HEADER.index(name)
    return csv_text([[*row[:at], change(i, row[at]), *row[at + 1 :]] for i, row in enumerate(plain())], **form)


def timed(change: Callable[[date], Any]) -> str:
    return csv_text([[u, t, c, change(d)] for u, t, c, d in EVENTS])


def users(change: Callable[[int, int], Any]) -> str:
    return column("user", lambda i, user: change(i, int(user)))


def jsonl(**changes: Callable[[int, str], Any]) -> str:
    rows = [dict(zip(HEADER, row, strict=True)) for row in plain()]
    return "".join(json.dumps(row | {k: f(i, row[k]) for k, f in changes.items()}) + "\n" for i, row in enumerate(rows))


def joined(separator: str) -> str:
    return "\n".join(separator.join(row) for row in [HEADER, *plain()])


def parquet(**changes: Any) -> Callable[[Path], Path]:
    """A Parquet file in which columns have other Arrow types: name → a function of pyarrow and the texts."""

    def made(folder: Path) -> Path:
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        columns: dict[str, Any] = dict(zip(HEADER, map(list, zip(*plain(), strict=True)), strict=True))
        columns |= {name: change(pa, columns.get(name)) for name, change in changes.items()}
        parquet.write_table(pa.table(columns), folder / "log.parquet", row_group_size=100)
        return folder / "log.parquet"

    return made


def packed(codec: str) -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        pa = pytest.importorskip("pyarrow")
        with pa.output_stream(folder / "log", compression=codec) as file:
            file.write(csv_text(plain()).encode())
        return folder / "log"

    return made


def folder_of(files: dict[str, str | bytes], links: dict[str, str] | None = None) -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        for name, content in files.items():
            path = folder / "log" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        for name, target in (links or {}).items():
            os.symlink(folder / target, folder / "log" / name)
        return folder / "log"

    return made


HALVES = csv_text(plain(EVENTS[:300])), csv_text(plain(EVENTS[300:]))
BY_DAY = {d: csv_text([[u, t, c] for u, t, c, e in EVENTS if e == d], HEADER[:3]) for *_, d in EVENTS}
BY_CODE = {
    code: csv_text([[u, t, d] for u, t, c, d in EVENTS if c == code], ["user", "title", "date"]) for code in CODES
}
ACCENTS = column("title", lambda i, title: f"né{title}")

READ: list[Case] = [
    ("separator as an escape", joined("\x01"), {"separator": r"\x01"}, r"separator '\x01'"),
    ("single quotes", "\n".join(",".join(f"'{x}'" for x in row) for row in [HEADER, *plain()]), {}, "single quotes"),
    ("blank lines before the names", "\n \n" + csv_text(plain()), {}, ""),
    ("sep= and a blank line", "sep=;\n\n" + csv_text(plain(), separator=";"), {}, "semicolon"),
    ("zeros in ids", users(lambda i, user: f"{user}\0"), {}, ""),
    ("UTF-16 without a mark", ACCENTS.encode("utf-16-be"), {"encoding": "utf-16-be"}, "utf-16-be"),
    ("UTF-8 read as latin-1", ACCENTS.encode(), {"encoding": "latin-1"}, "look like UTF-8 read as another encoding"),
    ("characters lost before", column("title", lambda i, title: f"n\ufffd{title}"), {}, "characters that were lost"),
    ("zstd", packed("zstd"), {}, "zstd"),
    ("lz4", packed("lz4"), {}, "lz4"),
    ("lzma", lzma.compress(csv_text(plain()).encode(), format=lzma.FORMAT_ALONE), {}, "lzma"),
    (
        "members of gzip",
        b"".join(map(gzip.compress, (csv_text(plain())[:5000].encode(), csv_text(plain())[5000:].encode()))),
        {},
        "gzip",
    ),
    ("days of Excel", timed(lambda day: day.toordinal() - date(1899, 12, 30).toordinal() + 0.25), {}, "days of Excel"),
    ("a zone's name", timed(lambda day: f"{day}T23:11:12+01:00[Europe/Berlin]"), {}, "dates as they are written"),
    ("a zone's letters", timed(lambda day: f"{day} 23:11:12 CET"), {}, ""),
    ("an exponent with all digits", timed(lambda day: f"{(day.toordinal() - EPOCH) * 86400:.9E}"), {}, "seconds since"),
    (
        "two units of times",
        column("date", lambda i, day: day if i % 2 else (date.fromisoformat(day).toordinal() - EPOCH) * 86400),
        {},
        "Times read as seconds since 1970, dates as they are written",
    ),
    (
        "nanoseconds in a float",
        parquet(date=lambda pa, days: [(date.fromisoformat(d).toordinal() - EPOCH) * 86400e9 for d in days]),
        {},
        "nanoseconds since 1970",
    ),
    (
        "weeks of ISO",
        timed(lambda day: "{}-W{:02}-{}".format(*day.isocalendar())),
        {"time_format": "%G-W%V-%u"},
        "%G-W",
    ),
    ("negative whole floats", users(lambda i, user: f"-{user}.0" if i % 2 else f"-{user}"), {}, ""),
    ("whole numbers with an exponent", users(lambda i, user: f"{user * 10}" if i % 2 else f"{user * 10:.5E}"), {}, ""),
    ("integers beyond 2**64", users(lambda i, user: 10**25 + user), {}, ""),
    (
        "missing territories as a dash",
        column("territory", lambda i, code: "-" if i % 50 == 49 else code),
        {"missing_territory": "drop"},
        "Read as missing, as empty cells are: '-' in territory.",
    ),
    ("large strings", parquet(user=lambda pa, ids: pa.array(ids, pa.large_string())), {}, ""),
    (
        "a dictionary of numbers",
        parquet(user=lambda pa, ids: pa.array(list(map(int, ids))).dictionary_encode()),
        {},
        "",
    ),
    ("decimals", parquet(user=lambda pa, ids: pa.array(list(map(int, ids))).cast(pa.decimal128(22, 2))), {}, ""),
    (
        "times in a zone",
        parquet(
            date=lambda pa, days: (
                pa.array([date.fromisoformat(d) for d in days]).cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
            )
        ),
        {},
        "",
    ),
    (
        "an empty packed part",
        folder_of({"a.csv": HALVES[0], "b.csv": HALVES[1], "c.csv.gz": gzip.compress(b"")}),
        {},
        "",
    ),
    (
        "hidden files and markers",
        folder_of(
            {
                "a.csv": HALVES[0],
                "b.csv": HALVES[1],
                "_SUCCESS": "",
                ".a.csv.crc": "x",
                "_temporary/c.csv": "x",
                ".DS_Store": "x",
            }
        ),
        {},
        "",
    ),
    ("a linked folder", folder_of({"a.csv": HALVES[0], "../other/b.csv": HALVES[1]}, {"link": "other"}), {}, ""),
    ("a folder linked into itself", folder_of({"a.csv": csv_text(plain())}, {"self": "log"}), {}, ""),
    (
        "folders of years, months and days",
        folder_of({f"year={d.year}/month={d.month}/day={d.day}/a.csv": text for d, text in BY_DAY.items()}),
        {"time": "year-month-day"},
        "Columns that folders say: 'year-month-day'",
    ),
    (
        "folders with escapes",
        folder_of({f"territory={'T%C3%BCrkiye' if c == 'TR' else c}/a.csv": text for c, text in BY_CODE.items()}),
        {},
        "'territory'",
    ),
    ("JSON of mixed types", jsonl(user=lambda i, user: int(user) if i % 2 else user), {}, ""),
    (
        "JSON in latin-1",
        jsonl(title=lambda i, t: f"né{t}").replace(r"\u00e9", "é").encode("latin-1"),
        {"encoding": "latin-1"},
        "",
    ),
    ("half a character in JSON", jsonl(title=lambda i, t: f"{t}\ud800"), {}, "characters that were lost before"),
    (
        "a code after the name",
        column("territory", lambda i, c: {"DE": "Germany [DEU]", "FR": "FR - France", "TR": "🇹🇷"}.get(c, c)),
        {},
        "",
    ),
]
REFUSED: list[Case] = [
    (
        "another separator",
        joined("^"),
        {},
        "(--user); it has 'user^title^territory^date' (read with the separator ',': --separator '^'",
    ),
    (
        "another separator without names",
        joined("::"),
        {"separator": ";", "no_header": True, "user": "1", "title": "2"},
        "--separator names another",
    ),
    ("each line quoted", "\n".join(f'"{",".join(row)}"' for row in [HEADER, *plain()]), {}, "remove the outer quotes"),
    ("comments before the names", "# by hand\n" + csv_text(plain()), {}, "--skip-lines"),
    ("names that are nearly right", csv_text(plain(), ["userId", *HEADER[1:]]), {}, "(write it as 'userId')"),
    (
        "a few ragged rows",
        csv_text([*plain(), ["x"]]),
        {},
        "separated by ',' (--skip-bad-rows leaves out 1 of 601 rows)",
    ),
    (
        "many ragged rows",
        csv_text([row[: 3 + i % 2] for i, row in enumerate(plain())]),
        {},
        "(like 300 of 600 rows: --separator",
    ),
    (
        "escaped separators",
        csv_text(
            [[u, f"a\\, b{t}", c, d] for u, t, c, d in plain()], quoting=csv.QUOTE_NONE, quotechar=None, escapechar="^"
        ).replace("^,", ","),
        {},
        "--backslash-escapes reads",
    ),
    ("an encoding of no text", csv_text(plain()), {"encoding": "base64"}, "--encoding 'base64' is unknown"),
    ("UTF-16, not named", ACCENTS.encode("utf-16"), {}, "--encoding names another, such as utf-16"),
    ("UTF-16 without a mark, not named", csv_text(plain()).encode("utf-16-le"), {}, "(--encoding utf-16-le)"),
    ("UTF-32, not named", ACCENTS.encode("utf-32"), {}, "such as utf-32"),
    ("a mark of UTF-8, named latin-1", ACCENTS.encode("utf-8-sig"), {"encoding": "latin-1"}, "--encoding utf-8"),
    ("two encodings", csv_text(plain()).encode() + "1,né,DE,2024-03-01\n".encode("latin-1"), {}, "line 602: byte 0xe9"),
    ("no text", bytes(range(256)) * 8, {}, "neither text nor of a known format"),
    ("a tar archive", b"\0" * 257 + b"ustar" + bytes(300), {}, "a tar archive; unpack it first"),
    ("packed twice", gzip.compress(bz2.compress(b"a")), {}, "packed with gzip; unpack it first"),
    ("a database", bytes(8) + b"DUCK" + bytes(500), {}, '--sql "SELECT …" --database FILE reads it'),
    ("a pointer", "version https://git-lfs.github.com/spec/v1\n", {}, "git lfs pull"),
    ("JSON over lines", json.dumps({"user": 1}, indent=1), {}, "as jq -c . does"),
    ("rows within JSON", json.dumps({"data": [{"user": 1}]}) + "\n", {}, "jq -c '.data[]'"),
    ("a late list in JSON", jsonl(title=lambda i, title: [title] if i > 500 else title), {}, "a list per row"),
    ("deep JSON", '{"a":' * 3000 + "1" + "}" * 3000 + "\n" + jsonl(), {}, "line 1: not a JSON object"),
    ("a rounded time", timed(lambda day: f"{(day.toordinal() - EPOCH) * 86400:.6E}"), {}, "is not a time ("),
    ("seven digits", timed(lambda day: f"{day:%Y%j}"), {}, "'%Y%j'"),
    ("months as words", timed(lambda day: f"{day:%B %d, %Y}"), {}, "--time-format names the format: '%B %d, %Y'"),
    ("a clock alone", timed(lambda day: "10:11:12"), {}, "like 600 of 600 rows: check --time"),
    ("a format of no day", timed(str), {"time_format": "DD/MM/YYYY"}, "--time-format 'DD/MM/YYYY': no year"),
    ("a format without weekdays", timed(str), {"time_format": "%Y-W%W"}, "a year without a day"),
    ("from after until", timed(str), {"from_date": "2024-04-01", "until_date": "2024-03-01"}, "is after --until"),
    (
        "half of the ids missing",
        users(lambda i, user: "" if i % 2 else user),
        {},
        "(like 300 of 600 rows: check --user)",
    ),
    ("digits lost in text", users(lambda i, user: f"{user + 123456:.3E}"), {}, "is a rounded number"),
    (
        "digits lost in float32",
        parquet(user=lambda pa, ids: pa.array([float(x) + 2**24 for x in ids], pa.float32())),
        {},
        "is a rounded number",
    ),
    (
        "records as ids",
        parquet(user=lambda pa, ids: pa.array([[("a", x)] for x in ids], pa.map_(pa.string(), pa.string()))),
        {},
        "expected one id per row",
    ),
    ("packed Parquet", gzip.compress(b"PAR1"), {}, "Parquet packed with gzip"),
    ("a link to nothing", folder_of({"a.csv": HALVES[0]}, {"b.csv": "nowhere"}), {}, "b.csv: No such file"),
    (
        "a folder without a value",
        folder_of({f"territory={'' if c == 'DE' else c}/a.csv": text for c, text in BY_CODE.items()}),
        {},
        "folder 'territory': '' is not a territory (",
    ),
    (
        "a folder's name in another case",
        folder_of({f"Territory={c}/a.csv": text for c, text in BY_CODE.items()}),
        {},
        "its folders 'Territory' (write it as 'Territory')",
    ),
]


@pytest.fixture(params=["carefully", "quickly"])
def read(request, imported, monkeypatch, tmp_path):
    monkeypatch.setattr("twotower.data.ingest.events.FAST_FROM_BYTES", 0 if request.param == "quickly" else 1 << 60)
    return lambda log, options: imported(log(tmp_path) if callable(log) else log, **options)


@pytest.mark.parametrize(("log", "options", "said"), [case[1:] for case in READ], ids=[case[0] for case in READ])
def test_it_is_read_as_it_is_meant(read, log, options, said):
    dataset, summary = read(log, options)
    assert (dataset.n_users, dataset.n_titles, len(summary.split.dates)) == (USERS, TITLES, N_DAYS)
    assert set(dataset.territories.code) == set(CODES)
    assert said in " ".join([*summary.assumptions, *summary.warnings])


@pytest.mark.parametrize(("log", "options", "said"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_it_is_refused_with_what_to_do(read, log, options, said):
    with pytest.raises(InputError) as caught:
        read(log, options)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_ids_written_in_two_ways_are_warned_of(imported):
    _, summary = imported(users(lambda i, user: f"{user:06}" if i % 2 else user))
    assert any("may occur twice, such as " in warning for warning in summary.warnings)


def test_ids_of_a_table_in_another_form_are_not_offered_to_be_dropped(imported, tmp_path):
    (tmp_path / "users.csv").write_text("user,age\n" + "".join(f"{user:05},{user}\n" for user in range(1, USERS + 1)))
    with pytest.raises(InputError, match=r"it has '00001', .*: check --users-id; --unknown-ids keep") as caught:
        imported(csv_text(plain()), users=tmp_path / "users.csv")
    assert "--unknown-ids drop" not in str(caught.value)

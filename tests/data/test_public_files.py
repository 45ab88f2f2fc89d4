"""Logs in the files that people have: packed, nested, in folders, with tables beside them."""

import bz2
import gzip
import io
import json
import lzma
import os
import threading
import zipfile
from pathlib import Path

import pytest
from public_layouts import CODES, EVENTS, HEADER, USERS, assert_sound, csv_text, plain

from twotower.core.errors import InputError
from twotower.data.countries import find_country

# ---------------------------------------------------------------------- files


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_files_are_read(imported, pack):
    assert_sound(imported(pack(csv_text(plain()).encode())))


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (zipped("xl/workbook.xml"), "an Excel workbook; save its sheet as CSV"), (zipped("a.csv"), "a zip archive"),
        (b"SQLite format 3\x00", "an SQLite database"), (b"\xff\x06\0\0sNaPpYxx", "packed with snappy"),
        (b"\x80\x04\x95abc", "a Python pickle"), (b"<!doctype html><html>", "a web page"),
        (b'[{"user": 1}]', "a JSON array"), (b"\x89HDF\r\n", "an HDF5 file"),
    ],
)  # fmt: skip
def test_other_kinds_of_files_are_named_with_what_to_do(imported, content, kind):
    with pytest.raises(InputError, match=kind) as caught:
        imported(content)
    assert "; " in str(caught.value)


@pytest.mark.parametrize(("start", "kind"), [(b"ORC\x00", "ORC"), (b"ARROW1\0\0", "Feather")])
def test_damaged_orc_and_feather_files_are_named(imported, start, kind):
    with pytest.raises(InputError, match=rf"log\.csv: not a readable {kind} file \("):
        imported(start)


def test_a_pipe_is_read(imported, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=[csv_text(plain())], daemon=True)
    writer.start()
    assert_sound(imported(tmp_path / "pipe"))
    writer.join(10)


def test_json_lines_are_read_with_nested_keys(imported):
    lines = [json.dumps({"user": {"id": int(u)}, "title": t, "geo": {"country": c}, "date": d.isoformat(), "x": None})
             for u, t, c, d in EVENTS]  # fmt: skip
    assert_sound(imported("\n".join(lines), "log.jsonl", user="user.id", territory="geo.country"))
    with pytest.raises(InputError, match="line 3: not a JSON object"):
        imported("\n".join([*lines[:2], '{"user":', *lines[2:]]), user="user.id", territory="geo.country")


def parquet(path: Path, **columns) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


def test_nested_parquet_columns_are_named_by_their_path(imported, tmp_path):
    users, titles, codes, days = map(list, zip(*EVENTS, strict=True))
    geo = [{"country": code, "city": None} for code in codes]
    path = parquet(tmp_path / "log.parquet", user=users, title=titles, geo=geo, date=days)
    assert_sound(imported(path, territory="geo.country"))
    with pytest.raises(InputError, match=r"no column 'geo' \(--territory\); it has .*'geo.country', 'geo.city'"):
        imported(path, territory="geo")


def test_lists_and_rounded_doubles_are_no_ids(imported, tmp_path):
    users, titles, codes, days = map(list, zip(*EVENTS, strict=True))
    lists = parquet(tmp_path / "a.parquet", user=users, title=[[t] for t in titles], territory=codes, date=days)
    with pytest.raises(InputError, match="column 'title': a list per row, expected one id"):
        imported(lists)
    doubles = [2.0**60 + int(u) for u in users]
    with pytest.raises(InputError, match=r"column 'user': .* is a rounded number"):
        imported(parquet(tmp_path / "b.parquet", user=doubles, title=titles, territory=codes, date=days))


@pytest.mark.parametrize("key", ["territory", "date"])
def test_folders_can_be_a_column(imported, tmp_path, key):
    place = HEADER.index(key)
    for i, value in enumerate(sorted({row[place] for row in plain()})):
        part = [row[:place] + row[place + 1 :] for row in plain() if row[place] == value]
        folder = tmp_path / "log" / "year=2024" / f"{key}={value}"
        folder.mkdir(parents=True)
        (folder / f"part-{i}.csv").write_text(csv_text(part, HEADER[:place] + HEADER[place + 1 :]))
        (folder / "_SUCCESS").touch()
        (folder / ".part.csv.crc").write_bytes(b"crc")
    assert_sound(imported(tmp_path / "log"))


def test_folders_and_patterns_are_many_files(imported, tmp_path):
    (tmp_path / "parts").mkdir()
    for i in range(3):
        (tmp_path / "parts" / f"part{i}.csv").write_text(csv_text(plain(EVENTS[i::3])))
    assert_sound(imported(tmp_path / "parts"))
    assert_sound(imported(tmp_path / "parts" / "*.csv"))
    with pytest.raises(InputError, match="no file matches this pattern"):
        imported(tmp_path / "parts" / "*.tsv")


# ---------------------------------------------------------------------- tables, territories


def test_users_without_a_territory_are_dropped_or_kept_when_asked(imported, tmp_path):
    rows = [[str(u), "" if u % 10 == 0 else CODES[u % 5]] for u in range(1, USERS + 1)]
    (tmp_path / "users.csv").write_text(csv_text(rows, ["user", "territory"]))
    text = csv_text([[u, t, d.isoformat()] for u, t, _, d in EVENTS], ["user", "title", "date"])
    with pytest.raises(InputError, match=r"no territory for 6 users .*--missing-territory drop"):
        imported(text, users=tmp_path / "users.csv")
    dataset, summary = imported(text, users=tmp_path / "users.csv", missing_territory="drop")
    assert dataset.n_users == USERS - 6 and any("6 users left out" in note for note in summary.notes)
    dataset, _ = imported(text, users=tmp_path / "users.csv", missing_territory="unknown")
    assert dataset.n_users == USERS and "unknown" in dataset.territories.code


def test_events_without_a_territory_are_dropped_or_kept_when_asked(imported):
    rows = [[u, t, "" if u == "3" else c, d.isoformat()] for u, t, c, d in EVENTS]
    with pytest.raises(InputError, match=r"is not a territory .*--missing-territory drop"):
        imported(csv_text(rows))
    assert imported(csv_text(rows), missing_territory="drop")[0].n_users == USERS - 1
    assert imported(csv_text(rows), missing_territory="unknown")[0].n_users == USERS


def test_identical_rows_of_a_table_are_one_and_others_are_refused(imported, tmp_path):
    rows = [[str(u), CODES[u % 5]] for u in range(1, USERS + 1)]
    users = tmp_path / "users.csv"
    users.write_text(csv_text([*rows, rows[3]], ["user", "territory"]))
    assert_sound(imported(csv_text(plain()), users=users))
    users.write_text(csv_text([*rows, ["4", "US"]], ["user", "territory"]))
    with pytest.raises(InputError, match="'4' occurs a second time, with other values"):
        imported(csv_text(plain()), users=users)


def test_users_and_times_of_events_are_no_text_of_titles(imported, tmp_path):
    tags = [[u, t, f"tag{int(t) % 3}", "1700000000"] for u, t, *_ in EVENTS]
    (tmp_path / "tags.csv").write_text(csv_text(tags, ["user", "title", "tag", "date"]))
    dataset, summary = imported(csv_text(plain()), titles=tmp_path / "tags.csv", join_titles=True)
    assert list(dataset.titles) == ["title", "tag"]
    assert any("left out: 'user', 'date'" in line for line in summary.assumptions)


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("MM", "Myanmar (Burma)|Burma"), ("NL", "Netherlands (the)|Netherlands (Kingdom of the)|The Netherlands"),
        ("KR", "Korea, Rep.|Korea (the Republic of)|S. Korea"), ("KP", "Korea, Dem. People's Rep.|Korea, North"),
        ("HK", "Hong Kong SAR China|China, Hong Kong SAR|Hong Kong SAR, China"), ("MO", "Macao SAR, China|Macau SAR"),
        ("CZ", "Czech Rep.|Czech Republic (Czechia)"), ("GB", "U.K.|UK"), ("US", "U.S.A.|United States (USA)"),
        ("CD", "Congo, Dem. Rep.|Congo - Kinshasa"), ("CG", "Congo, Rep.|Congo (Brazzaville)|Congo"),
        ("EG", "Egypt, Arab Rep."), ("VI", "U.S. Virgin Islands|Virgin Islands (U.S.)"), ("VA", "Holy See (the)"),
        ("PS", "West Bank and Gaza|State of Palestine"), ("FM", "Micronesia, Fed. Sts."), ("TW", "Republic of China"),
        ("MK", "Macedonia, FYR"), ("VE", "Venezuela, RB"), ("AE", "U.A.E."), ("VC", "St. Vincent & Grenadines"),
    ],
)  # fmt: skip
def test_names_of_countries_as_institutions_write_them(code, names):
    assert {name: getattr(find_country(name), "code", None) for name in names.split("|")} == dict.fromkeys(
        names.split("|"), code
    )


@pytest.mark.parametrize("name", ["Georgia (US)", "Republic", "Kingdom", "United", "Narnia"])
def test_what_is_no_country_stays_none(name):
    assert find_country(name) is None


def test_states_of_the_us_are_no_countries_in_silence(imported):
    states = ["AL", "AZ", "CA", "CO", "DE", "FL", "GA", "IL", "IN", "TX", "NY", "MN"]
    _, summary = imported(csv_text([[u, t, states[int(u) % 12], d.isoformat()] for u, t, _, d in EVENTS]))
    assert any("12 territories are codes of parts of United States" in warning for warning in summary.warnings)

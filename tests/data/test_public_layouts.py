"""Logs in the shapes that people have: each kind of layout or fault, with what must come of it.

Members are made here. Where the folder of cases beside the shared data is present, its files are tried, too.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import zipfile
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from twotower.core.errors import InputError
from twotower.data.dataset import Dataset
from twotower.data.ingest.import_log import ImportConfig, ImportSummary, import_logs
from twotower.data.territories import find_country

USERS, TITLES, CODES = 60, 24, ("DE", "FR", "GB", "NA", "TR")
FIRST = date(2024, 3, 1)


def events(n: int = 600, days: int = 40) -> list[tuple[str, str, str, date]]:
    """User, title, territory and day of a sound log, in order of days; a user stays in one territory."""
    rng = np.random.default_rng(0)
    user, title = rng.integers(USERS, size=n), np.append(rng.integers(TITLES, size=n - TITLES), np.arange(TITLES))
    day = np.sort(rng.integers(days, size=n))
    user[:USERS] = np.arange(USERS)
    return [(f"{u + 1}", f"{t + 1}", CODES[u % 5], FIRST + timedelta(int(d))) for u, t, d in
            zip(user.tolist(), title.tolist(), day.tolist(), strict=True)]  # fmt: skip


EVENTS = events()
N_DAYS = len({day for *_, day in EVENTS})
HEADER = ["user", "title", "territory", "date"]


def csv_text(rows, header=HEADER, separator=",", **form) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator="\n", **form).writerows([header, *rows] if header else rows)
    return text.getvalue()


def plain(rows=None) -> list[list[str]]:
    return [[u, t, c, d.isoformat()] for u, t, c, d in (EVENTS if rows is None else rows)]


@pytest.fixture
def log(tmp_path):
    """Import text, bytes or a path, with settings: the dataset and the summary."""

    def log(content, name="log.csv", **settings) -> tuple[Dataset, ImportSummary]:
        path = content
        if isinstance(content, str | bytes):
            path = tmp_path / name
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        options = {"time": "date", **settings}
        events = {} if "markets" in options else {"events": (Path(path),)}
        summary = import_logs(tmp_path / "set", ImportConfig(**events, **options), overwrite=True)
        return Dataset.open(tmp_path / "set"), summary

    return log


def assert_sound(found: tuple[Dataset, ImportSummary], users=USERS, titles=TITLES, codes=CODES) -> None:
    dataset, summary = found
    assert (dataset.n_users, dataset.n_titles) == (users, titles)
    assert set(dataset.territories.code) == set(codes)
    assert not summary.warnings, summary.warnings


# ---------------------------------------------------------------------- separators, quotes, headers


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
@pytest.mark.parametrize("place", ["town {}, st {}, {}", "{};{}, {}", "{} | {} {}"])
def test_the_separator_is_detected_from_many_lines_whatever_texts_hold(log, separator, place):
    rows = [[u, t, c, d.isoformat(), place.format(u, t, c)] for u, t, c, d in EVENTS]
    text = csv_text(rows, [*HEADER, "place"], separator)
    assert_sound(log(text))
    columns = {"user": "1", "title": "2", "territory": "3", "time": "4"}
    assert_sound(log(text.split("\n", 1)[1], no_header=True, **columns))


def test_a_tab_goes_before_commas_in_texts(log):
    rows = [[u, t, f"town {u}, st {t}, germany"] for u, t, *_ in EVENTS]
    columns = {"user": "1", "title": "2", "territory": "3", "time": None}
    dataset, summary = log(csv_text(rows, None, "\t"), no_header=True, **columns)
    assert (dataset.n_users, dataset.n_titles) == (USERS, TITLES)
    assert "separator tab" in summary.assumptions[0]
    assert max(map(len, summary.notes)) < 700, "long lists are cut short"


@pytest.mark.parametrize("separator", ["::", "||", " | ", "<>"])
def test_a_separator_may_have_several_characters(log, separator):
    text = "\n".join(separator.join(row) for row in [HEADER, *plain()])
    assert_sound(log(text, separator=separator))


@pytest.mark.parametrize("line", ["sep=;\n", "SEP=;\r\n", '"sep=;"\n'])
def test_a_line_that_declares_the_separator_is_followed(log, line):
    assert_sound(log(line + csv_text(plain(), separator=";")))


def test_lines_before_the_header_are_skipped_when_asked(log):
    assert_sound(log("# exported 2024\n# by hand\n" + csv_text(plain()), skip_lines=2))


def test_backslash_escapes_are_read(log):
    rows = [[u, t, c, d.isoformat(), f'a "name", {u}'] for u, t, c, d in EVENTS]
    text = csv_text(rows, [*HEADER, "note"], quoting=csv.QUOTE_ALL, escapechar="\\", doublequote=False)
    assert '\\"' in text
    assert_sound(log(text))


@pytest.mark.parametrize("extra", [",", ",,"])
def test_empty_fields_beyond_the_last_column_do_no_harm(log, extra):
    assert_sound(log("\n".join([",".join(HEADER), *(",".join(row) + extra for row in plain())])))


def test_a_header_in_the_middle_is_left_out_and_counted(log):
    half = csv_text(plain(EVENTS[:300])) + csv_text(plain(EVENTS[300:]))
    for time in ("date", None):
        dataset, summary = log(half, time=time)
        assert (dataset.n_users, dataset.n_titles) == (USERS, TITLES)
        assert "1 row left out: the header again." in summary.notes


def test_a_missing_header_names_the_option(log):
    with pytest.raises(InputError, match="first line looks like data: --no-header"):
        log(csv_text(plain(), None))


# ---------------------------------------------------------------------- times


WRITTEN = {
    "iso": "{:%Y-%m-%d}", "iso with a clock": "{:%Y-%m-%dT%H:%M:%SZ}", "YYYYMMDD": "{:%Y%m%d}",
    "YYYYMMDD as a float": "{:%Y%m%d}.0", "YYYYMMDDHH": "{:%Y%m%d}13", "YYYYMMDDHHMM": "{:%Y%m%d}1359",
    "YYYYMMDDHHMMSS": "{:%Y%m%d}135930", "YYYYMMDDHH as a float": "{:%Y%m%d}13.00",
}  # fmt: skip


@pytest.mark.parametrize("form", [*WRITTEN, "days", "s", "ms", "us", "ns", "seconds as a float"])
@pytest.mark.parametrize("fast", [False, True])
def test_times_are_read_as_they_are_meant(log, monkeypatch, form, fast):
    monkeypatch.setattr("twotower.data.ingest.events.FAST_FROM_BYTES", 0 if fast else 1 << 60)
    units = {"days": 1, "s": 86_400, "ms": 86_400_000, "us": 86_400 * 10**6, "ns": 86_400 * 10**9}

    def text(day: date) -> str:
        if form in WRITTEN:
            return WRITTEN[form].format(day)
        since = day.toordinal() - date(1970, 1, 1).toordinal()
        return f"{since * 86_400}.5" if form == "seconds as a float" else str(since * units[form])

    found = log(csv_text([[u, t, c, text(d)] for u, t, c, d in EVENTS]))
    assert_sound(found)
    dates = found[1].split.dates
    assert dates.tolist() == sorted({d.toordinal() for *_, d in EVENTS})


@pytest.mark.parametrize(
    ("form", "hint"),
    [
        ("%d/%m/%y %H:%M", "'%d/%m/%y %H:%M'"), ("%Y/%m/%d", "'%Y/%m/%d'"), ("%m/%d/%Y", "'%m/%d/%Y'"),
        ("%d.%m.%Y", "'%d.%m.%Y'"), ("%y%m%d", "'%y%m%d'"), ("%d-%b-%Y", "'%d-%b-%Y'"),
    ],
)  # fmt: skip
def test_an_unknown_format_is_refused_with_the_option_that_names_it(log, form, hint):
    text = csv_text([[u, t, c, d.strftime(form)] for u, t, c, d in EVENTS])
    with pytest.raises(InputError, match="is not a time") as caught:
        log(text)
    assert "--time-format names the format" in str(caught.value) and hint in str(caught.value)
    assert "--skip-bad-rows" not in str(caught.value), "that would lose most of the log"
    assert_sound(log(text, time_format=form))


def test_a_few_unreadable_times_are_counted_in_the_hint(log):
    rows = [*plain(), *[["1", "1", "DE", "soon"]] * 3]
    with pytest.raises(InputError, match="--skip-bad-rows leaves out 3 of 603 rows"):
        log(csv_text(rows))


@pytest.mark.parametrize(("stray", "when"), [(date(1970, 1, 1), "before 1990"), (date(2094, 1, 1), "after tomorrow")])
def test_stray_days_are_warned_of_and_can_be_left_out(log, stray, when):
    text = csv_text(plain([*EVENTS, ("1", "1", "DE", stray)]))
    _, summary = log(text)
    assert any(when in warning and stray.isoformat() in warning for warning in summary.warnings)
    with pytest.raises(InputError, match=f"--strict: .*{when}"):
        log(text, strict=True)
    assert_sound(log(text, from_date="2024-01-01", until_date="2024-12-31"))


def test_test_days_with_hardly_an_event_are_warned_of(log):
    strays = [("1", "1", "DE", date(2024, 6, day)) for day in (1, 2, 3)]
    _, summary = log(csv_text(plain([*EVENTS, *strays])))
    assert any("2024-06-01 … 2024-06-03 have 3 events" in warning for warning in summary.warnings)


# ---------------------------------------------------------------------- ids


MARKERS = ["", "None", "NaN", "nan", "null", "NULL", "NA", "N/A", "n/a", "#N/A", "<NA>", r"\N", "(null)", "NaT"]


@pytest.mark.parametrize("marker", MARKERS)
def test_missing_ids_are_no_user(log, marker):
    rows = [[marker, *row[1:]] if i % 5 == 4 and i >= USERS else row for i, row in enumerate(plain())]
    lost = sum(row[0] == marker for row in rows)
    with pytest.raises(InputError, match=rf"is not a user \(--skip-bad-rows leaves out {lost} of 600 rows\)"):
        log(csv_text(rows))
    dataset, summary = log(csv_text(rows), skip_bad_rows=True)
    assert dataset.n_users == USERS and f"{lost} rows left out: not a user." in summary.notes


def test_na_is_namibia_among_territories_and_that_is_said(log):
    _, summary = log(csv_text(plain()))
    assert any("'NA' is read as Namibia" in line for line in summary.assumptions)


@pytest.mark.parametrize("fast", [False, True])
def test_whole_floats_are_the_ids_that_they_were(log, monkeypatch, fast):
    monkeypatch.setattr("twotower.data.ingest.events.FAST_FROM_BYTES", 0 if fast else 1 << 60)
    rows = [[f"{u}.0", f"{t}.0" if i % 2 else t, c, d.isoformat()] for i, (u, t, c, d) in enumerate(EVENTS)]
    assert_sound(log(csv_text(rows)))


@pytest.mark.parametrize("text", ["1.15292150460685E+18", "9007199254740993.0"])
def test_ids_that_lost_digits_are_refused(log, text):
    with pytest.raises(InputError, match="is a rounded number, not an id"):
        log(csv_text([[text, *plain()[0][1:]], *plain()]))


def test_hexadecimal_ids_that_look_like_numbers_stay(log):
    rows = [[f"{int(u):02d}e5", *row[1:]] for (u, *_), row in zip(EVENTS, plain(), strict=True)]
    assert_sound(log(csv_text(rows)))


@pytest.mark.parametrize("fast", [False, True])
def test_unicode_forms_of_one_id_are_one(log, monkeypatch, fast):
    monkeypatch.setattr("twotower.data.ingest.events.FAST_FROM_BYTES", 0 if fast else 1 << 60)
    names = [("Ame\u0301lie {}" if i % 2 else "Am\u00e9lie {}").format(t) for i, (_, t, *_) in enumerate(EVENTS)]
    rows = [[row[0], name, *row[2:]] for row, name in zip(plain(), names, strict=True)]
    assert_sound(log(csv_text(rows)))


def test_a_title_per_user_and_a_user_with_much_of_the_log_are_warned_of(log):
    _, summary = log(csv_text([[u, f"{u}-{i}", c, d.isoformat()] for i, (u, _, c, d) in enumerate(EVENTS)]))
    assert any("600 of 600 titles with a single user" in warning for warning in summary.warnings)
    _, summary = log(
        csv_text([["7" if i % 4 == 0 else u, t, c, d.isoformat()] for i, (u, t, c, d) in enumerate(EVENTS)])
    )
    assert any(warning.startswith("User '7' has 26%") for warning in summary.warnings), summary.warnings


def test_two_spellings_of_a_territory_that_is_no_country_are_warned_of(log):
    rows = [[u, t, "West Region" if int(u) % 2 else "WEST  region", d.isoformat()] for u, t, _, d in EVENTS]
    _, summary = log(csv_text(rows))
    assert any("may be one: " in warning for warning in summary.warnings)


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_files_are_read(log, pack):
    assert_sound(log(pack(csv_text(plain()).encode())))


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (zipped("xl/workbook.xml"), "an Excel workbook; save its sheet as CSV"), (zipped("a.csv"), "a zip archive"),
        (b"ORC\x00", "an ORC file"), (b"ARROW1\0\0", "an Arrow or Feather file"),
        (b"SQLite format 3\x00", "an SQLite database"), (b"\x28\xb5\x2f\xfdxx", "packed with zstd"),
        (b"\x80\x04\x95abc", "a Python pickle"), (b"<!doctype html><html>", "a web page"),
        (b'[{"user": 1}]', "a JSON array"), (b"\x89HDF\r\n", "an HDF5 file"),
    ],
)  # fmt: skip
def test_other_kinds_of_files_are_named_with_what_to_do(log, content, kind):
    with pytest.raises(InputError, match=kind) as caught:
        log(content)
    assert "; " in str(caught.value)


def test_a_pipe_is_refused(log, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe: not a regular file"):
        log(tmp_path / "pipe")


def test_json_lines_are_read_with_nested_keys(log):
    lines = [json.dumps({"user": {"id": int(u)}, "title": t, "geo": {"country": c}, "date": d.isoformat(), "x": None})
             for u, t, c, d in EVENTS]  # fmt: skip
    assert_sound(log("\n".join(lines), "log.jsonl", user="user.id", territory="geo.country"))
    with pytest.raises(InputError, match="line 3: not a JSON object"):
        log("\n".join([*lines[:2], '{"user":', *lines[2:]]), user="user.id", territory="geo.country")


def parquet(path: Path, **columns) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


def test_nested_parquet_columns_are_named_by_their_path(log, tmp_path):
    users, titles, codes, days = map(list, zip(*EVENTS, strict=True))
    geo = [{"country": code, "city": None} for code in codes]
    path = parquet(tmp_path / "log.parquet", user=users, title=titles, geo=geo, date=days)
    assert_sound(log(path, territory="geo.country"))
    with pytest.raises(InputError, match=r"no column 'geo'; it has .*'geo.country', 'geo.city'"):
        log(path, territory="geo")


def test_lists_and_rounded_doubles_are_no_ids(log, tmp_path):
    users, titles, codes, days = map(list, zip(*EVENTS, strict=True))
    lists = parquet(tmp_path / "a.parquet", user=users, title=[[t] for t in titles], territory=codes, date=days)
    with pytest.raises(InputError, match="column 'title': a list per row, expected one id"):
        log(lists)
    doubles = [2.0**60 + int(u) for u in users]
    with pytest.raises(InputError, match=r"column 'user': .* is a rounded number"):
        log(parquet(tmp_path / "b.parquet", user=doubles, title=titles, territory=codes, date=days))


@pytest.mark.parametrize("key", ["territory", "date"])
def test_folders_can_be_a_column(log, tmp_path, key):
    place = HEADER.index(key)
    for i, value in enumerate(sorted({row[place] for row in plain()})):
        part = [row[:place] + row[place + 1 :] for row in plain() if row[place] == value]
        folder = tmp_path / "log" / "year=2024" / f"{key}={value}"
        folder.mkdir(parents=True)
        (folder / f"part-{i}.csv").write_text(csv_text(part, HEADER[:place] + HEADER[place + 1 :]))
        (folder / "_SUCCESS").touch()
        (folder / ".part.csv.crc").write_bytes(b"crc")
    assert_sound(log(tmp_path / "log"))


def test_folders_and_patterns_are_many_files(log, tmp_path):
    (tmp_path / "parts").mkdir()
    for i in range(3):
        (tmp_path / "parts" / f"part{i}.csv").write_text(csv_text(plain(EVENTS[i::3])))
    assert_sound(log(tmp_path / "parts"))
    assert_sound(log(tmp_path / "parts" / "*.csv"))
    with pytest.raises(InputError, match="no file matches this pattern"):
        log(tmp_path / "parts" / "*.tsv")


# ---------------------------------------------------------------------- tables, territories


def test_users_without_a_territory_are_dropped_or_kept_when_asked(log, tmp_path):
    rows = [[str(u), "" if u % 10 == 0 else CODES[u % 5]] for u in range(1, USERS + 1)]
    (tmp_path / "users.csv").write_text(csv_text(rows, ["user", "territory"]))
    text = csv_text([[u, t, d.isoformat()] for u, t, _, d in EVENTS], ["user", "title", "date"])
    with pytest.raises(InputError, match=r"no territory for 6 users .*--missing-territory drop"):
        log(text, users=tmp_path / "users.csv")
    dataset, summary = log(text, users=tmp_path / "users.csv", missing_territory="drop")
    assert dataset.n_users == USERS - 6 and any("6 users left out" in note for note in summary.notes)
    dataset, _ = log(text, users=tmp_path / "users.csv", missing_territory="unknown")
    assert dataset.n_users == USERS and "unknown" in dataset.territories.code


def test_events_without_a_territory_are_dropped_or_kept_when_asked(log):
    rows = [[u, t, "" if u == "3" else c, d.isoformat()] for u, t, c, d in EVENTS]
    with pytest.raises(InputError, match=r"is not a territory .*--missing-territory drop"):
        log(csv_text(rows))
    assert log(csv_text(rows), missing_territory="drop")[0].n_users == USERS - 1
    assert log(csv_text(rows), missing_territory="unknown")[0].n_users == USERS


def test_identical_rows_of_a_table_are_one_and_others_are_refused(log, tmp_path):
    rows = [[str(u), CODES[u % 5]] for u in range(1, USERS + 1)]
    users = tmp_path / "users.csv"
    users.write_text(csv_text([*rows, rows[3]], ["user", "territory"]))
    assert_sound(log(csv_text(plain()), users=users))
    users.write_text(csv_text([*rows, ["4", "US"]], ["user", "territory"]))
    with pytest.raises(InputError, match="'4' occurs a second time, with other values"):
        log(csv_text(plain()), users=users)


def test_users_and_times_of_events_are_no_text_of_titles(log, tmp_path):
    tags = [[u, t, f"tag{int(t) % 3}", "1700000000"] for u, t, *_ in EVENTS]
    (tmp_path / "tags.csv").write_text(csv_text(tags, ["user", "title", "tag", "date"]))
    dataset, summary = log(csv_text(plain()), titles=tmp_path / "tags.csv", join_titles=True)
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


# ---------------------------------------------------------------------- all together


@examples(40)
@given(
    st.sampled_from([",", "\t", ";", "|", "::"]), st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "utf-16"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.sampled_from(list(WRITTEN)),
    st.sampled_from(["\n", "\r\n"]), st.booleans(), st.sampled_from([0, 1 << 60]),
)  # fmt: skip
def test_any_mixture_is_the_same_log(tmp_path_factory, separator, encoding, quoting, form, end, header, fast):
    """Separators × encodings × quotes × times × line ends, by the careful reader and by the fast one."""
    rows = [[u, f"Título {t}", c, WRITTEN[form].format(d)] for u, t, c, d in EVENTS]
    if separator == "::":
        text = "\n".join(separator.join(row) for row in ([HEADER, *rows] if header else rows))
    else:
        text = csv_text(rows, HEADER if header else None, separator, quoting=quoting)
    directory = tmp_path_factory.mktemp("mixture")
    (directory / "log").write_bytes(text.replace("\n", end).encode(encoding))
    names = HEADER if header else ["1", "2", "3", "4"]
    config = ImportConfig(
        events=(directory / "log",), **dict(zip(("user", "title", "territory", "time"), names, strict=True)),
        encoding="utf-8" if encoding == "utf-8-sig" else encoding, no_header=not header,
        separator=separator if separator == "::" else None,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("twotower.data.ingest.events.FAST_FROM_BYTES", fast)
        summary = import_logs(directory / "set", config)
    dataset = Dataset.open(directory / "set")
    assert_sound((dataset, summary))
    assert summary.n_events == len(set(EVENTS)) and len(summary.split.dates) == N_DAYS
    assert all(title.startswith("Título ") for title in dataset.title_ids)


# ---------------------------------------------------------------------- the shared cases


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
    def test_it_comes_out_right(self, log, file, settings, users, titles):
        paths = {name: Path(value) for name, value in settings.items() if name in ("users", "titles")}
        dataset, _ = log(Path(file), **{**settings, **paths})
        assert (dataset.n_users, dataset.n_titles) == (users, titles)

    @pytest.mark.parametrize(("file", "settings", "message"), BAD, ids=[case[0] for case in BAD])
    def test_it_is_refused_with_what_to_do(self, log, file, settings, message):
        with pytest.raises(InputError, match=message):
            log(Path(file), **settings)

    def test_floats_of_one_market_are_ids_of_the_other(self, log):
        markets = (("DE", Path("market_float/de.csv")), ("FR", Path("market_float/fr.csv")))
        dataset, _ = log(None, markets=markets, skip_bad_rows=True)
        assert dataset.n_titles == 40

    def test_three_years_of_hours_are_days(self, log):
        _, summary = log(Path("ga_datehour_3y.csv"), time="time")
        assert len(summary.split.dates) == 983 and "2 repeated events merged" in summary.notes[0]

    def test_stray_days_are_warned_of(self, log):
        _, summary = log(Path("stray_dates.csv"), time="time")
        assert len(summary.warnings) >= 2

"""Logs in the layouts that people have: separators, times and ids, and what must come of each."""

import csv
import gzip
import json
import os
import sys
import threading
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples
from public_layouts import EVENTS, HEADER, N_DAYS, TITLES, USERS, assert_sound, csv_text, plain

from twotower.core.errors import InputError
from twotower.data.dataset import Dataset
from twotower.data.ingest.import_config import ImportConfig
from twotower.data.ingest.import_log import import_logs

# ---------------------------------------------------------------------- separators, quotes, headers


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
@pytest.mark.parametrize("place", ["town {}, st {}, {}", "{};{}, {}", "{} | {} {}"])
def test_the_separator_is_detected_from_many_lines_whatever_texts_hold(imported, separator, place):
    rows = [[u, t, c, d.isoformat(), place.format(u, t, c)] for u, t, c, d in EVENTS]
    text = csv_text(rows, [*HEADER, "place"], separator)
    assert_sound(imported(text))
    columns = {"user": "1", "title": "2", "territory": "3", "time": "4"}
    assert_sound(imported(text.split("\n", 1)[1], no_header=True, **columns))


def test_a_tab_goes_before_commas_in_texts(imported):
    rows = [[u, t, f"town {u}, st {t}, germany"] for u, t, *_ in EVENTS]
    columns = {"user": "1", "title": "2", "territory": "3", "time": None}
    dataset, summary = imported(csv_text(rows, None, "\t"), no_header=True, **columns)
    assert (dataset.n_users, dataset.n_titles) == (USERS, TITLES)
    assert "separator tab" in summary.assumptions[0]
    assert max(map(len, summary.notes)) < 700, "long lists are cut short"


@pytest.mark.parametrize("separator", ["::", "||", " | ", "<>"])
def test_a_separator_may_have_several_characters(imported, separator):
    text = "\n".join(separator.join(row) for row in [HEADER, *plain()])
    assert_sound(imported(text, separator=separator))


@pytest.mark.parametrize("line", ["sep=;\n", "SEP=;\r\n", '"sep=;"\n'])
def test_a_line_that_declares_the_separator_is_followed(imported, line):
    assert_sound(imported(line + csv_text(plain(), separator=";")))


def test_lines_before_the_header_are_skipped_when_asked(imported):
    assert_sound(imported("# exported 2024\n# by hand\n" + csv_text(plain()), skip_lines=2))


def test_backslash_escapes_are_read(imported):
    rows = [[u, t, c, d.isoformat(), f'a "name", {u}'] for u, t, c, d in EVENTS]
    text = csv_text(rows, [*HEADER, "note"], quoting=csv.QUOTE_ALL, escapechar="\\", doublequote=False)
    assert '\\"' in text
    assert_sound(imported(text))


@pytest.mark.parametrize("extra", [",", ",,"])
def test_empty_fields_beyond_the_last_column_do_no_harm(imported, extra):
    assert_sound(imported("\n".join([",".join(HEADER), *(",".join(row) + extra for row in plain())])))


def test_a_header_in_the_middle_is_left_out_and_counted(imported):
    half = csv_text(plain(EVENTS[:300])) + csv_text(plain(EVENTS[300:]))
    for time in ("date", None):
        dataset, summary = imported(half, time=time)
        assert (dataset.n_users, dataset.n_titles) == (USERS, TITLES)
        assert "1 row left out: the header again." in summary.notes


def test_a_missing_header_names_the_option(imported):
    with pytest.raises(InputError, match="first line looks like data: --no-header"):
        imported(csv_text(plain(), None))


# ---------------------------------------------------------------------- times


WRITTEN = {
    "iso": "{:%Y-%m-%d}", "iso with a clock": "{:%Y-%m-%dT%H:%M:%SZ}", "YYYYMMDD": "{:%Y%m%d}",
    "YYYYMMDD as a float": "{:%Y%m%d}.0", "YYYYMMDDHH": "{:%Y%m%d}13", "YYYYMMDDHHMM": "{:%Y%m%d}1359",
    "YYYYMMDDHHMMSS": "{:%Y%m%d}135930", "YYYYMMDDHH as a float": "{:%Y%m%d}13.00",
}  # fmt: skip


@pytest.mark.parametrize("form", [*WRITTEN, "days", "s", "ms", "us", "ns", "seconds as a float"])
@pytest.mark.parametrize("fast", [False, True])
def test_times_are_read_as_they_are_meant(imported, monkeypatch, form, fast):
    monkeypatch.setattr("twotower.data.ingest.events.FAST_FROM_BYTES", 0 if fast else 1 << 60)
    units = {"days": 1, "s": 86_400, "ms": 86_400_000, "us": 86_400 * 10**6, "ns": 86_400 * 10**9}

    def text(day: date) -> str:
        if form in WRITTEN:
            return WRITTEN[form].format(day)
        since = day.toordinal() - date(1970, 1, 1).toordinal()
        return f"{since * 86_400}.5" if form == "seconds as a float" else str(since * units[form])

    found = imported(csv_text([[u, t, c, text(d)] for u, t, c, d in EVENTS]))
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
def test_an_unknown_format_is_refused_with_the_option_that_names_it(imported, form, hint):
    text = csv_text([[u, t, c, d.strftime(form)] for u, t, c, d in EVENTS])
    with pytest.raises(InputError, match="is not a time") as caught:
        imported(text)
    assert "--time-format names the format" in str(caught.value) and hint in str(caught.value)
    assert "--skip-bad-rows" not in str(caught.value), "that would lose most of the log"
    assert_sound(imported(text, time_format=form))


def test_a_few_unreadable_times_are_counted_in_the_hint(imported):
    rows = [*plain(), *[["1", "1", "DE", "soon"]] * 3]
    with pytest.raises(InputError, match="--skip-bad-rows leaves out 3 of 603 rows"):
        imported(csv_text(rows))


@pytest.mark.parametrize(("stray", "when"), [(date(1970, 1, 1), "before 1990"), (date(2094, 1, 1), "after tomorrow")])
def test_stray_days_are_warned_of_and_can_be_left_out(imported, stray, when):
    text = csv_text(plain([*EVENTS, ("1", "1", "DE", stray)]))
    _, summary = imported(text)
    assert any(when in warning and stray.isoformat() in warning for warning in summary.warnings)
    with pytest.raises(InputError, match=f"--strict: .*{when}"):
        imported(text, strict=True)
    assert_sound(imported(text, from_date="2024-01-01", until_date="2024-12-31"))


def test_test_days_with_hardly_an_event_are_warned_of(imported):
    strays = [("1", "1", "DE", date(2024, 6, day)) for day in (1, 2, 3)]
    _, summary = imported(csv_text(plain([*EVENTS, *strays])))
    assert any("2024-06-01 … 2024-06-03 have 3 events" in warning for warning in summary.warnings)


# ---------------------------------------------------------------------- ids


MARKERS = ["", "None", "NaN", "nan", "null", "NULL", "NA", "N/A", "n/a", "#N/A", "<NA>", r"\N", "(null)", "NaT"]


@pytest.mark.parametrize("marker", MARKERS)
def test_missing_ids_are_no_user(imported, marker):
    rows = [[marker, *row[1:]] if i % 5 == 4 and i >= USERS else row for i, row in enumerate(plain())]
    lost = sum(row[0] == marker for row in rows)
    with pytest.raises(InputError, match=rf"is not a user \(--skip-bad-rows leaves out {lost} of 600 rows\)"):
        imported(csv_text(rows))
    dataset, summary = imported(csv_text(rows), skip_bad_rows=True)
    assert dataset.n_users == USERS and f"{lost} rows left out: not a user." in summary.notes


def test_na_is_namibia_among_territories_and_that_is_said(imported):
    _, summary = imported(csv_text(plain()))
    assert any("'NA' is read as Namibia" in line for line in summary.assumptions)


@pytest.mark.parametrize("fast", [False, True])
def test_whole_floats_are_the_ids_that_they_were(imported, monkeypatch, fast):
    monkeypatch.setattr("twotower.data.ingest.events.FAST_FROM_BYTES", 0 if fast else 1 << 60)
    rows = [[f"{u}.0", f"{t}.0" if i % 2 else t, c, d.isoformat()] for i, (u, t, c, d) in enumerate(EVENTS)]
    assert_sound(imported(csv_text(rows)))


@pytest.mark.parametrize("text", ["1.15292150460685E+18", "9007199254740993.0"])
def test_ids_that_lost_digits_are_refused(imported, text):
    with pytest.raises(InputError, match="is a rounded number, not an id"):
        imported(csv_text([[text, *plain()[0][1:]], *plain()]))


def test_hexadecimal_ids_that_look_like_numbers_stay(imported):
    rows = [[f"{int(u):02d}e5", *row[1:]] for (u, *_), row in zip(EVENTS, plain(), strict=True)]
    assert_sound(imported(csv_text(rows)))


@pytest.mark.parametrize("fast", [False, True])
def test_unicode_forms_of_one_id_are_one(imported, monkeypatch, fast):
    monkeypatch.setattr("twotower.data.ingest.events.FAST_FROM_BYTES", 0 if fast else 1 << 60)
    names = [("Ame\u0301lie {}" if i % 2 else "Am\u00e9lie {}").format(t) for i, (_, t, *_) in enumerate(EVENTS)]
    rows = [[row[0], name, *row[2:]] for row, name in zip(plain(), names, strict=True)]
    assert_sound(imported(csv_text(rows)))


def test_a_title_per_user_and_a_user_with_much_of_the_log_are_warned_of(imported):
    _, summary = imported(csv_text([[u, f"{u}-{i}", c, d.isoformat()] for i, (u, _, c, d) in enumerate(EVENTS)]))
    assert any("600 of 600 titles with a single user" in warning for warning in summary.warnings)
    _, summary = imported(
        csv_text([["7" if i % 4 == 0 else u, t, c, d.isoformat()] for i, (u, t, c, d) in enumerate(EVENTS)])
    )
    assert any(warning.startswith("User '7' has 26%") for warning in summary.warnings), summary.warnings


def test_two_spellings_of_a_territory_that_is_no_country_are_warned_of(imported):
    rows = [[u, t, "West Region" if int(u) % 2 else "WEST  region", d.isoformat()] for u, t, _, d in EVENTS]
    _, summary = imported(csv_text(rows))
    assert any("may be one: " in warning for warning in summary.warnings)


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


# ---------------------------------------------------------------------- conditions, pipes, formats of side tables


def with_others(write_row) -> str:
    """The log, and as many rows more that are no views or are short ones."""
    rows = [[*row, "view", str(61 + i % 9)] for i, row in enumerate(plain())]
    others = [["9999", f"x{i}", "DE", "2031-01-01", ["click", "view"][i % 2], ["", "7"][i % 2]] for i in range(50)]
    return "".join(map(write_row, [[*HEADER, "event", "duration"], *rows[:300], *others, *rows[300:]]))


CONDITION = "event = 'view' AND duration > 60"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252", "utf-16"])
@pytest.mark.parametrize("separator", [",", "\t", "::"])
def test_a_condition_selects_rows_of_text_files(imported, encoding, separator):
    pytest.importorskip("duckdb")
    text = with_others(lambda row: separator.join(row) + "\n").replace("t1,", "é1,")
    found = imported(text.encode(encoding), encoding=encoding, where=CONDITION, separator=separator)
    assert_sound(found)


def test_a_condition_selects_rows_of_json_lines_and_typed_files(imported, tmp_path):
    pytest.importorskip("duckdb")
    from pyarrow import csv as arrow_csv
    from pyarrow import feather, orc, parquet

    names = [*HEADER, "event", "duration"]

    def line(row):
        value = dict(zip(names, row, strict=True))
        value["duration"] = None if row[5] == "" else int(row[5]) if row[5].isdigit() else row[5]
        return "" if row[0] == "user" else json.dumps(value | {"geo": {"country": row[2]}}) + "\n"

    assert_sound(imported(with_others(line), where=CONDITION, territory="geo.country"))
    (tmp_path / "log.csv").write_text(with_others(lambda row: ",".join(row) + "\n"))
    table = arrow_csv.read_csv(tmp_path / "log.csv")
    for write in (parquet.write_table, feather.write_feather, orc.write_table):
        write(table, str(tmp_path / "log.any"))
        assert_sound(imported(tmp_path / "log.any", where=CONDITION))


@pytest.mark.parametrize(
    ("condition", "fault"),
    [("events = 'view'", '"events" not found'), ("event =", "syntax error"), ("event > 7", "Cannot compare values")],
)
def test_a_condition_that_is_none_is_one_line(imported, condition, fault):
    pytest.importorskip("duckdb")
    with pytest.raises(InputError, match=f"log.csv: --where .{condition}.: .*{fault}") as caught:
        imported(with_others(lambda row: ",".join(row) + "\n"), where=condition)
    assert "\n" not in str(caught.value)


def test_a_condition_may_name_folders_and_its_bad_rows_are_counted(imported, tmp_path):
    pytest.importorskip("duckdb")
    for kind, rows in (("view", plain()), ("click", plain([("1", "zzz", "DE", date(2031, 1, 1))]))):
        (tmp_path / "log" / f"kind={kind}").mkdir(parents=True)
        (tmp_path / "log" / f"kind={kind}" / "part.csv").write_text(csv_text([*rows, ["ragged"]]))
    with pytest.raises(InputError, match="1 fields, the first line has 4"):
        imported(tmp_path / "log", where="kind = 'view'")
    dataset, summary = imported(tmp_path / "log", where="kind = 'view'", skip_bad_rows=True)
    assert_sound((dataset, summary))
    assert "2 rows left out: wrong number of fields." in summary.notes


def test_a_condition_without_duckdb_says_what_to_install(imported, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(InputError, match=r"--where needs DuckDB: pip install 'twotower\[sql\]'"):
        imported(csv_text(plain()), where=CONDITION)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_log_may_come_through_a_pipe(imported, tmp_path, compress):
    os.mkfifo(tmp_path / "pipe")
    text = csv_text(plain())
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(compress(text.encode())), daemon=True)
    writer.start()
    found = imported(tmp_path / "pipe")
    writer.join()
    assert_sound(found)
    assert str(tmp_path / "pipe") in (tmp_path / "set" / "manifest.json").read_text(), "not the copy"
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=[text + "1,,DE,2024-03-01\n"], daemon=True)
    writer.start()
    with pytest.raises(InputError, match=f"^{tmp_path / 'pipe'}, line 602, column 'title': '' is not a title"):
        imported(tmp_path / "pipe")
    writer.join()


def test_tables_of_users_and_titles_have_formats_of_their_own(imported, tmp_path):
    users, titles = tmp_path / "users.dat", tmp_path / "titles.txt"
    users.write_text("".join(f"{u}::{c}::x\n" for u, c in {u: c for u, _, c, _ in EVENTS}.items()), "utf-16")
    rows = "".join(f"{t}|Título {t}, uno\n" for t in dict.fromkeys(t for _, t, *_ in EVENTS))
    titles.write_text("title|name\n" + rows, "latin-1")
    log = csv_text([[u, t, d.isoformat()] for u, t, _, d in EVENTS], ["user", "title", "date"])
    found = imported(
        log, users=users, users_id="1", territory="2", users_separator="::", users_encoding="utf-16",
        users_no_header=True, titles=titles, titles_encoding="latin-1", titles_separator="|",
    )  # fmt: skip
    assert_sound(found)
    assert found[0].titles["name"][0].startswith("Título ") and found[0].user_columns["3"][0] == "x"
    (tmp_path / "headless.csv").write_text(log.partition("\n")[2])
    titles.write_text(titles.read_text("latin-1") + "ragged\n|nameless\n", "latin-1")
    by_number = {"user": "1", "title": "2", "time": "3", "no_header": True, "users_id": "1", "titles_id": "title"}
    tables = {"users": users, "users_separator": "::", "users_encoding": "utf-16", "territory": "2", "titles": titles}
    options = {**by_number, **tables, "titles_encoding": "latin-1", "titles_no_header": False}
    with pytest.raises(InputError, match=r"titles\.txt, line 26: 1 fields"):
        imported(tmp_path / "headless.csv", **options)
    assert_sound(imported(tmp_path / "headless.csv", skip_bad_rows=True, **options))

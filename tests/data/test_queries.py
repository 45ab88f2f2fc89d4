"""Logs in databases: queries of DuckDB, SQLite and a PostgreSQL server that the test starts."""

import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from public_layouts import EVENTS, USERS, assert_sound

from twotower.core.errors import InputError
from twotower.data.dataset import Dataset
from twotower.data.ingest.import_config import ImportConfig
from twotower.data.ingest.import_log import import_logs
from twotower.data.ingest.queries import without_password

duckdb = pytest.importorskip("duckdb", reason="pip install -e '.[sql]'")
QUERY = "SELECT user_id AS user, title, country AS territory, watched FROM events WHERE kind = 'view';"
PASSWORD = "p4ss:w/ord"
SCHEMA = """
    CREATE TYPE kind AS ENUM ('view', 'click');
    CREATE TABLE events (
        user_id numeric, title uuid, country char(2), watched timestamptz, kind kind, tags jsonb, day date
    );
"""


def imported(tmp_path: Path, sql: str = QUERY, database: str | None = None, **settings):
    directory = tmp_path / "set"
    summary = import_logs(directory, ImportConfig(sql=sql, database=database, **{"time": "watched", **settings}))
    return Dataset.open(directory), summary


def fault_of(tmp_path: Path, sql: str = QUERY, database: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        imported(tmp_path, sql, database)
    assert not (tmp_path / "set").exists()
    return str(caught.value)


ROWS = [(int(u), f"t{t}", c, f"{d} 12:00:00", "view") for u, t, c, d in EVENTS] + [(9999, "none", "DE", None, "click")]


def test_duckdb_itself_reads_files(tmp_path):
    log = tmp_path / "it's.csv"
    rows = [",".join(str(x or "") for x in row) + "\n" for row in ROWS]
    log.write_text("user_id,title,country,watched,kind\n" + "".join(rows))
    found = imported(tmp_path, QUERY.replace("events", f"'{str(log).replace(chr(39), chr(39) * 2)}'"))
    assert_sound(found)
    assert "Read as a query of DuckDB." in found[1].assumptions


def test_a_file_of_duckdb_is_read_and_never_written(tmp_path):
    path = tmp_path / "events.any"
    with duckdb.connect(str(path)) as connection:
        columns = "user_id BIGINT, title VARCHAR, country VARCHAR, watched TIMESTAMP, kind VARCHAR"
        connection.sql(f"CREATE TABLE events ({columns})")
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", ROWS)
    assert_sound(imported(tmp_path, database=str(path)))
    shutil.rmtree(tmp_path / "set")
    assert "read-only" in fault_of(tmp_path, "DELETE FROM events", str(path))


def test_a_file_of_sqlite_is_read(tmp_path):
    pytest.importorskip("adbc_driver_sqlite", reason="pip install -e '.[sql]'")
    path = tmp_path / "events?.any"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE events (user_id INTEGER, title TEXT, country TEXT, watched TEXT, kind TEXT)")
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", ROWS)
    assert_sound(imported(tmp_path, database=str(path)))
    shutil.rmtree(tmp_path / "set")
    assert "no such column: who" in fault_of(tmp_path, "SELECT who FROM events", str(path))


@pytest.mark.parametrize(
    ("sql", "database", "fault"),
    [
        ("SELECT 1 AS user", None, "--sql: no column 'title' (--title); it has 'user'"),
        ("SELECT 1 AS user, 2 AS user", None, "two columns are called 'user'"),
        ("SELEC 1", None, "syntax error"),
        ("SELECT 1", "nowhere.db", "--database nowhere.db: No such file"),
        ("SELECT 1", __file__, "neither DuckDB nor SQLite"),
        ("SELECT 1", f"mysql://me:{PASSWORD}@host/db", "--database mysql://me:***@host/db: not a kind of"),
    ],
)
def test_what_cannot_be_asked_is_one_line(tmp_path, sql, database, fault):
    message = fault_of(tmp_path, sql, database)
    assert fault in message and "\n" not in message and PASSWORD not in message


def test_a_bad_row_of_a_query_has_its_number(tmp_path):
    title = "CASE range WHEN 700 THEN NULL ELSE 't' END AS title"
    message = fault_of(tmp_path, f"SELECT range AS user, {title}, 'DE' AS territory, 19000 AS watched FROM range(999)")
    assert "--sql, row 701, column 'title': '' is not a title (--skip-bad-rows leaves out 1 of 999 rows)" in message


def test_passwords_are_not_in_the_dataset():
    plain = ImportConfig(sql="ATTACH 'host=x password=hush'", database=f"postgresql://me:{PASSWORD}@host/db").plain()
    assert plain["database"] == "postgresql://me:***@host/db" and "hush" not in json.dumps(plain)
    message = without_password('invalid port number: "ord"', f"postgresql://me:{PASSWORD}@host")
    assert message == 'invalid port number: "***"'


# ---------------------------------------------------------------------- PostgreSQL


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a server, with its log of events."""
    programs = [Path(shutil.which("pg_ctl") or "/nowhere/x").parent, *sorted(Path("/usr/lib/postgresql").glob("*/bin"))]
    if not (programs[-1] / "pg_ctl").exists():
        pytest.skip("no PostgreSQL server here (apt-get install postgresql)")
    pytest.importorskip("adbc_driver_postgresql", reason="pip install -e '.[sql]'")
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    who: dict = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "postgres")
        who = {"user": "postgres", "cwd": folder}

    def run(program: str, *arguments: str) -> None:
        command = [str(programs[-1] / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=400, **who)

    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o644)
    data = str(folder / "data")
    run("initdb", "-D", data, "-U", "me", "-A", "scram-sha-256", "--pwfile", str(folder / "password"), "-N")
    options = f"-k {folder} -c listen_addresses="
    run("pg_ctl", "-D", data, "-w", "-t", "300", "-l", str(folder / "log"), "-o", options, "start")
    address = f"postgresql://me:p4ss%3Aw%2Ford@/postgres?host={folder}"
    try:
        from adbc_driver_postgresql import dbapi

        with dbapi.connect(address, autocommit=True) as connection, connection.cursor() as cursor:
            for statement in SCHEMA.split(";")[:-1]:
                cursor.execute(statement)
            rows = ", ".join(
                f"({u}, '00000000-0000-4000-8000-{int(t):012}', '{c}', '{d} 00:30:00+00', 'view', '[1]', '{d}')"
                for u, t, c, d in EVENTS
            )
            cursor.execute(f"INSERT INTO events VALUES {rows}, (1, NULL, 'DE', NULL, 'click', NULL, NULL)")
        yield address
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.mark.parametrize("time", ["watched", "day"])
def test_a_postgresql_server_is_asked(tmp_path, postgres, time):
    """NUMERIC, UUID, CHAR, ENUM and TIMESTAMPTZ come out as what they are."""
    query = QUERY.replace("watched FROM", f"{time} AS watched, tags, kind FROM")
    found = imported(tmp_path, query, postgres, title_info=("kind",))
    assert_sound(found)
    dataset = found[0]
    assert dataset.user_ids == [str(u) for u in dict.fromkeys(int(u) for u, *_ in EVENTS)] and dataset.n_users == USERS
    assert min(dataset.title_ids) == "00000000-0000-4000-8000-000000000001"
    assert dataset.titles["kind"][0] == "view"
    assert found[1].split.dates.tolist() == sorted({day.toordinal() for *_, day in EVENTS})
    assert PASSWORD not in (tmp_path / "set" / "manifest.json").read_text()
    assert "p4ss" not in (tmp_path / "set" / "manifest.json").read_text()


def test_a_postgresql_server_is_never_written_to_and_says_no_password(tmp_path, postgres):
    assert "read-only transaction" in fault_of(tmp_path, "DELETE FROM events RETURNING *", postgres)
    wrong = postgres.replace("p4ss", "wr0ng")
    message = fault_of(tmp_path, QUERY, wrong)
    assert "password authentication failed" in message and "wr0ng" not in message and "ord@" not in message
    assert "\n" not in message

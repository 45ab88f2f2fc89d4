"""Logs in databases: an SQL query, streamed as Arrow batches."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twotower.core.errors import InputError
from twotower.data.ingest import blocks
from twotower.data.ingest.arrow_table import ArrowTable
from twotower.data.ingest.blocks import repeated
from twotower.data.ingest.duck import REMEDY, connection, one_line

POSTGRES = re.compile(r"postgres(ql)?://")
EXPECTED = "expected postgresql://USER@HOST/NAME, or a file of DuckDB or SQLite"
CONNECT_SECONDS = 15  # to wait for a server
SQLITE_ROWS = 1 << 16  # from which its driver infers the types of columns


@dataclass(frozen=True)
class Query:
    """SQL, and where it is asked: a URL, a file, or (None) DuckDB itself, which reads files and object stores."""

    sql: str
    database: str | None = None


class QueryTable(ArrowTable):
    """The rows of a query, read as they come; databases are opened for reading only.

    Errors: InputError with what the database says, without passwords.
    """

    path = Path("--sql")

    def __init__(self, query: Query):
        self.query = query
        self._cursor: Any = None
        self._connection: Any = None
        with self._errors():
            self._reader = self._ask()
            self.schema = self._reader.schema
        self.columns = list(self.schema.names)
        if twice := repeated(self.columns):
            raise InputError(f"--sql: two columns are called {twice!r}; name them with AS")

    def batches(self, names: Sequence[str], rows: int | None = None) -> Iterator[Any]:
        with self._errors():
            reader, self._reader = self._reader or self._ask(), None  # a second reading asks once more
            for batch in reader:
                yield batch.select(list(names))
            self.close()

    def kind(self, name: str) -> Any:
        return self.schema.field(name).type

    def _ask(self) -> Any:
        """A reader of the answer's batches."""
        database, sql = self.query.database, self.query.sql.strip().rstrip(";")
        if database and POSTGRES.match(database):
            return self._by_driver("postgresql", with_timeout(database), sql)
        magic = first_bytes(database) if database else b""
        if magic.startswith(b"SQLite format 3"):
            return self._by_driver("sqlite", f"file:{quote(str(database))}?mode=ro", sql)
        if database and magic[8:12] != b"DUCK":
            raise InputError(f"--database {without_password(database)}: neither DuckDB nor SQLite; {EXPECTED}")
        self.description = "a query of DuckDB"
        self._connection = connection("--sql", database)
        rows = self._connection.sql(sql)
        if rows is None:
            raise InputError(f"--sql {sql!r}: no rows; expected a query, such as SELECT user, title FROM events")
        for name, kind in zip(rows.columns, map(str, rows.types), strict=True):
            if kind == "BIT":  # Arrow has no such type
                raise InputError(f"--sql, column {name!r}: BIT; write it as text, CAST({name} AS VARCHAR)")
        return rows.arrow(blocks.BATCH_ROWS)

    def _by_driver(self, kind: str, address: str, sql: str) -> Any:
        """The same by an ADBC driver. Errors: InputError with the remedy where it is not installed."""
        self.description = f"a query of {dict(postgresql='PostgreSQL', sqlite='SQLite')[kind]}"
        try:
            driver = import_module(f"adbc_driver_{kind}.dbapi")
        except ImportError:
            raise InputError(f"--database: {kind} needs its driver: {REMEDY}") from None
        self._connection = driver.connect(address)
        self._cursor = self._connection.cursor()
        if kind == "sqlite":
            self._cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(SQLITE_ROWS)})
        else:
            self._cursor.execute("SET TRANSACTION READ ONLY")
        self._cursor.execute(sql)
        return self._cursor.fetch_record_batch()

    def close(self) -> None:
        for thing in (self._cursor, self._connection):
            if thing is not None:
                thing.close()
        self._cursor = self._connection = None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except InputError:
            self.close()
            raise
        except Exception as error:  # each driver has classes of its own
            self.close()
            raise InputError(f"--sql: {without_password(one_line(error), self.query.database)}") from None


def first_bytes(database: str) -> bytes:
    """The first bytes of a database in a file. Errors: InputError where there is none."""
    if "://" in database:
        what = "not a kind of database that is read; query it through DuckDB, or export the rows"
        raise InputError(f"--database {without_password(database)}: {what}; {EXPECTED}")
    try:
        with open(database, "rb") as file:
            return file.read(16)
    except OSError as error:
        raise InputError(f"--database {without_password(database)}: {error.strerror}; {EXPECTED}") from None


def with_timeout(url: str) -> str:
    """A PostgreSQL URL by which nobody waits for ever."""
    return url if "connect_timeout" in url else f"{url}{'&' if '?' in url else '?'}connect_timeout={CONNECT_SECONDS}"


def without_password(text: str, url: str | None = None) -> str:
    """Text without the passwords of URLs in it, and without that of ``url``, or a part of it that a driver quotes."""
    for secret in re.findall(r"://[^:/@\s]*:(\S*)@", url or ""):
        for part in sorted({secret, *re.split(r"\W", secret)} - {""}, key=len, reverse=True):
            text = text.replace(part, "***")
    text = re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", text)
    return re.sub(r"(?i)\b(password|pwd|secret|token)(\s*=\s*'?|\s+')[^&\s';,)]+", r"\1\2***", text)

"""Who takes part in benchmarks/import_log.py: each makes first-time pairs of a log, as its expert would.

The task: the distinct pairs of user and title, each with its first day, all pairs of a user together. A contender
reads the three columns that this needs, on ``THREADS`` threads, and what it makes stays in its own format: arrays, a
frame, a table. Only twotower numbers users and titles, which training needs; the others leave ids as they are.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.made_log import DAYS, FIRST_SECOND

THREADS = 2
EPOCH = 719_163  # the ordinal of 1970-01-01
COLUMNS = ["user", "title", "time"]


class Pairs(NamedTuple):
    """First-time pairs, with ids as they stand in the log."""

    user: Any  # (n,) Arrow
    title: Any  # (n,) Arrow
    day: np.ndarray  # (n,) days since 1970


class Twotower:
    """What ``twotower import`` calls to read a log and to find the first streams in it."""

    def prepare(self) -> None:
        import pyarrow.parquet  # noqa: F401

        import twotower.data.ingest.import_log  # noqa: F401

    def make(self, path: Path, ids: str) -> Any:
        from twotower.data.first_streams import FirstStreams
        from twotower.data.ingest.distinct import order_of_days
        from twotower.data.ingest.events import LogColumns, LogFile, read_log

        log = read_log([LogFile(path)], LogColumns("user", "title", None, "time"))
        assert log.day is not None
        if (order := order_of_days(log.day)) is not None:
            log = log.take(order)
        day = np.subtract(log.day, log.day[0], dtype=np.int16, casting="unsafe")
        users, titles = log.user.names, log.title.names
        streams = FirstStreams.of(log.user.codes, log.title.codes, day, len(users), len(titles))
        return streams, users, titles, int(log.day[0])

    def pairs(self, made: Any) -> Pairs:
        import pyarrow as pa

        streams, users, titles, first = made
        user = np.repeat(np.arange(len(users)), np.diff(streams.start))
        names = pa.array(users).take(pa.array(user)), pa.array(titles).take(pa.array(streams.title))
        return Pairs(*names, streams.day.astype(np.int64) + (first - EPOCH))


class WholeImport(Twotower):
    """All of ``twotower import``: territories by majority, too, and a dataset on disk with its checksums."""

    def make(self, path: Path, ids: str) -> Any:
        from twotower.data.dataset import Dataset
        from twotower.data.ingest.import_config import ImportConfig
        from twotower.data.ingest.import_log import import_logs

        directory = Path(tempfile.mkdtemp(dir=path.parent)) / "dataset"
        import_logs(directory, ImportConfig(events=(path,), time="time", train_days=DAYS - 1, test_days=1))
        return Dataset.open(directory)

    def pairs(self, made: Any) -> Pairs:
        from twotower.data.first_streams import FirstStreams

        first = FIRST_SECOND // 86_400 + EPOCH
        pairs = super().pairs((FirstStreams.read(made), made.user_ids, made.title_ids, first))
        shutil.rmtree(made.path.parent)
        return pairs


class Polars:
    """A lazy scan, a group-by and a sort by the streaming engine."""

    def prepare(self) -> None:
        import polars  # noqa: F401

    def make(self, path: Path, ids: str) -> Any:
        import polars as pl

        day = pl.col("time").dt.date()
        if path.suffix == ".parquet":
            log = pl.scan_parquet(path)
        else:
            id_type = pl.Int64 if ids == "integer" else pl.String
            log = pl.scan_csv(path, schema_overrides={"user": id_type, "title": id_type, "time": pl.String})
            day = pl.col("time").str.slice(0, 10).str.to_date("%Y-%m-%d")
        pairs = log.select("user", "title", day.alias("day")).group_by("user", "title").agg(pl.col("day").min())
        return pairs.sort("user").collect(engine="streaming")

    def pairs(self, made: Any) -> Pairs:
        return Pairs(made["user"].to_arrow(), made["title"].to_arrow(), made["day"].to_physical().to_numpy())


class DuckDB:
    """One SQL query, fetched as an Arrow table."""

    def prepare(self) -> None:
        import duckdb

        self.connection = duckdb.connect(config={"threads": THREADS, "preserve_insertion_order": False})

    def make(self, path: Path, ids: str) -> Any:
        id_type = "BIGINT" if ids == "integer" else "VARCHAR"
        types = {"user": id_type, "title": id_type, "territory": "VARCHAR", "time": "TIMESTAMP"}
        log = f"'{path}'" if path.suffix == ".parquet" else f"read_csv('{path}', columns = {types})"
        query = f"SELECT user, title, min(time::DATE) AS day FROM {log} GROUP BY ALL ORDER BY user"
        return self.connection.sql(query).to_arrow_table()

    def pairs(self, made: Any) -> Pairs:
        return Pairs(made["user"], made["title"], made["day"].cast("int32").to_numpy())


class PyArrow:
    """Read a table, group it and sort it, all with pyarrow's own kernels."""

    def prepare(self) -> None:
        import pyarrow
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.parquet

        pyarrow.set_cpu_count(THREADS)

    def make(self, path: Path, ids: str) -> Any:
        import pyarrow as pa
        from pyarrow import csv, parquet

        if path.suffix == ".parquet":
            log = parquet.read_table(path, columns=COLUMNS)
        else:
            id_type = pa.int64() if ids == "integer" else pa.string()
            types = {"user": id_type, "title": id_type, "time": pa.timestamp("s")}
            log = csv.read_csv(path, convert_options=csv.ConvertOptions(column_types=types, include_columns=COLUMNS))
        log = log.set_column(2, "day", log["time"].cast(pa.date32()))
        return log.group_by(["user", "title"]).aggregate([("day", "min")]).sort_by("user")

    def pairs(self, made: Any) -> Pairs:
        return Pairs(made["user"], made["title"], made["day_min"].cast("int32").to_numpy())


#: Name → who, and the module that it needs; the first is the one that the others are compared with.
PAIR_MAKERS: dict[str, tuple[Callable[[], Any], str]] = {
    "twotower": (Twotower, "pyarrow"),
    "polars": (Polars, "polars"),
    "duckdb": (DuckDB, "duckdb"),
    "pyarrow": (PyArrow, "pyarrow"),
    "whole import": (WholeImport, "pyarrow"),
}

"""Tables that a program has, imported as a dataset."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.data.frames import IdColumn, Kind, kind_of, to_arrow, write_parquet
from twotower.data.ingest.import_config import ImportConfig
from twotower.data.ingest.import_log import import_logs

if TYPE_CHECKING:
    import pyarrow as pa


class Frames(NamedTuple):
    """Watch events, and tables that describe users and titles; each in memory or a path."""

    events: Any
    users: Any = None
    titles: Any = None


class Imported(NamedTuple):
    """What a dataset does not say of the tables that it was made from."""

    kind: Kind  # of the events
    types: dict[str, str]  # Arrow's, of the ids of users and titles


@contextmanager
def as_files(frames: Frames) -> Iterator[tuple[dict[str, Path], dict[str, "pa.Table"]]]:
    """The path of each table by its name, and those that were in memory: as Parquet files until the body ends.

    Errors: InputError as for ``to_arrow``; those that the body raises name tables, not files.
    """
    with TemporaryDirectory(prefix="twotower-") as folder:
        given = {name: frame for name, frame in frames._asdict().items() if frame is not None}
        tables = {name: to_arrow(frame, name) for name, frame in given.items() if not isinstance(frame, str | Path)}
        written = {name: write_parquet(table, Path(folder) / f"{name}.parquet") for name, table in tables.items()}
        try:
            yield {name: written.get(name) or Path(frame) for name, frame in given.items()}, tables
        except InputError as error:
            raise InputError(str(error).replace(f"{folder}/", "").replace(".parquet", "")) from None


def import_frames(
    path: Path, frames: Frames, columns: Mapping[str, str | None], options: Mapping[str, Any],
    progress: Progress = silent,
) -> Imported:  # fmt: skip
    """Make a dataset at ``path`` as ``twotower import`` does, whose ``options`` are taken.

    ``columns`` are the names of those of user, title, territory and time. Where the last is None, a column ``time`` is
    taken if there is one.

    Errors: InputError as for ``to_arrow`` and ``import_logs``.
    """
    names: dict[str, Any] = dict(columns)
    types = {"user": "string", "title": "string"}
    with as_files(frames) as (paths, tables):
        if (table := tables.get("events")) is not None:
            types = {what: IdColumn.of(what, names[what], table).type for what in types}
            names["time"] = names["time"] or ("time" if "time" in table.column_names else None)
        names |= paths
        log = names.pop("events")
        import_logs(path, ImportConfig(events=(log,), **{**names, **options}), progress)
    return Imported(kind_of(frames.events), types)

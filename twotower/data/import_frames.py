"""Tables that a program has, imported as a dataset."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.data.frames import IdColumn, Kind, kind_of, to_arrow, write_parquet
from twotower.data.ingest.import_config import ImportConfig
from twotower.data.ingest.import_log import import_logs


class Frames(NamedTuple):
    """Watch events, and tables that describe users and titles; each in memory or a path."""

    events: Any
    users: Any = None
    titles: Any = None


class Imported(NamedTuple):
    """What a dataset does not say of the tables that it was made from."""

    kind: Kind  # of the events
    types: dict[str, str]  # Arrow's, of the ids of users and titles


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
    with TemporaryDirectory(prefix="twotower-") as folder:
        for name, frame in frames._asdict().items():
            if isinstance(frame, str | Path):
                names[name] = Path(frame)
            elif frame is not None:
                table = to_arrow(frame, name)
                names[name] = write_parquet(table, Path(folder) / f"{name}.parquet")
                if name == "events":
                    types = {what: IdColumn.of(what, names[what], table).type for what in types}
                    names["time"] = names["time"] or ("time" if "time" in table.column_names else None)
        log = names.pop("events")
        try:
            import_logs(path, ImportConfig(events=(log,), **{**names, **options}), progress)
        except InputError as error:  # a table has no path
            raise InputError(str(error).replace(f"{folder}/", "").replace(".parquet", "")) from None
    return Imported(kind_of(frames.events), types)

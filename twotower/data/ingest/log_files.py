"""The files of a log: single files, folders, glob patterns, and folders that say a column (``day=2024-03-01/``)."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote

from twotower.core.errors import InputError
from twotower.data.ingest.events import LogFile
from twotower.data.ingest.formats import DAMAGED, open_binary

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # how Hive and Spark write a missing value
DAY = ("year", "month", "day")  # folders that are one day, as the column year-month-day
EMPTY_BYTES = 100  # a file with nothing in it, packed, is smaller


def log_files(path: Path, territory: str | None = None) -> list[LogFile]:
    """The files that ``path`` means, in alphabetical order. Errors: InputError where there is none."""
    if path.is_dir():
        found = sorted(file for file in _walk(path) if not _is_empty(file))
        if not found:
            raise InputError(
                f"{path}: a folder without data files, expected CSV, JSON lines or Parquet in it (--events)"
            )
        return [LogFile(file, territory, partition(file.relative_to(path).parts[:-1])) for file in found]
    if not path.exists() and glob.has_magic(str(path)):
        names = sorted(glob.glob(str(path), recursive=True))
        if not names:
            raise InputError(f"{path}: no file matches this pattern (--events)")
        fixed = next(i for i, part in enumerate(path.parts) if glob.has_magic(part))
        files = [file for name in names for file in log_files(Path(name), territory)]
        return [LogFile(f.path, territory, partition(f.path.parts[fixed:-1])) for f in files]
    return [LogFile(path, territory)]


def _walk(path: Path) -> Iterator[Path]:
    """The data files below a folder, also behind links; none that is hidden or a marker such as ``_SUCCESS``."""
    entered = set()
    for folder, below, names in os.walk(path, followlinks=True):
        entered.add(os.path.realpath(folder))
        below[:] = [
            name for name in below if _holds_data(name) and os.path.realpath(os.path.join(folder, name)) not in entered
        ]
        yield from (Path(folder, name) for name in names if _holds_data(name))


def _holds_data(name: str) -> bool:
    return not name.startswith((".", "_")) and not name.endswith(".crc")


def _is_empty(path: Path) -> bool:
    """Whether a file has no content, packed or not; a link to nothing is left to those who open it."""
    if not path.exists() or path.stat().st_size > EMPTY_BYTES:
        return False
    try:
        with open_binary(path)[0] as stream:
            return not stream.read(1)
    except (*DAMAGED, OSError, InputError):
        return False


def partition(folders: Iterable[str]) -> dict[str, str]:
    """Columns and values of folders such as ``territory=DE``; of those of a day also ``year-month-day``."""
    pairs = (folder.partition("=") for folder in folders if "=" in folder)
    columns = {key: "" if value == NO_VALUE else unquote(value) for key, _, value in pairs}
    if set(DAY) <= set(columns):
        columns["-".join(DAY)] = "-".join(columns[name].zfill(2) for name in DAY)
    return columns

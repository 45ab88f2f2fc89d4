"""The files of a log: single files, folders, glob patterns, and folders that say a column (``day=2024-03-01/``)."""

import glob
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

from twotower.core.errors import InputError
from twotower.data.ingest.events import LogFile

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # how Hive and Spark write a missing value


def log_files(path: Path, territory: str | None = None) -> list[LogFile]:
    """The files that ``path`` means, in alphabetical order. Errors: InputError where there is none."""
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if _holds_data(file.relative_to(path)) and file.is_file())
        found = [file for file in found if file.stat().st_size]
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


def _holds_data(path: Path) -> bool:
    """Whether neither the file nor a folder above it is hidden or a marker such as ``_SUCCESS``."""
    return not any(part.startswith((".", "_")) for part in path.parts) and path.suffix != ".crc"


def partition(folders: Iterable[str]) -> dict[str, str]:
    """Columns and values of folders such as ``territory=DE``."""
    pairs = (folder.partition("=") for folder in folders if "=" in folder)
    return {key: "" if value == NO_VALUE else unquote(value) for key, _, value in pairs}

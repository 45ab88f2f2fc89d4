"""Change a directory's files as someone who also writes its manifest anew: only checks of contents can find it."""

from collections.abc import Sequence
from pathlib import Path

from twotower.core.manifest import MANIFEST, describe
from twotower.core.storage import read_record, write_record


def reseal(directory: Path, manifest: str = MANIFEST, add: Sequence[str] = (), **changes) -> Path:
    """Write the manifest of a directory, with changes of it, to fit the files that are there now; its path."""
    record = read_record(directory / manifest)
    record["files"] = {k: v for k, v in describe(directory).items() if k in record["files"] or k in add}
    record |= changes
    write_record(directory / manifest, {key: value for key, value in record.items() if value is not None})
    return directory

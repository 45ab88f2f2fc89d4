"""Logs from pipes: copied to a file first, because a log is looked at more than once."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from twotower.core.errors import InputError
from twotower.core.progress import Progress

STDIN = Path("/dev/stdin")
PIECE = 1 << 20  # bytes


@contextmanager
def files_of_pipes(paths: Iterable[Path], progress: Progress) -> Iterator[dict[Path, Path]]:
    """Those of ``paths`` that are pipes, or ``-`` for standard input → files with their content, for a while.

    Errors: InputError for a terminal, and for what ends in an error within, with the names that were given.
    """
    with TemporaryDirectory(prefix="twotower-") as folder:
        files: dict[Path, Path] = {}
        try:
            for number, path in enumerate(dict.fromkeys(paths)):
                source = STDIN if str(path) == "-" else path
                if source.is_fifo() or source.is_char_device():
                    files[path] = Path(folder) / f"{number}-{source.name}"
                    _copy(source, files[path], progress)
                elif source != path:
                    files[path] = source
            yield files
        except InputError as error:
            text = str(error)
            for path, file in files.items():
                text = text.replace(str(file), str(path))
            raise InputError(text) from None


def _copy(source: Path, target: Path, progress: Progress) -> None:
    try:
        with open(source, "rb") as pipe, open(target, "wb") as file:
            if pipe.isatty():
                raise InputError(f"{target}: a terminal, expected a pipe or a file")
            while piece := pipe.read(PIECE):
                file.write(piece)
                progress(f"copying {source.name} (kB)", file.tell() // 1000, 0)
    except OSError as error:
        raise InputError(f"{target}: {error.strerror}") from None

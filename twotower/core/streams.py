"""Output that is no file: stdout, stderr, pipes and devices; and texts that the encoding of a terminal lacks."""

import codecs
import io
import os
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import IO, TextIO

STREAMS = (Path("/dev/stdout"), Path("/dev/stderr"))
#: What stands for characters that an encoding lacks; letters lose their accents, all others become "?".
PLAIN = {
    "−": "-", "–": "-", "—": "-", "…": "...", "·": "-", "×": "x", "±": "+-", "≥": ">=", "≤": "<=", "→": "->",
    "“": '"', "”": '"', "‘": "'", "’": "'", "\u00a0": " ", "√": "sqrt", "Σ": "sum",
}  # fmt: skip
REPLACE = "twotower-plain"  # the name of the error handler, as of ``codecs``


def plain(error: UnicodeError) -> tuple[str, int]:
    """Stand-ins for the characters that a stream cannot encode: the error handler ``REPLACE``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    letters = "".join(PLAIN.get(c, unicodedata.normalize("NFKD", c)) for c in text)
    return "".join(c if c.isascii() else "?" for c in letters if not unicodedata.combining(c)), error.end


def show_anything() -> None:
    """Replace what the encodings of stdout and stderr lack."""
    codecs.register_error(REPLACE, plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=REPLACE)


def data_output() -> TextIO:
    """stdout for data, as UTF-8 unless people read it: there nothing may be replaced."""
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8")
    return sys.stdout


def is_stream(path: Path) -> bool:
    """Whether a path is a pipe, a device or an open file of a process: such are written to, never replaced."""
    if path.is_relative_to("/proc") or path.is_relative_to("/dev/fd") or path in STREAMS:
        return True
    return path.exists() and not (path.is_file() or path.is_dir())


def open_stream(path: Path) -> IO[str]:
    """A stream to write text to; this process's own output goes on where it is, instead of from its start."""
    sys.stdout.flush()
    with suppress(OSError):
        if os.path.samestat(path.stat(), os.fstat(1)):
            return open(os.dup(1), "w", encoding="utf-8", newline="")
    return open(path, "w", encoding="utf-8", newline="")

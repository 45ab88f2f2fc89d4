"""Texts that the encodings of stdout and stderr lack."""

import codecs
import io
import sys
import unicodedata
from typing import TextIO

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

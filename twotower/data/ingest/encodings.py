"""Encodings of text files: the one that an option names, the one that a file shows, and what cannot be decoded."""

import codecs
from contextlib import suppress
from pathlib import Path

from twotower.core.errors import InputError
from twotower.data.ingest.blocks import CsvFormat
from twotower.data.ingest.formats import DAMAGED, likely_encoding, open_binary

HEAD = 512  # bytes that show an encoding


def text_encoding(path: Path, form: CsvFormat) -> str:
    """Python's own name of the encoding of a file. Errors: InputError for one that is unknown or of no text."""
    try:
        b"a".decode(form.encoding)  # refuses base64 and the like, which codecs.lookup takes
        return codecs.lookup(form.encoding).name
    except (LookupError, UnicodeError) as error:
        if isinstance(error, UnicodeDecodeError):  # of encodings with more bytes to a character
            return codecs.lookup(form.encoding).name
    option = form.option("encoding")
    raise InputError(f"{path}: {option} {form.encoding!r} is unknown, expected one such as utf-8 or latin-1")


def begins_as(path: Path) -> str:
    """The encoding that the first bytes of a file show, or nothing, as of one that is damaged."""
    with open_binary(path)[0] as stream, suppress(*DAMAGED, OSError):
        return likely_encoding(stream.read(HEAD))
    return ""


def decoding_fault(path: Path, form: CsvFormat, encoding: str, error: UnicodeDecodeError) -> InputError:
    """The error for text in another encoding: the line, the byte, and the option that names encodings."""
    decoder, line = codecs.getincrementaldecoder(encoding)(), 1
    with open_binary(path)[0] as stream, suppress(UnicodeDecodeError, *DAMAGED, OSError):
        for text in stream:
            decoder.decode(text)
            line += 1
    byte = error.object[error.start]
    other = begins_as(path) or ("cp1252" if 0x80 <= byte < 0xA0 else "latin-1")
    fault = f"byte {byte:#04x} is not {form.encoding}"
    return InputError(f"{path}, line {line}: {fault}; {form.option('encoding')} names another, such as {other}")

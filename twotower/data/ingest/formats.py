"""What kind of file this is, by its first bytes: read, unpacked on the way, or refused with what to do instead."""

import bz2
import gzip
import lzma
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from twotower.core.errors import InputError

PARQUET, ORC, FEATHER, JSON, TEXT = "parquet", "orc", "feather", "json", "text"
COLUMNAR = {b"PAR1": PARQUET, b"ORC": ORC, b"ARROW1": FEATHER}
HEAD = 512  # bytes that are enough to tell
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)
PACKINGS: dict[bytes, tuple[str, Any]] = {
    b"\x1f\x8b": ("gzip", gzip.GzipFile),
    b"BZh": ("bz2", bz2.BZ2File),
    b"\xfd7zXZ\x00": ("xz", lzma.LZMAFile),
}
#: First bytes of what cannot be read → what it is, and what to do.
REFUSED: dict[bytes, tuple[str, str]] = {
    b"PK\x03\x04": ("a zip archive", "unpack it first"),
    b"\xd0\xcf\x11\xe0": ("an Excel workbook of the old kind", "save its sheet as CSV (UTF-8)"),
    b"FEA1": ("a Feather file of version 1", "write it as Parquet"),
    b"Obj\x01": ("an Avro file", "write it as Parquet"),
    b"\x28\xb5\x2f\xfd": ("a file packed with zstd", "unpack it first (zstd -d)"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "unpack it first"),
    b"Rar!": ("a RAR archive", "unpack it first"),
    b"SQLite format 3\x00": ("an SQLite database", "export the table as CSV or Parquet"),
    b"\x89HDF": ("an HDF5 file", "write it as Parquet or CSV"),
    b"\x93NUMPY": ("a NumPy array", "write it as CSV or Parquet with named columns"),
    b"%PDF": ("a PDF document", "export the data as CSV"),
    b"<!DOCTYPE": ("a web page", "download the data themselves"),
    b"<html": ("a web page", "download the data themselves"),
    b"<?xml": ("an XML document", "write it as CSV or Parquet"),
}


def detect_format(path: Path) -> str:
    """One of ``COLUMNAR``, ``JSON`` (one object per line) or ``TEXT`` (delimited). Errors: InputError for others."""
    if not path.is_file():
        try:
            reason = "Is a directory" if path.is_dir() else "not a regular file"
            if not path.exists():
                open(path, "rb").close()  # for the system's own words
        except OSError as error:
            reason = error.strerror or str(error)
        raise InputError(f"{path}: {reason}")
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    if not head:
        raise InputError(f"{path}: the file is empty")
    for magic, form in COLUMNAR.items():
        if head.startswith(magic):
            return form
    if packing(path):
        stream, _ = open_binary(path)
        with stream:
            try:
                head = stream.read(HEAD)
            except (*DAMAGED, OSError):
                return TEXT  # reading it says where it is damaged
        if head[257:262] == b"ustar":
            raise InputError(f"{path}: a packed tar archive; unpack it first")
    _refuse(path, head)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b'{"') or start.startswith(b"{ "):
        return JSON
    if start.startswith((b"[{", b"[\n", b"[\r\n", b"[ ")):
        raise InputError(f"{path}: a JSON array; write one object per line (JSON lines), as jq -c '.[]' does")
    return TEXT


def _refuse(path: Path, head: bytes) -> None:
    for magic, (kind, remedy) in REFUSED.items():
        if head.lower().startswith(magic.lower()):
            if magic == b"PK\x03\x04" and _is_workbook(path):
                kind, remedy = "an Excel workbook", "save its sheet as CSV (UTF-8)"
            raise InputError(f"{path}: {kind}; {remedy}")
    if len(head) > 1 and head[0] == 0x80 and head[1] in range(2, 6):
        raise InputError(f"{path}: a Python pickle, which is never loaded; write it as CSV or Parquet")


def _is_workbook(path: Path) -> bool:
    try:
        return any(name.startswith("xl/") for name in zipfile.ZipFile(path).namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def packing(path: Path) -> str:
    """``gzip``, ``bz2``, ``xz``, or nothing for a file that is not packed."""
    with open(path, "rb") as file:
        head = file.read(6)
    return next((name for magic, (name, _) in PACKINGS.items() if head.startswith(magic)), "")


def open_binary(path: Path) -> tuple[Any, BinaryIO]:
    """The unpacked bytes, and the file itself, whose position shows progress."""
    raw = open(path, "rb")  # noqa: SIM115
    name = packing(path)
    opener = next((opener for known, opener in PACKINGS.values() if known == name), None)
    if opener is None:
        return raw, raw
    return (opener(fileobj=raw) if opener is gzip.GzipFile else opener(raw)), raw

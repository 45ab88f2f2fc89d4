"""What kind of file this is, by its first bytes: read, unpacked on the way, or refused with what to do instead."""

import bz2
import codecs
import gzip
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from twotower.core.errors import InputError

PARQUET, ORC, FEATHER, JSON, TEXT = "parquet", "orc", "feather", "json", "text"
COLUMNAR = {b"PAR1": PARQUET, b"ORC": ORC, b"ARROW1": FEATHER}
HEAD = 512  # bytes that are enough to tell
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)


def _by_pyarrow(packing: str) -> Callable[[BinaryIO], Any]:
    def opened(raw: BinaryIO) -> Any:
        try:
            from pyarrow import CompressedInputStream, PythonFile
        except ImportError:
            needs = f"unpack it first, or pip install 'twotower[parquet]', whose pyarrow reads {packing}"
            raise InputError(f"{raw.name}: packed with {packing}; {needs}") from None
        return CompressedInputStream(PythonFile(raw, "r"), packing)

    return opened


PACKINGS: dict[bytes, tuple[str, Callable[[BinaryIO], Any]]] = {
    b"\x1f\x8b": ("gzip", lambda raw: gzip.GzipFile(fileobj=raw)),
    b"BZh": ("bz2", bz2.BZ2File),
    b"\xfd7zXZ\x00": ("xz", lzma.LZMAFile),
    b"\x5d\x00\x00": ("lzma", lzma.LZMAFile),
    b"\x28\xb5\x2f\xfd": ("zstd", _by_pyarrow("zstd")),
    b'\x04"M\x18': ("lz4", _by_pyarrow("lz4")),
}
_UNPACK, _WRITE, _QUERY = "unpack it first", "write it as CSV or Parquet", '--sql "SELECT …" --database FILE reads it'
#: First bytes of what cannot be read → what it is, and what to do.
REFUSED: dict[bytes, tuple[str, str]] = {
    b"PK\x03\x04": ("a zip archive", _UNPACK),
    b"\xd0\xcf\x11\xe0": ("an Excel workbook of the old kind", "save its sheet as CSV (UTF-8)"),
    b"FEA1": ("a Feather file of version 1", "write it as Parquet"),
    b"\xff\xff\xff\xff": ("an Arrow stream", "write it as an Arrow file (Feather) or as Parquet"),
    b"Obj\x01": ("an Avro file", "write it as Parquet"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", _UNPACK),
    b"Rar!": ("a RAR archive", _UNPACK),
    b"\x1f\x9d": ("a file packed with compress", _UNPACK),
    b"\xff\x06\x00\x00sNaPpY": ("a file packed with snappy", _UNPACK),
    b"SQLite format 3\x00": ("an SQLite database", _QUERY),
    b"\x89HDF": ("an HDF5 file", _WRITE),
    b"\x93NUMPY": ("a NumPy array", "write it as CSV or Parquet with named columns"),
    b"$FL2": ("an SPSS file", _WRITE),
    b"<stata_dta>": ("a Stata file", _WRITE),
    b"RDX3\n": ("a file of R", "write it with write.csv or as Parquet"),
    b"X\n\x00\x00": ("a file of R", "write it with write.csv or as Parquet"),
    b"MATLAB 5.0 MAT-file": ("a MATLAB file", _WRITE),
    b"%PDF": ("a PDF document", "export the data as CSV"),
    b"<!DOCTYPE": ("a web page", "download the data themselves"),
    b"<html": ("a web page", "download the data themselves"),
    b"<?xml": ("an XML document", _WRITE),
    b"version https://git-lfs": ("a pointer of Git LFS", "git lfs pull fetches the data"),
}
#: Names inside a zip archive → the same.
INSIDE = {
    "xl/": ("an Excel workbook", "save its sheet as CSV (UTF-8)"),
    "mimetype": ("an OpenDocument file", "save its sheet as CSV (UTF-8)"),
    "numpy": ("a NumPy archive", "write it as CSV or Parquet with named columns"),
}
MARKS = {  # byte-order marks; that of UTF-16 begins that of UTF-32
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8",
}  # fmt: skip
ZEROS = {"0101": "utf-16-le", "1010": "utf-16-be", "0111": "utf-32-le"}  # where ASCII has zeros, in four bytes
_NOT_TEXT = re.compile(rb"[\x04-\x08\x0e-\x1a]")  # those below may be separators
_MOST_CONTROLS, _MOST_ZEROS, A_FEW = 0.02, 0.25, 4  # shares of a text's first bytes, and how many more are chance
_JSON_LINES = "write one object per line (JSON lines), as jq -c {} does"


def detect_format(path: Path) -> str:
    """One of ``COLUMNAR``, ``JSON`` (one object per line) or ``TEXT`` (delimited). Errors: InputError for others."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path}: not a regular file")
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    if not head:
        raise InputError(f"{path}: the file is empty")
    packed = packing(path)
    if packed:
        with open_binary(path)[0] as stream:
            try:
                head = stream.read(HEAD)
            except (*DAMAGED, OSError):
                return TEXT  # reading it says where it is damaged
    form = next((form for magic, form in COLUMNAR.items() if head.startswith(magic)), "")
    if packed and (form or any(head.startswith(magic) for magic in PACKINGS)):
        raise InputError(f"{path}: {form.capitalize() or 'a packed file'} packed with {packed}; {_UNPACK}")
    if form:
        return form
    _refuse(path, head)
    encoding = likely_encoding(head)
    start = head.decode(encoding or "latin-1", "ignore").lstrip("\ufeff \t\r\n")
    if re.match(r'\{ *"', start):
        return JSON
    if re.match(r"\{\s*$|\{\s*\n", start):
        raise InputError(f"{path}: JSON objects over several lines; {_JSON_LINES.format('.')}")
    if re.match(r'\[\s*[\[{"]', start):
        raise InputError(f"{path}: a JSON array; {_JSON_LINES.format(repr('.[]'))}")
    controls, zeros = len(_NOT_TEXT.findall(head)), head.count(0)
    if not encoding and max(controls - _MOST_CONTROLS * len(head), zeros - _MOST_ZEROS * len(head)) > A_FEW:
        expected = "expected CSV, JSON lines, Parquet, ORC or Feather"
        raise InputError(f"{path}: neither text nor of a known format; {expected}")
    return TEXT


def likely_encoding(head: bytes) -> str:
    """The encoding that the first bytes of a text show, by a byte-order mark or by zeros in every second place."""
    for mark, name in MARKS.items():
        if head.startswith(mark):
            return name
    zeros = "".join("01"[head[place::4].count(0) > 0.9 * (len(head) // 4)] for place in range(4))
    return ZEROS.get(zeros, "") if len(head) > 7 else ""



def _refuse(path: Path, head: bytes) -> None:
    for magic, (kind, remedy) in REFUSED.items():
        if head.lower().startswith(magic.lower()):
            kind, remedy = _inside(path) or (kind, remedy)
            raise InputError(f"{path}: {kind}; {remedy}")
    if head[257:262] == b"ustar":
        raise InputError(f"{path}: a tar archive; {_UNPACK}")
    if head[8:12] == b"DUCK":
        raise InputError(f"{path}: a DuckDB database; {_QUERY}")
    if len(head) > 1 and head[0] == 0x80 and head[1] in range(2, 6):
        raise InputError(f"{path}: a Python pickle, which is never loaded; {_WRITE}")


def _inside(path: Path) -> tuple[str, str] | None:
    """What a zip archive is by the names in it, and what to do; None for others, and for what is none."""
    try:
        names = zipfile.ZipFile(path).namelist()
    except (zipfile.BadZipFile, OSError):
        return None
    kinds = ["numpy" if name.endswith(".npy") else name for name in names]
    return next((what for start, what in INSIDE.items() if any(kind.startswith(start) for kind in kinds)), None)


def packing(path: Path) -> str:
    """How a file is packed, one of ``PACKINGS``, or nothing."""
    with open(path, "rb") as file:
        head = file.read(6)
    return next((name for magic, (name, _) in PACKINGS.items() if head.startswith(magic)), "")


def open_binary(path: Path) -> tuple[Any, BinaryIO]:
    """The unpacked bytes, and the file itself, whose position shows progress."""
    name = packing(path)
    raw = open(path, "rb")  # noqa: SIM115
    opener = next((opener for known, opener in PACKINGS.values() if known == name), None)
    return (opener(raw) if opener else raw), raw

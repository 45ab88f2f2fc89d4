"""Delimited text files as blocks of columns, with errors that name file and line."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.data.ingest import blocks
from twotower.data.ingest.blocks import COUNTED_ROWS, Block, CsvFormat, bad_row_hints, repeated
from twotower.data.ingest.cleaning import clean
from twotower.data.ingest.encodings import decoding_fault, text_encoding
from twotower.data.ingest.formats import DAMAGED, open_binary, packing
from twotower.data.ingest.sniffing import SAMPLE_CHARACTERS, guess_separator, has_backslash_escapes, separator_line

UNIT = "\x1f"  # stands for a separator of several characters
FIELD_CHARACTERS = 1 << 20  # at most: longer is an unclosed quote, not a synopsis
_SINGLE_QUOTES = re.compile(r"\s*'[^']*'(?:[^\w']+'[^']*')+\s*")  # around all names


class CsvTable:
    """A delimited text file; ``columns`` are its names in order."""

    n_rows = 0  # unknown
    ragged = "wrong number of fields"
    quote = '"'

    def __init__(self, path: Path, form: CsvFormat, needed: Sequence[str] = ()):
        self.path, self.form = path, form
        self.encoding = text_encoding(path, form)
        self.packed = packing(path)
        self.skip = form.skip_lines  # lines before the first row
        with self._open()[0] as text, self._errors():
            for _ in range(self.skip):
                text.readline()
            sample = text.read(SAMPLE_CHARACTERS)
            sample += "" if "\n" in sample else text.readline(FIELD_CHARACTERS)
        lines = list(io.StringIO(sample, newline=""))  # splitlines would also split at characters of latin-1
        declared = separator_line(lines[0]) if lines else None
        before = next((i for i, text in enumerate(lines) if i >= bool(declared) and text.strip()), len(lines))
        if before == len(lines):
            expected = "column names" if form.header else "data"
            raise InputError(f"{path}, line {self.skip + 1}: empty, expected {expected}")
        self.skip, lines = self.skip + before, lines[before:]
        line = f"{path}, line {self.skip + 1}"
        first, sample = lines[0].rstrip("\r\n"), "".join(lines)
        if form.quotes and _SINGLE_QUOTES.fullmatch(first):
            self.quote = "'"
        self.escapes = form.escapes
        self.separator = (
            form.separator
            or declared
            or guess_separator(lines[:-1] or lines, self._rows, lambda separator: self._names(first, separator), needed)
        )
        if form.quotes and len(self.separator) == 1:
            self.escapes = form.escapes or has_backslash_escapes(sample, self.separator)
        self.columns = self._names(first, self.separator)
        if twice := repeated(self.columns):
            hint = f" ({form.option('separator')}, if it is not {self.separator!r}" if form.header else ""
            hint += f"; {form.option('no-header')}, if that is data)" if form.header else ""
            raise InputError(f"{line}: two columns are called {twice!r}{hint}")

    @property
    def description(self) -> str:
        """How the file is read, in a few words."""
        names = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "pipe"}
        words = ["CSV", f"separator {names.get(self.separator, repr(self.separator))}", self.form.encoding]
        words += [self.packed] * bool(self.packed) + ["backslash escapes"] * self.escapes
        return ", ".join(words + ["single quotes"] * (self.quote == "'"))

    def blocks(self, names: Sequence[str], skip_ragged: bool = False, progress: Progress = silent) -> Iterator[Block]:
        """The columns ``names``, ``BLOCK_ROWS`` rows at a time; blank lines are not rows.

        Errors: InputError with the line for a row with a wrong number of fields (unless ``skip_ragged``), an unclosed
        quote, text in another encoding, and a damaged gzip file.
        """
        text, raw = self._open()
        size, start = self.path.stat().st_size, 0
        fields = [itemgetter(self.columns.index(name)) for name in names]
        with text:
            reader = self._reader(text)
            with self._errors(reader):
                rows = filter(None, reader)
                while block := list(islice(rows, blocks.BLOCK_ROWS)):
                    whole = self._whole(block, start, skip_ragged)
                    yield Block(start, [list(map(field, whole)) for field in fields], len(block) - len(whole))
                    start += len(block)
                    progress(f"reading {self.path.name} (kB)", -(-raw.tell() // 1000), -(-size // 1000))

    def where(self, row: int, column: str | None = None) -> str:
        """``FILE, line N, column 'C'`` of a row counted from 0, found by reading up to it once more."""
        with self._open()[0] as text:
            reader = self._reader(text)
            with self._errors(reader):
                for _ in islice(filter(None, reader), row + 1):
                    pass
        return f"{self.path}, line {self.skip + reader.line_num}" + (f", column {column!r}" if column else "")

    def _whole(self, block: list[list[str]], start: int, skip_ragged: bool) -> list[list[str]]:
        """The rows with a field for each column. Errors: InputError for the first of the others."""
        width = len(self.columns)
        if set(map(len, block)) == {width}:
            return block
        block = [row[:width] if len(row) > width and not any(row[width:]) else row for row in block]  # trailing commas
        if set(map(len, block)) == {width}:
            return block
        if not skip_ragged:
            bad, row = next((j, row) for j, row in enumerate(block) if len(row) != width)
            fault = f"{len(row)} fields, the first line has {width}, separated by {self.separator!r}"
            raise InputError(f"{self.where(start + bad)}: {fault} ({self._ragged_hints(row)})")
        return [row for row in block if len(row) == width]

    def _ragged_hints(self, first: list[str]) -> str:
        """What to do about rows with a wrong number of fields, of which ``first`` is the first."""
        width, wrong, rows = len(self.columns), 0, 0
        with self._open()[0] as text, suppress(csv.Error, UnicodeDecodeError, *DAMAGED, OSError):
            for row in islice(filter(None, self._reader(text)), COUNTED_ROWS):
                rows, wrong = rows + 1, wrong + (len(row) < width or any(row[width:]))
        causes = [f"{self.form.option('separator')} names another separator"]
        if "\\" in "".join(first):
            causes.append("--backslash-escapes reads \\ as an escape")
        if len(first) == width + 1 and self.form.header:
            causes.append("the header may lack a name")
        return bad_row_hints(wrong, rows, ", ".join(causes))

    def _open(self) -> tuple[io.TextIOWrapper, BinaryIO]:
        """The decoded text, and the raw file, whose position shows progress."""
        stream, raw = open_binary(self.path)
        encoding = "utf-8-sig" if self.encoding == "utf-8" else self.encoding
        return io.TextIOWrapper(stream, encoding, newline=""), raw

    def _reader(self, text: io.TextIOWrapper) -> Any:
        """A csv reader at the first row of data."""
        reader = self._parse(text, self.separator)
        for _ in range(self.skip):
            text.readline()
        if self.form.header:
            with self._errors(reader):
                next(reader)
        return reader

    def _parse(self, lines: Iterable[str], separator: str, strict: bool = True) -> Any:
        """A csv reader of ``lines``. A strict one reports a stray quote instead of swallowing the lines after it."""
        csv.field_size_limit(FIELD_CHARACTERS)  # global, hence set for each reading
        if len(separator) > 1:  # for the csv module one character; quotes are then ordinary ones
            several = separator
            lines, separator = (line.replace(several, UNIT) for line in lines), UNIT
        elif self.form.quotes:
            escape = "\\" if self.escapes else None
            spaces = not separator.isspace()  # a, "b, c" is two fields
            return csv.reader(lines, delimiter=separator, escapechar=escape, quotechar=self.quote, strict=strict,
                skipinitialspace=spaces)  # fmt: skip
        return csv.reader(lines, delimiter=separator, strict=strict, quoting=csv.QUOTE_NONE)

    def _rows(self, lines: Sequence[str], separator: str) -> list[list[str]]:
        """The rows of some lines with one of several possible separators, up to the first fault."""
        rows: list[list[str]] = []
        with suppress(csv.Error):
            rows.extend(self._parse(lines, separator, strict=False))
        return rows

    def _names(self, first: str, separator: str) -> list[str]:
        """Column names: those of the first line, or numbers from 1 where there is no header or no name."""
        fields = next(self._parse([first], separator, strict=False))  # this may be a guess of the separator
        return [(self.form.header and clean(text)) or str(i) for i, text in enumerate(fields, 1)]

    @contextmanager
    def _errors(self, reader: Any = None) -> Iterator[None]:
        """Reading errors as one line with the place."""
        try:
            yield
        except csv.Error as error:
            hint = ' (--no-quotes reads quotes as ordinary characters, --backslash-escapes \\" as a quote)'
            hint = hint if self.form.quotes else ""
            raise InputError(f"{self.path}, line {self.skip + reader.line_num}: {error}{hint}") from None
        except UnicodeDecodeError as error:
            raise decoding_fault(self.path, self.form, self.encoding, error) from None
        except (*DAMAGED, OSError) as error:
            after = self.skip + (reader.line_num if reader else 0)
            raise InputError(f"{self.path}, after line {after}: damaged {self.packed} file ({error})") from None

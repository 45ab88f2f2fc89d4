"""JSON lines: one object per line, nested keys as dotted columns."""

import io
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.data.ingest.arrow_columns import LIST_MARK, LIST_OF_IDS, number_text
from twotower.data.ingest.blocks import BLOCK_ROWS, Block, CsvFormat, bad_row_hints
from twotower.data.ingest.encodings import decoding_fault, text_encoding
from twotower.data.ingest.formats import DAMAGED, open_binary

KEY_LINES = 10_000  # lines whose keys are the columns


class JsonTable:
    """A file of JSON lines; ``columns`` are the keys of the first lines, in order of appearance."""

    description = "JSON lines"
    ragged = "not a JSON object"

    def __init__(self, path: Path, form: CsvFormat | None = None):
        self.path, self.form = path, form or CsvFormat()
        self.encoding = text_encoding(path, self.form)
        keys: dict[str, None] = {}
        self.lists: set[str] = set()  # keys with a list in one of the lines so far
        self.ids: set[str] = set()  # keys that must have none
        for row in islice(self._rows(), KEY_LINES):
            keys |= dict.fromkeys(row or ())
        self.columns = list(keys)

    def check_ids(self, name: str) -> None:
        """From now on a list is an error for this key, where an id per row is expected."""
        self.ids.add(name)
        if name in self.lists:
            raise self._not_an_id(name)

    def blocks(self, names: Sequence[str], skip_ragged: bool = False, progress: Progress = silent) -> Iterator[Block]:
        """The columns ``names`` as text, ``BLOCK_ROWS`` rows at a time. Errors: InputError with the line."""
        rows, start = self._rows(skip_ragged), 0
        while block := list(islice(rows, BLOCK_ROWS)):
            whole = [row for row in block if row is not None]
            yield Block(start, [[row.get(name, "") for row in whole] for name in names], len(block) - len(whole))
            start += len(block)
            progress(f"reading {self.path.name}, rows", start, 0)

    def where(self, row: int, column: str | None = None) -> str:
        """``FILE, line N, column 'C'`` of a row counted from 0."""
        return f"{self.path}, line {row + 1}" + (f", column {column!r}" if column else "")

    def _rows(self, skip: bool = True) -> Iterator[dict[str, str] | None]:
        """Each line as texts by dotted key; None for one that is no object, which is an error unless ``skip``."""
        stream, _ = open_binary(self.path)
        number = 0
        with io.TextIOWrapper(stream, "utf-8-sig" if self.encoding == "utf-8" else self.encoding) as text:
            try:
                for number, line in enumerate(text, 1):
                    if not line.strip():
                        continue
                    try:
                        value = json.loads(line)
                        if not isinstance(value, dict):
                            raise ValueError("no object")
                        items = dict(flatten(value))
                    except (ValueError, RecursionError) as error:
                        if not skip:
                            raise self._no_object(number, error) from None
                        yield None
                        continue
                    self.lists.update(key for key, item in items.items() if isinstance(item, list))
                    if self.ids & self.lists:
                        raise self._not_an_id(min(self.ids & self.lists), number)
                    yield {key: json_text(item) for key, item in items.items()}
            except UnicodeDecodeError as error:
                raise decoding_fault(self.path, self.form, self.encoding, error) from None
            except (OSError, *DAMAGED) as error:
                raise InputError(f"{self.path}, after line {number}: not readable ({error})") from None

    def _no_object(self, number: int, error: Exception) -> InputError:
        rows = [row is None for row in self._rows()]
        hints = bad_row_hints(sum(rows), len(rows), "jq -c writes one object per line")
        return InputError(f"{self.path}, line {number}: not a JSON object, {error} ({hints})")

    def _not_an_id(self, name: str, line: int = 0) -> InputError:
        where = f"{self.path}, line {line}" if line else str(self.path)
        return InputError(f"{where}, column {name!r}: {LIST_OF_IDS}")


def flatten(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys and values of an object; keys of nested ones as ``geo.country``."""
    for key, item in value.items():
        if isinstance(item, dict):
            yield from flatten(item, f"{prefix}{key}.")
        else:
            yield prefix + key, item


def json_text(value: Any) -> str:
    """A JSON value as the text that a CSV file would have."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return number_text(value)
    if isinstance(value, list):
        return LIST_MARK.join(map(json_text, value))
    if isinstance(value, dict):
        return json.dumps(value)
    text = str(value)
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

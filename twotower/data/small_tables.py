"""Small CSV files that people write by hand: groups, places, spellings."""

import csv
from collections.abc import Iterator
from pathlib import Path

from twotower.core.errors import InputError


def read_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row of a CSV with these columns, among others; blanks around cells are removed.

    Errors: InputError with file and line.
    """
    expected = f"expected a CSV with the columns {','.join(columns)}"
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames is None or not set(columns) <= set(reader.fieldnames):
                found = "an empty file" if reader.fieldnames is None else f"the columns {','.join(reader.fieldnames)}"
                raise InputError(f"{path} line 1: {found}, {expected}")
            for row in reader:
                cells = [(row[name] or "").strip() for name in columns]
                if any(cells):
                    yield reader.line_num, cells
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}, {expected}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not readable as CSV in UTF-8 ({error}), {expected}") from None

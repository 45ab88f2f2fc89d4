"""Tables of users or titles: an id column, and one row per id or several that are joined."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from twotower.core.errors import InputError
from twotower.data.ingest.arrow_columns import LIST_MARK
from twotower.data.ingest.blocks import CsvFormat, bad_row_hints
from twotower.data.ingest.cleaning import MISSING, MISSING_IDS, LostDigitsError, clean, clean_id
from twotower.data.ingest.tables import Table, open_table, read_columns

MAX_REPEATS = 20  # of one value of a title: weights may be play counts in the millions


@dataclass(frozen=True)
class SideTable:
    """A table of users or titles: unique ids and columns of text, all in the order of the file."""

    path: Path
    row: dict[str, int]  # id → row
    columns: dict[str, list[str]]
    ignored: list[str] = field(default_factory=list)  # columns that were not read
    markers: set[str] = field(default_factory=set)  # words that were read as missing values

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Row (n,) int64 of each id, -1 where there is none."""
        return np.fromiter((self.row.get(name, -1) for name in ids), np.int64, len(ids))

    def column(self, name: str, ids: Sequence[str]) -> list[str]:
        """One column for ``ids``; "" for unknown ids."""
        values = [*self.columns[name], ""]  # the last one is that of row -1
        return [values[row] for row in self.rows(ids).tolist()]


def read_side_table(
    path: str | Path,
    id_column: str,
    form: CsvFormat | None = None,
    join: bool = False,
    weight: str | None = None,
    ignore: Sequence[str] = (),
    skip_bad_rows: bool = False,
    territory: str | None = None,
) -> SideTable:
    """Read a table with one row per id; with ``join``, or a ``weight`` column, with any number of rows.

    The values of an id's rows, as in artist,tag, are joined by ``|``. With weights, as in artist,tag,count, each is
    repeated ``weight`` times where an id's weights are whole numbers up to ``MAX_REPEATS``; otherwise in proportion,
    so that the largest has that many, and none above 0 is lost. ``territory`` is a column in which NA is Namibia.

    Errors: InputError with file, line and column for a missing id, an id that occurs twice in different
    rows (unless joined), and a weight that is not a finite number from 0 up; with the file for one that cannot be read.
    """
    join, kind = join or weight is not None, form.table if form else ""
    options = {id_column: f"--{kind}-id", weight or "": "--title-weight"} if kind else {}
    table = open_table(path, form, [id_column, *([weight] if weight else [])], options)
    names = [name for name in table.columns if name not in (id_column, weight)]
    ignored = [name for name in table.columns if name in ignore and name != id_column]
    names = [name for name in names if name not in ignored]
    ids, *values = read_columns(table, [id_column, *names], skip_bad_rows)
    row: dict[str, int] = {}  # id → row, in order of first appearance
    first: dict[str, int] = {}  # id → its first line
    owner = np.zeros(len(ids), np.int64)  # (n,) row of each line's id
    used = np.ones(len(ids), bool)  # (n,)
    for line, text in enumerate(ids):
        try:
            name = clean_id(text)
        except LostDigitsError:
            where = table.where(line, id_column)
            raise InputError(f"{where}: {text!r} is a rounded number, not an id; write ids as text") from None
        again = name in row and not join
        if again and all(column[line] == column[first[name]] for column in values):
            used[line] = False  # the same row once more
        elif name in MISSING_IDS and skip_bad_rows:
            used[line] = False
        elif name in MISSING_IDS or again:
            fault = "occurs a second time, with other values"
            if name in MISSING_IDS:
                lost = sum(clean(other) in MISSING_IDS for other in ids)
                fault = f"is not an id ({bad_row_hints(lost, len(ids), f'check --{kind}-id' if kind else 'check it')})"
            elif kind == "titles":
                fault += " (--join-titles joins the values of a title)"
            raise InputError(f"{table.where(line, id_column)}: {name!r} {fault}")
        else:
            first.setdefault(name, line)
            owner[line] = row.setdefault(name, len(row))
    repeats = used.astype(np.int64)
    if weight:
        repeats *= _repeats(_weights(table, weight), owner, len(row))
    columns, markers = {}, set[str]()
    for name, texts in zip(names, values, strict=True):
        missing = MISSING if name == territory else MISSING_IDS
        columns[name] = _joined(texts, owner, repeats, len(row), missing)
        markers |= {word for text in set(texts) if (word := clean(text)) in missing} - {""}
    return SideTable(Path(path), row, columns, ignored, markers)


def _weights(table: Table, column: str) -> np.ndarray:
    """A column of weights as (n,) float64. Errors: InputError with the line of an invalid one."""
    texts = read_columns(table, [column])[0]
    weights = np.empty(len(texts))
    for line, text in enumerate(texts):
        try:
            weights[line] = float(text)
        except ValueError:
            weights[line] = np.nan
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        line = int(np.argmax(bad))
        raise InputError(f"{table.where(line, column)}: {texts[line]!r} is not a weight, expected a number from 0 up")
    return weights


def _repeats(weights: np.ndarray, owner: np.ndarray, n_owners: int) -> np.ndarray:
    """How often each value is repeated: (n,) int64 of weights (n,) and the row that each belongs to (n,)."""
    largest = np.zeros(n_owners)
    np.maximum.at(largest, owner, weights)
    in_proportion = largest > MAX_REPEATS
    np.logical_or.at(in_proportion, owner, weights != np.rint(weights))
    scale = np.divide(MAX_REPEATS, largest, out=np.ones(n_owners), where=in_proportion)
    return np.where(weights > 0, np.maximum(1, np.rint(weights * scale[owner])), 0).astype(np.int64)


def _joined(
    values: list[str], owner: np.ndarray, repeats: np.ndarray, n_owners: int, missing: frozenset[str]
) -> list[str]:
    """Values (n,), cleaned and repeated, as one text for each row."""
    texts: list[list[str]] = [[] for _ in range(n_owners)]
    for text, row, times in zip(map(clean, values), owner.tolist(), repeats.tolist(), strict=True):
        if text not in missing:
            texts[row] += [text] * times
    return list(map(LIST_MARK.join, texts))

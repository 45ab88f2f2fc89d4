"""Tables that a program has, as Arrow tables, and Arrow tables as the kind that came in.

pandas, Polars, DuckDB relations, Arrow tables and everything else that exports the Arrow C stream; dictionaries of
columns; structured NumPy arrays. pyarrow is an extra.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import numpy as np

from twotower.core.errors import InputError
from twotower.data.ingest.cleaning import clean_id

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["arrow", "pandas", "polars", "duckdb", "columns", "numpy"]
ANSWERS = ("rank", "score", "source", "probability")  # columns of answers, beside the ids


def import_arrow() -> Any:
    """pyarrow. Errors: InputError where it is not installed."""
    try:
        import pyarrow
    except ImportError:
        raise InputError("tables in memory need pyarrow: pip install 'twotower[parquet]'") from None
    return pyarrow


def kind_of(frame: object) -> Kind:
    """Which kind of table ``frame`` is; paths and what is not known count as Arrow."""
    if isinstance(frame, Mapping):
        return "columns"
    if isinstance(frame, np.ndarray):
        return "numpy"
    module = type(frame).__module__.partition(".")[0].lstrip("_")
    kinds: dict[str, Kind] = {"pandas": "pandas", "polars": "polars", "duckdb": "duckdb"}
    return kinds.get(module, "arrow")


def to_arrow(frame: Any, what: str = "events") -> "pa.Table":
    """A table of any kind, or a path of a Parquet file, as an Arrow table.

    Errors: InputError, which names ``what``, for anything else, and for columns of mixed types.
    """
    pa = import_arrow()
    try:
        if isinstance(frame, str | Path):
            import pyarrow.parquet

            try:
                return pyarrow.parquet.read_table(frame)
            except pa.ArrowInvalid:
                raise InputError(f"{what}: {frame} is no Parquet file; read it into a data frame first") from None
        if isinstance(frame, Mapping):
            return plain_types(pa.table({name: pa.array(column) for name, column in frame.items()}))
        if isinstance(frame, np.ndarray) and frame.dtype.names:
            return pa.table({name: frame[name] for name in frame.dtype.names})
        if kind_of(frame) == "pandas":
            return plain_types(pa.Table.from_pandas(frame, preserve_index=False))
        if kind_of(frame) == "polars":
            import polars  # categories as others read them, too

            frame = frame.lazy().collect() if hasattr(frame, "lazy") else frame
            return frame.to_arrow(compat_level=polars.CompatLevel.oldest())
        if hasattr(frame, "__arrow_c_stream__"):
            return plain_types(pa.table(frame))
        if hasattr(frame, "to_arrow_table"):  # a DuckDB relation
            return frame.to_arrow_table()
    except (pa.ArrowException, OSError, TypeError, AttributeError) as error:
        raise InputError(f"{what}: cannot be read as a table ({str(error).splitlines()[0]})") from None
    expected = "a data frame of pandas or Polars, an Arrow table, a DuckDB relation, a dictionary of columns, or a path"
    raise InputError(f"{what}: {type(frame).__name__}, expected {expected}")


def plain_types(table: "pa.Table") -> "pa.Table":
    """UUIDs as texts: they are bytes in Arrow, and no text format has them."""
    for place, field in enumerate(table.schema):
        if str(field.type) == "extension<arrow.uuid>":
            texts = [None if value is None else str(value) for value in table[place].to_pylist()]
            table = table.set_column(place, field.name, import_arrow().array(texts, "string"))
    return table


def from_arrow(table: "pa.Table", kind: Kind) -> Any:
    """An Arrow table as a table of some kind."""
    if kind == "pandas":
        return table.to_pandas()
    if kind == "polars":
        import polars

        return polars.from_arrow(table)
    if kind == "duckdb":
        import duckdb

        return duckdb.from_arrow(table)
    if kind == "columns":
        return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    if kind == "numpy":
        columns = [table[name].to_numpy(zero_copy_only=False) for name in table.column_names]
        return np.rec.fromarrays(columns, names=table.column_names)
    return table


@dataclass(frozen=True)
class IdColumn:
    """A column of ids, which a dataset has as texts: ``type`` is that of Arrow which they had."""

    what: str  # "user" or "title"
    name: str  # of the column
    type: str = "string"

    @classmethod
    def of(cls, what: str, name: str, table: "pa.Table") -> "IdColumn":
        """A column of a table; of a dictionary the type of its values, and texts for what has no plain name."""
        if name not in table.column_names:
            return cls(what, name)
        kind = table.schema.field(name).type
        kind = kind.value_type if hasattr(kind, "value_type") else kind
        try:
            import_arrow().type_for_alias(str(kind))
        except ValueError:
            return cls(what, name)
        return cls(what, name, str(kind))

    def texts(self, ids: Iterable[Any]) -> list[str]:
        """Ids as an import makes texts of them. Errors: InputError for missing ids and those of another type."""
        pa, kind = import_arrow(), import_arrow().type_for_alias(self.type)
        ids = [str(one) if isinstance(one, UUID) else one for one in ids]
        try:
            try:
                column = pa.array(ids, kind).cast(pa.string())
            except (pa.ArrowException, TypeError):  # such as numbers for texts
                column = pa.array(ids).cast(kind).cast(pa.string())
        except (pa.ArrowException, TypeError, OverflowError) as error:
            raise InputError(f"{self.what}s: expected ids of the type {self.type} ({error})") from None
        if column.null_count:
            raise InputError(f"{self.what}s: {column.null_count:,} of {len(column):,} ids are missing")
        return [clean_id(text) for text in column.to_pylist()]

    def texts_in(self, table: "pa.Table") -> list[str]:
        """The column of a table as texts. Errors: InputError where it has none, and as for ``texts``."""
        if self.name not in table.column_names:
            raise InputError(f"no column {self.name!r}; the table has {', '.join(table.column_names)}")
        return self.texts(table[self.name].to_pylist())

    def array(self, texts: Sequence[str]) -> "pa.Array":
        """Texts as ids of the type."""
        pa = import_arrow()
        return pa.array(list(texts), pa.string()).cast(pa.type_for_alias(self.type))


def answer_names(renamed: Mapping[str, str], user: str, title: str) -> dict[str, str]:
    """The name of each of the columns ``ANSWERS``. Errors: InputError for one that there is not, or a name twice."""
    if unknown := sorted(set(renamed) - set(ANSWERS)):
        raise InputError(f"columns: no column {unknown[0]!r} in answers, expected some of {', '.join(ANSWERS)}")
    names = {name: renamed.get(name, name) for name in ANSWERS}
    taken = [user, title, *names.values()]
    if twice := [name for name in taken if taken.count(name) > 1]:
        remedy = "rename one, as in columns={'score': 'logit'}"
        raise InputError(f"columns: {twice[0]!r} would name two columns of an answer; {remedy}")
    return names


def ranked_table(
    users: IdColumn, titles: IdColumn, user_ids: Sequence[str], title_ids: Sequence[str],
    title: np.ndarray, score: np.ndarray, source: Sequence[str], names: Mapping[str, str],
) -> "pa.Table":  # fmt: skip
    """Lists of titles, best first, as rows of user, title, rank from 1, score and ``source`` (n,) of each user.

    ``names`` are those of the last three columns.

    title, score: (n, k) of the ``user_ids`` (n,); rows of ``title_ids``, and below 0 where a list is shorter.
    """
    pa = import_arrow()
    row, rank = np.nonzero(title >= 0)
    columns = {
        users.name: users.array([user_ids[i] for i in row.tolist()]),
        titles.name: titles.array([title_ids[t] for t in title[row, rank].tolist()]),
        names["rank"]: pa.array((rank + 1).astype(np.int64)),
        names["score"]: pa.array(score[row, rank].astype(np.float32)),
        names["source"]: pa.array([source[i] for i in row.tolist()], pa.string()),
    }
    return pa.table(columns)


def with_column(table: "pa.Table", name: str, column: Any) -> "pa.Table":
    """A table with a column, in place of the one of this name if there is one."""
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)


def write_parquet(table: "pa.Table", path: Path) -> Path:
    """Write a table; returns ``path``."""
    import pyarrow.parquet

    pyarrow.parquet.write_table(table, path)
    return path

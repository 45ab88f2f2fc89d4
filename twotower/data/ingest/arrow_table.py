"""Tables that come as Arrow batches: files with typed columns, and what DuckDB or a database makes of a query."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.data.ingest import blocks
from twotower.data.ingest.arrow_columns import LIST_OF_IDS, arrow_texts, is_list
from twotower.data.ingest.blocks import Block, repeated
from twotower.data.ingest.formats import FEATHER, ORC, PARQUET

NAMES = {PARQUET: "Parquet", ORC: "ORC", FEATHER: "Feather"}


class ArrowTable(ABC):
    """``columns`` are the names in order; those of nested columns are dotted paths to their fields."""

    path: Path
    columns: list[str]
    description: str  # how it is read, in a few words
    n_rows = 0  # unknown
    ragged = ""  # there are no such rows

    @abstractmethod
    def batches(self, names: Sequence[str], rows: int | None = None) -> Iterator[Any]:
        """Record batches of these columns, each named once. Errors: InputError for damaged data."""

    @abstractmethod
    def kind(self, name: str) -> Any:
        """The Arrow type of a column."""

    def blocks(self, names: Sequence[str], skip_ragged: bool = False, progress: Progress = silent) -> Iterator[Block]:
        """The columns ``names`` as text, ``BLOCK_ROWS`` rows at a time. Errors: InputError for damaged data."""
        return self._blocks(names, self.texts, blocks.BLOCK_ROWS, progress)

    def fast_blocks(self, names: Sequence[str], progress: Progress = silent) -> Iterator[Block]:
        """The same rows as chunked Arrow columns, up to ``FAST_ROWS`` at a time. Errors: those of ``blocks``."""
        return self._blocks(names, lambda name, column: column, blocks.FAST_ROWS, progress)

    def _blocks(
        self, names: Sequence[str], values: Callable[[str, Any], Any], rows: int, progress: Progress
    ) -> Iterator[Block]:
        start = 0
        for table in gathered(self.batches(list(dict.fromkeys(names)), min(rows, blocks.BATCH_ROWS)), rows):
            yield Block(start, [values(name, table.column(name)) for name in names])
            start += len(table)
            progress(f"reading {self.path.name}, rows", start, self.n_rows)

    def texts(self, name: str, column: Any) -> list[str]:
        """A column as text. Errors: InputError for what is none."""
        from pyarrow import ArrowException

        try:
            return arrow_texts(column)
        except (ArrowException, UnicodeDecodeError) as error:
            raise self.not_text(name, error) from None

    def not_text(self, name: str, error: Exception) -> InputError:
        """The error for a column that cannot be written as text."""
        if isinstance(error, UnicodeDecodeError) or "UTF8" in str(error):
            return InputError(f"{self.path}, column {name!r}: bytes that are not UTF-8, expected text or numbers")
        return InputError(f"{self.path}, column {name!r}: {self.kind(name)}, not readable as text ({error})")

    def check_ids(self, name: str) -> None:
        """Errors: InputError for a column of lists or records, where an id per row is expected."""
        from pyarrow import types

        kind, where = self.kind(name), f"{self.path}, column {name!r}"
        if is_list(kind):
            raise InputError(f"{where}: {LIST_OF_IDS}")
        if types.is_nested(kind) and not types.is_dictionary(kind) and not types.is_run_end_encoded(kind):
            raise InputError(f"{where}: {kind}, expected one id per row; name one of its fields ({name}.FIELD)")

    def check_times(self, name: str) -> None:
        """Errors: InputError for a column of durations, or of times without a day: they would be read as numbers."""
        from pyarrow import types

        kind = self.kind(name)
        if types.is_duration(kind) or types.is_time(kind) or types.is_interval(kind):
            expected = "expected dates, timestamps, numbers or text"
            raise InputError(f"{self.path}, column {name!r}: {kind} without a day; {expected}")

    def where(self, row: int, column: str | None = None) -> str:
        """``FILE, row N, column 'C'`` of a row counted from 0; people count from 1."""
        return f"{self.path}, row {row + 1}" + (f", column {column!r}" if column else "")


class ColumnarFile(ArrowTable):
    """A Parquet, ORC or Feather file."""

    def __init__(self, path: Path, form: str):
        self.path, self.description = path, NAMES[form]
        try:
            from pyarrow import ArrowException, dataset
        except ImportError:
            raise InputError(f"{path}: {NAMES[form]} needs pyarrow: pip install 'twotower[parquet]'") from None
        self._errors = (ArrowException, OSError)
        options = dataset.ParquetFileFormat(
            default_fragment_scan_options=dataset.ParquetFragmentScanOptions(pre_buffer=False)
        )
        try:
            self.data = dataset.dataset(path, format=options if form == PARQUET else form)
            self.n_rows = self.data.count_rows()
        except self._errors as error:
            fault = "two columns have one name" if "duplicate" in str(error) else f"not a readable {NAMES[form]} file"
            raise InputError(f"{path}: {fault} ({error})") from None
        try:
            self.columns = [name for field in self.data.schema for name in leaf_names(field)]
        except UnicodeDecodeError:
            raise InputError(f"{path}: a column's name is not UTF-8; write the file anew with other names") from None
        if twice := repeated(self.columns):
            raise InputError(f"{path}: two columns are called {twice!r}")

    def batches(self, names: Sequence[str], rows: int | None = None) -> Iterator[Any]:
        from pyarrow.compute import field

        top = self.data.schema.names
        columns = {name: field(name) if name in top else field(*name.split(".")) for name in names}
        try:
            yield from self.data.scanner(columns, batch_size=rows or blocks.BLOCK_ROWS, batch_readahead=1).to_reader()
        except self._errors as error:
            raise InputError(f"{self.path}: damaged {self.description} file ({error})") from None

    def kind(self, name: str) -> Any:
        schema = self.data.schema
        if name in schema.names:
            return schema.field(name).type
        root, *path = name.split(".")
        kind = schema.field(root).type
        for step in path:
            kind = kind.field(step).type
        return kind


def gathered(batches: Iterator[Any], rows: int) -> Iterator[Any]:
    """Record batches together as tables of about so many rows, fewer where they have much text."""
    from pyarrow import Table

    held: list[Any] = []
    for batch in batches:
        held.append(batch)
        if sum(map(len, held)) >= rows or sum(part.nbytes for part in held) > blocks.FAST_BYTES:
            yield Table.from_batches(held)
            held = []
    if held:
        yield Table.from_batches(held)


def leaf_names(field: Any, prefix: str = "") -> list[str]:
    """The column's name, or those of a nested one's fields as dotted paths."""
    from pyarrow import types

    if types.is_struct(field.type) and field.type.num_fields:
        return [name for child in field.type for name in leaf_names(child, f"{prefix}{field.name}.")]
    return [prefix + field.name]

"""Parquet files as blocks of columns, with errors that name file, row and column."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.data.ingest import blocks
from twotower.data.ingest.arrow_columns import arrow_texts, arrow_values
from twotower.data.ingest.blocks import Block, repeated
from twotower.data.ingest.columns import Values


class ParquetTable:
    """A Parquet file; ``columns`` are its names in order."""

    def __init__(self, path: Path):
        try:
            import pyarrow.parquet
        except ImportError:
            raise InputError(f"{path}: Parquet needs pyarrow: pip install 'twotower[parquet]'") from None
        self.path = path
        self._errors = (pyarrow.ArrowException, OSError)
        try:
            self.file = pyarrow.parquet.ParquetFile(path, pre_buffer=False)
        except self._errors as error:
            raise InputError(f"{path}: not a readable Parquet file ({error})") from None
        self.columns: list[str] = [name for field in self.file.schema_arrow for name in leaf_names(field)]
        if twice := repeated(self.columns):
            raise InputError(f"{path}: two columns are called {twice!r}")
        self.n_rows: int = self.file.metadata.num_rows

    def blocks(self, names: Sequence[str], skip_ragged: bool = False, progress: Progress = silent) -> Iterator[Block]:
        """The columns ``names`` as text, ``BLOCK_ROWS`` rows at a time. Errors: InputError for damaged data."""
        return self._blocks(names, arrow_texts, blocks.BLOCK_ROWS, progress)

    def fast_blocks(
        self, names: Sequence[str], skip_ragged: bool = False, progress: Progress = silent
    ) -> Iterator[Block]:
        """The same rows without an object per field. Errors: those of ``blocks``."""
        return self._blocks(names, arrow_values, blocks.FAST_ROWS, progress)

    def _blocks(
        self, names: Sequence[str], values: Callable[[Any], list[str] | Values], rows: int, progress: Progress
    ) -> Iterator[Block]:
        start = 0
        for batch in self.batches(list(dict.fromkeys(names)), rows):
            yield Block(start, [self.values(name, self.column(batch, name), values) for name in names])
            start += len(batch)
            progress(f"reading {self.path.name}, rows", start, self.n_rows)

    def values(self, name: str, column: Any, values: Callable[[Any], list[str] | Values]) -> list[str] | Values:
        """A column in the form that ``values`` gives it. Errors: InputError for what cannot be written as text."""
        try:
            return values(column)
        except UnicodeDecodeError:
            raise self.not_text(name) from None
        except self._errors as error:
            if "UTF8" in str(error):
                raise self.not_text(name) from None
            raise InputError(f"{self.path}, column {name!r}: {column.type}, not readable as text ({error})") from None

    def column(self, batch: Any, name: str) -> Any:
        """A column of a batch, or a field of a nested one by its dotted path."""
        import pyarrow.compute

        if name in batch.schema.names:
            return batch.column(name)
        root, *path = name.split(".")
        return pyarrow.compute.struct_field(batch.column(root), path)

    def kind(self, name: str) -> Any:
        """The Arrow type of a column."""
        schema = self.file.schema_arrow
        if name in schema.names:
            return schema.field(name).type
        root, *path = name.split(".")
        kind = schema.field(root).type
        for step in path:
            kind = kind.field(step).type
        return kind

    def check_ids(self, name: str) -> None:
        """Errors: InputError for a column of lists, where an id per row is expected."""
        from pyarrow import types

        if types.is_list(self.kind(name)) or types.is_large_list(self.kind(name)):
            raise InputError(f"{self.path}, column {name!r}: a list per row, expected one id; write one row per item")

    def check_times(self, name: str) -> None:
        """Errors: InputError for a column of durations, or of times without a day: they would be read as numbers."""
        from pyarrow import types

        kind = self.kind(name)
        if types.is_duration(kind) or types.is_time(kind) or types.is_interval(kind):
            expected = "expected dates, timestamps, numbers or text"
            raise InputError(f"{self.path}, column {name!r}: {kind} without a day; {expected}")

    def not_text(self, name: str) -> InputError:
        """The error for a column with bytes that are no text."""
        return InputError(f"{self.path}, column {name!r}: bytes that are not UTF-8, expected text or numbers")

    def batches(self, names: Sequence[str], rows: int | None = None) -> Iterator[Any]:
        """Arrow record batches of some columns. Errors: InputError for damaged data."""
        for group in range(self.file.num_row_groups):
            batches = self.file.iter_batches(rows or blocks.BLOCK_ROWS, row_groups=[group], columns=list(names))
            while True:
                try:
                    batch = next(batches, None)
                except self._errors as error:
                    raise InputError(f"{self.path}: damaged Parquet file ({error})") from None
                if batch is None:
                    break
                yield batch

    def where(self, row: int, column: str | None = None) -> str:
        """``FILE, row N, column 'C'`` of a row counted from 0; people count from 1."""
        return f"{self.path}, row {row + 1}" + (f", column {column!r}" if column else "")


def leaf_names(field: Any, prefix: str = "") -> list[str]:
    """The column's name, or those of a nested one's fields as dotted paths."""
    from pyarrow import types

    if types.is_struct(field.type) and field.type.num_fields:
        return [name for child in field.type for name in leaf_names(child, f"{prefix}{field.name}.")]
    return [prefix + field.name]

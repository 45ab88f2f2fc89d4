"""Arrow arrays as columns of values or texts. Imports pyarrow when called: it is an extra."""

import re
from typing import Any

import numpy as np

from twotower.data.ingest.columns import DictionaryColumn, IntegerColumn, TextColumn, TimeColumn, Values

EXACT = 2.0**53  # floats below hold every whole number
LIST_MARK = "|"  # joins the values of a list, as in Comedy|Drama
_WHOLE = re.compile(r"\.0+$")  # of a decimal without a fraction
SECONDS_A_DAY = 86_400
UNITS_A_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def arrow_texts(column: Any) -> list[str]:
    """Arrow values as text: null as "", whole floats and decimals as integers (ids of a column with NaN, or NUMERIC),
    lists joined by ``|``.
    """
    from pyarrow import string, types

    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if types.is_floating(column.type):
        return ["" if x is None or x != x else number_text(x) for x in column.to_pylist()]
    if types.is_list(column.type) or types.is_large_list(column.type):
        return [LIST_MARK.join(map(str, x or ())) for x in column.to_pylist()]
    texts = [x or "" for x in column.cast(string()).to_pylist()]
    return [_WHOLE.sub("", text) for text in texts] if types.is_decimal(column.type) else texts


def number_text(x: float) -> str:
    """A whole number without its point; from 2**53 on, where floats are rounded, as a float, so that it shows."""
    return str(int(x)) if x.is_integer() and abs(x) < EXACT else repr(x)


def arrow_values(column: Any) -> list[str] | Values:
    """Arrow text, whole numbers, dates and times in their own memory; other types as a list of texts."""
    from pyarrow import ArrowInvalid, int32, int64, types

    kind = column.type
    if types.is_dictionary(kind):
        values = arrow_values(column.dictionary)
        if isinstance(values, TextColumn):
            return DictionaryColumn(values, column.indices.cast(int32()).fill_null(-1).to_numpy())
    elif types.is_string(kind) or types.is_large_string(kind):
        return _texts(column.fill_null("") if column.null_count else column)
    elif types.is_integer(kind):
        try:
            return IntegerColumn(_numbers(column.cast(int64())), _missing(column))
        except ArrowInvalid:  # beyond 63 bits
            pass
    elif types.is_date(kind) or (types.is_timestamp(kind) and kind.tz in (None, "UTC")):
        days = types.is_date32(kind)
        units = 1 if days else SECONDS_A_DAY * UNITS_A_SECOND["ms" if types.is_date64(kind) else kind.unit]
        value = _numbers((column.view(int32()) if days else column).cast(int64()))
        return TimeColumn(value, units, _missing(column), lambda: arrow_texts(column))
    return arrow_texts(column)


def _texts(column: Any) -> TextColumn:
    """A string array without nulls."""
    from pyarrow import types

    _, offsets, data = column.buffers()
    width = np.int64 if types.is_large_string(column.type) else np.int32
    ends = np.frombuffer(offsets, width)[column.offset : column.offset + len(column) + 1].astype(np.int64)
    return TextColumn(np.frombuffer(data or b"", np.uint8), ends[:-1], ends[1:])


def _numbers(column: Any) -> np.ndarray:
    """An int64 array (n,), 0 where missing."""
    return (column.fill_null(0) if column.null_count else column).to_numpy()


def _missing(column: Any) -> np.ndarray | None:
    return column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None

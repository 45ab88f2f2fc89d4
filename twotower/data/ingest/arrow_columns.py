"""Arrow columns as texts or codes. Imports pyarrow when called: it is an extra."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

EXACT = 2.0**53  # floats below hold every whole number
NARROW = {16: (2.0**11, 2), 32: (2.0**24, 6)}  # the same for floats of so many bits, and how many decimals they have
LIST_MARK = "|"  # joins the values of a list, as in Comedy|Drama
LIST_OF_IDS = "a list per row, expected one id; write one row per item (--sql can, with unnest)"
_WHOLE = re.compile(r"\.0+$")  # of a decimal without a fraction


def arrow_texts(column: Any) -> list[str]:
    """Arrow values as text: null as "", whole floats and decimals as integers (ids of a column with NaN, or NUMERIC),
    lists joined by ``|``.
    """
    from pyarrow import large_string, types

    column = plain(column)
    if types.is_floating(column.type):
        limits = NARROW.get(column.type.bit_width, (EXACT, None))
        return ["" if x is None or x != x else number_text(x, *limits) for x in column.to_pylist()]
    if is_list(column.type):
        return [LIST_MARK.join(map(str, x or ())) for x in column.to_pylist()]
    if is_uuid(column.type):
        return [str(x or "") for x in column.to_pylist()]
    if types.is_fixed_size_binary(column.type):  # hashes, not texts
        return ["" if x is None else x.hex() for x in column.to_pylist()]
    texts = [x or "" for x in column.cast(large_string()).to_pylist()]
    return [_WHOLE.sub("", text) for text in texts] if types.is_decimal(column.type) else texts


def number_text(x: float, exact: float = EXACT, decimals: int | None = None) -> str:
    """A whole number without its point; from ``exact`` on, where it is rounded, as a float, so that it shows."""
    if not x.is_integer():
        return repr(x)
    return str(int(x)) if abs(x) < exact else f"{x:.1f}" if decimals is None else f"{x:.{decimals}e}"


def plain(column: Any) -> Any:
    """A column without dictionary, and without what an extension adds to its values, other than UUIDs."""
    from pyarrow import types

    if types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    if hasattr(column.type, "storage_type") and not is_uuid(column.type):
        return column.cast(column.type.storage_type)
    return column


def is_list(kind: Any) -> bool:
    return "list" in str(kind).partition("<")[0]  # of any kind: large, of a fixed size, views


def is_uuid(kind: Any) -> bool:
    return getattr(kind, "extension_name", "") == "arrow.uuid"


Known = dict[Any, tuple[Any, np.ndarray]]  # Arrow type → values of it that have codes, and these (n,) int32


def by_value(column: Any, codes: Callable[[list[str]], np.ndarray], known: Known | None = None) -> np.ndarray:
    """Codes (n,) int32 of a chunked column by those of its distinct values, in order of appearance; -1 where null.

    ``known`` keeps the values of earlier columns, which need not become texts again.
    """
    from pyarrow import ArrowNotImplementedError

    try:
        chunks = plain(column).dictionary_encode().chunks  # they share one dictionary
    except ArrowNotImplementedError:  # lists, UUIDs
        return codes(arrow_texts(column))
    if not chunks:
        return np.empty(0, np.int32)
    index = np.concatenate([chunk.indices.fill_null(-1).to_numpy() for chunk in chunks])
    values = chunks[0].dictionary
    of_each = codes(arrow_texts(values)) if known is None else of_values(values, codes, known)
    return np.append(of_each, np.int32(-1))[index]


def of_values(values: Any, codes: Callable[[list[str]], np.ndarray], known: Known) -> np.ndarray:
    """Codes (n,) int32 of an Arrow array of distinct values; the new ones become known."""
    from pyarrow import ArrowNotImplementedError, compute, concat_arrays

    before, their_codes = known.get(values.type, (values[:0], np.empty(0, np.int32)))
    try:
        place = compute.index_in(values, value_set=before)
    except ArrowNotImplementedError:
        return codes(arrow_texts(values))
    is_new = place.is_null().to_numpy(zero_copy_only=False)
    new = values.filter(place.is_null())
    out = np.empty(len(values), np.int32)
    out[~is_new] = their_codes[place.drop_null().to_numpy()]
    out[is_new] = codes(arrow_texts(new))
    known[values.type] = concat_arrays([before, new]), np.append(their_codes, out[is_new])
    return out

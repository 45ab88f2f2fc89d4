"""Names as codes: texts that differ in white space only get the same code."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from twotower.core.jit import njit
from twotower.data.ingest.cleaning import MISSING, MISSING_IDS, clean, clean_id
from twotower.data.ingest.columns import DictionaryColumn, IntegerColumn, TextColumn, TimeColumn, Values
from twotower.data.ingest.string_table import IntegerTable, StringTable

NONE = -1  # the code of a missing value


class Vocabulary(dict[str, int]):
    """Text → consecutive codes in order of first appearance; missing values have the code ``NONE``.

    A dict with ``__missing__`` is looked up in C: each distinct text is cleaned once, and nothing is
    stored per row. Of other columns than lists of texts, each distinct value becomes a text once.
    """

    def __init__(self, ids: bool = False) -> None:
        """With ``ids``, texts are cleaned by ``clean_id`` and there are more ways to write a missing value."""
        super().__init__()
        self.names: list[str] = []
        self._ids = ids
        self._clean, self._missing = (clean_id, MISSING_IDS) if ids else (clean, MISSING)
        self._texts, self._integers = StringTable(), IntegerTable()
        self._code_of_text, self._code_of_integer = _CodeOf(), _CodeOf()

    def __missing__(self, text: str) -> int:
        name = self._clean(text)
        if name in self._missing:
            code = NONE
        elif name != text:
            code = self[name]
        else:
            code = len(self.names)
            self.names.append(text)
        self[text] = code
        return code

    def codes(self, fields: Sequence[str] | Values) -> np.ndarray:
        """Codes (n,) int32 of ``fields``."""
        if isinstance(fields, TextColumn):
            return self._by_number(fields, self._texts, self._code_of_text)
        if isinstance(fields, IntegerColumn):
            if fields.missing is None:
                return self._by_number(fields, self._integers, self._code_of_integer)
            codes, there = np.full(len(fields), NONE, np.int32), np.flatnonzero(~fields.missing)
            codes[there] = self.codes(IntegerColumn(fields.value[there]))
            return codes
        if isinstance(fields, DictionaryColumn):
            return by_value(fields, self.codes)
        texts = fields.texts() if isinstance(fields, TimeColumn) else fields
        return np.fromiter(map(self.__getitem__, texts), np.int32, len(texts))

    def _by_number(self, fields: Any, distinct: StringTable | IntegerTable, code_of: "_CodeOf") -> np.ndarray:
        """Codes (n,) int32 by numbers of distinct values, of which only new ones become texts."""
        numbers = distinct.numbers(fields)
        if new := distinct.since(len(code_of.codes)):
            # Most ids need no cleaning: then a look at all of them together saves one at each.
            together = "".join(new)
            plain = not self._ids or (".0" not in together and "+" not in together)
            if plain and clean(together) == together and self._missing.isdisjoint(new):
                fresh = new if len(code_of.codes) == len(self) else [text for text in new if text not in self]
                self.update(zip(fresh, range(len(self.names), len(self.names) + len(fresh)), strict=True))
                self.names += fresh
            code_of.extend(self.codes(new))
        return code_of.numbers(numbers)


class _CodeOf:
    """The code of each distinct value's number; mostly both are equal, and nothing is looked up."""

    def __init__(self) -> None:
        self.codes, self.same = np.empty(0, np.int32), True

    def extend(self, codes: np.ndarray) -> None:
        first = len(self.codes)
        self.same = self.same and bool((codes == np.arange(first, first + len(codes))).all())
        self.codes = np.append(self.codes, codes)

    def numbers(self, numbers: np.ndarray) -> np.ndarray:
        return numbers if self.same else self.codes[numbers]


def by_value(fields: DictionaryColumn, codes: Callable[[TextColumn], np.ndarray]) -> np.ndarray:
    """Codes (n,) int32 of a dictionary column by those of its values, in order of first appearance, as of texts."""
    used, place = order_of_appearance(fields.index, len(fields.values))
    return np.append(codes(fields.values.take(used)), np.int32(NONE))[place]


def order_of_appearance(codes: np.ndarray, n_codes: int) -> tuple[np.ndarray, np.ndarray]:
    """The codes that occur, in order of first appearance (n,), and the place of each row's code in it (N,) int32.

    codes: (N,) int32, from 0 to n_codes - 1, or -1, which stays.
    """
    place = np.empty(len(codes), np.int32)
    used = np.empty(n_codes, np.int32)
    n = renumber(place, used, np.full(n_codes, -1, np.int32), codes)
    return used[:n], place


@njit(cache=True, nogil=True)
def renumber(place, used, place_of, codes):
    """Fill place (N,) and used (n_codes,), return how many are used. place_of: (n_codes,) scratch, all -1."""
    n = 0
    for i in range(len(codes)):
        code = codes[i]
        if code < 0:
            place[i] = -1
            continue
        if place_of[code] < 0:
            place_of[code] = n
            used[n] = code
            n += 1
        place[i] = place_of[code]
    return n

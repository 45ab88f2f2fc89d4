"""Names as codes: texts that mean the same, however they are spelled, get the same number."""

from collections.abc import Callable, Sequence

import numpy as np

from twotower.data.logs.fields import Fields, Integers, Moments, Picked, Texts
from twotower.data.logs.spellings import Numerals, Spellings
from twotower.data.logs.tables import MISSING, clean
from twotower.jit import njit

NONE = -1  # the code of a missing value


class Names(dict[str, int]):
    """Text → consecutive codes in order of first appearance; missing values have the code ``NONE``.

    A dict with ``__missing__`` is looked up in C: text is cleaned once for each distinct spelling, and nothing
    is kept for a row. Of fields that are no list of texts each distinct value becomes a text once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self._texts, self._integers = Spellings(), Numerals()
        self._code_of_text = self._code_of_integer = np.empty(0, np.int32)  # spelling number → code

    def __missing__(self, text: str) -> int:
        name = clean(text)
        if name in MISSING:
            code = NONE
        elif name != text:
            code = self[name]
        else:
            code = len(self.names)
            self.names.append(text)
        self[text] = code
        return code

    def codes(self, fields: Sequence[str] | Fields) -> np.ndarray:
        """Codes (n,) int32 of ``fields``."""
        if isinstance(fields, Texts):
            numbers = self._texts.numbers(fields)
            self._code_of_text = self._extended(self._code_of_text, self._texts.since)
            return self._code_of_text[numbers]
        if isinstance(fields, Integers):
            if fields.missing is not None and fields.missing.any():
                codes = np.full(len(fields), NONE, np.int32)
                there = np.flatnonzero(~fields.missing)
                codes[there] = self.codes(fields.take(there))
                return codes
            numbers = self._integers.numbers(fields)
            self._code_of_integer = self._extended(self._code_of_integer, self._integers.since)
            return self._code_of_integer[numbers]
        if isinstance(fields, Picked):
            return by_value(fields, self.codes)
        texts = fields.texts() if isinstance(fields, Moments) else fields
        return np.fromiter(map(self.__getitem__, texts), np.int32, len(texts))

    def _extended(self, known: np.ndarray, since: Callable[[int], list[str]]) -> np.ndarray:
        """The codes of spellings with those of the ones that are new."""
        new = since(len(known))
        return np.append(known, self.codes(new)) if new else known


def by_value(fields: Picked, codes: Callable[[Texts], np.ndarray]) -> np.ndarray:
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

"""Names as codes: texts that differ in white space only get the same code."""

from typing import Any

import numpy as np

from twotower.core.jit import njit
from twotower.data.ingest.arrow_columns import Known, by_value
from twotower.data.ingest.cleaning import MISSING, MISSING_IDS, clean, clean_id

NONE = -1  # the code of a missing value


class Vocabulary(dict[str, int]):
    """Text → consecutive codes in order of first appearance; missing values have the code ``NONE``.

    A dict with ``__missing__`` is looked up in C: each distinct text is cleaned once, and nothing is
    stored per row.
    """

    def __init__(self, ids: bool = False, missing: frozenset[str] = MISSING) -> None:
        """With ``ids``, texts are cleaned by ``clean_id``, and those of ``MISSING_IDS`` are missing."""
        super().__init__()
        self.names: list[str] = []
        self.markers: set[str] = set()  # words for a missing value that were met
        self._known: Known = {}
        self._clean, self._missing = (clean_id, MISSING_IDS) if ids else (clean, missing)

    def __missing__(self, text: str) -> int:
        name = self._clean(text)
        if name in self._missing:
            code = NONE
            self.markers |= {name} - {""}
        elif name != text:
            code = self[name]
        else:
            code = len(self.names)
            self.names.append(text)
        self[text] = code
        return code

    def codes(self, values: list[str] | Any) -> np.ndarray:
        """Codes (n,) int32 of texts, or of an Arrow column."""
        if isinstance(values, list):
            return np.fromiter(map(self.__getitem__, values), np.int32, len(values))
        return by_value(values, self.codes, self._known)


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

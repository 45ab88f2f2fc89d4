"""Texts of a log made comparable: white space, Unicode forms, missing values, ids that met a floating-point column."""

import re
import unicodedata

from twotower.data.ingest.arrow_columns import EXACT

_WHOLE, _EXPONENT = re.compile(r"\d+\.0+"), re.compile(r"\d(\.\d+)?[eE]\+\d+")
#: How tools write a missing value, here and below in any case. Not "NA", which is Namibia.
_WORDS = (
    "", "nan", "-nan", "NaN", "-NaN", "1.#QNAN", "1.#IND", "NaT", "null", "#NULL!", "<null>", "(null)", "[null]", "nil",
    "None", "(none)", "<NA>", "N/A", "#N/A", "#N/A N/A", "N.A.", "#VALUE!", "#REF!", "#DIV/0!", "undefined", "not set",
    "(not set)", "(not provided)", r"\N", "?", "[]", "{}",
)  # fmt: skip
INVISIBLE = dict.fromkeys((0x200B, 0x2060, 0xFEFF))  # zero-width spaces and byte-order marks
MISSING = frozenset(form(word) for word in _WORDS for form in (str, str.lower, str.upper, str.title))
MISSING_IDS = MISSING | {"NA", "na", "Na", "#NA", "-", "--", "."}


def clean(text: str) -> str:
    """Text in Unicode's composed form (NFC), without zero-width characters, each run of white space as one space, and
    none at the ends.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text.translate(INVISIBLE))
    return " ".join(text.split())


class LostDigitsError(ValueError):
    """An id was written as a floating-point number too large to be exact."""


def clean_id(text: str) -> str:
    """An id as ``clean`` text; ``5.0``, a whole number that met a missing value, is ``5``.

    Raises LostDigitsError for floating-point numbers from 2**53 on: several ids may have become one.
    """
    text = clean(text)
    if (text.endswith("0") and _WHOLE.fullmatch(text)) or ("+" in text and _EXPONENT.fullmatch(text)):
        if float(text) >= EXACT:
            raise LostDigitsError(text)
        return str(int(float(text))) if "+" not in text else text
    return text

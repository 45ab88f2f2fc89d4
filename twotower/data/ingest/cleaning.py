"""Texts of a log made comparable: white space, Unicode forms, missing values, ids that met a floating-point column."""

import re
import unicodedata
from decimal import Decimal

from twotower.data.ingest.arrow_columns import EXACT

_WHOLE = re.compile(r"-?\d+\.0+")
#: A number with an exponent; without point and sign it may be hexadecimal, as 12e5 is.
_EXPONENT = re.compile(r"-?\d(?:(?:\.(\d+))?[eE]\+|\.(\d+)[eE])(\d+)")
#: How tools write a missing value, here and below in any case. Not "NA", which is Namibia.
_WORDS = (
    "", "nan", "-nan", "NaN", "-NaN", "1.#QNAN", "1.#IND", "NaT", "null", "#NULL!", "<null>", "(null)", "[null]", "nil",
    "None", "(none)", "<NA>", "N/A", "#N/A", "#N/A N/A", "N.A.", "#VALUE!", "#REF!", "#DIV/0!", "undefined", "not set",
    "(not set)", "(not provided)", "(blank)", "(empty)", "[none]", "-nan(ind)", "not available", r"\N", "?", "[]", "{}",
    "#NA", "-", "--", "---", ".", "..", "00000000-0000-0000-0000-000000000000",
)  # fmt: skip
INVISIBLE = dict.fromkeys((0x200B, 0x2060, 0xFEFF))  # zero-width spaces and byte-order marks
MISSING = frozenset(form(word) for word in _WORDS for form in (str, str.lower, str.upper, str.title))
MISSING_IDS = MISSING | {"NA", "na", "Na"}


def clean(text: str) -> str:
    """Text in Unicode's composed form (NFC), without zero-width characters, each run of white space as one space, and
    none at the ends.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text.translate(INVISIBLE))
    return " ".join(text.split())


class LostDigitsError(ValueError):
    """An id was written as a floating-point number that is not exact."""


def clean_id(text: str) -> str:
    """An id as ``clean`` text; ``5.0``, a whole number that met a missing value, is ``5``, and ``1.25E+2`` is ``125``.

    Raises LostDigitsError for numbers that are not exact, because several ids may have become one: those from 2**53
    on, and those with fewer digits than their exponent has places.
    """
    text = clean(text)
    if "." not in text and "+" not in text:
        return text
    digits = 0 if _WHOLE.fullmatch(text) else lost_digits(text)
    if digits is None:
        return text
    if digits or abs(float(text)) >= EXACT:
        raise LostDigitsError(text)
    return f"{Decimal(text).normalize():f}"


def lost_digits(text: str) -> int | None:
    """How many digits before the point are missing in a number with an exponent; None for other texts."""
    match = _EXPONENT.fullmatch(text)
    return match and max(0, int(match[3]) - len(match[1] or match[2] or ""))

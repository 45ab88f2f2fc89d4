"""Texts of a log made comparable: white space, Unicode forms, missing values, ids that met a floating-point column."""

import re
import unicodedata

from twotower.data.ingest.arrow_columns import EXACT

_WHOLE, _EXPONENT = re.compile(r"\d+\.0+"), re.compile(r"\d(\.\d+)?[eE]\+\d+")
#: How tools write a missing value. Not "NA", which is Namibia.
MISSING = frozenset(
    ("", "nan", "NaN", "NAN", "null", "Null", "NULL", "None", "<NA>", "N/A", "n/a", "#N/A", "NaT", "undefined",
     "(null)", "<null>", "[NULL]", "(not set)", r"\N")
)  # fmt: skip
MISSING_IDS = MISSING | {"NA", "none", "NONE", "-"}


def clean(text: str) -> str:
    """Text in Unicode's composed form (NFC), each run of white space as one space, and none at the ends."""
    text = " ".join(text.split())
    return text if text.isascii() else unicodedata.normalize("NFC", text)


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

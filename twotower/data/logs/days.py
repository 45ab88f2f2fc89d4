"""Read times as calendar days, whatever way a log writes them."""

import re
from collections.abc import Sequence
from datetime import date, datetime

import numpy as np

EPOCH_DAY = date(1970, 1, 1).toordinal()
SECONDS_A_DAY = 86_400
UNREADABLE = -1  # no date: ordinals start at 1
CACHED_TIMES = 4_096  # forgotten between blocks once there are more: times to the second hardly repeat

_ISO = re.compile(r"(\d{4}-\d\d-\d\d)([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?\s?(Z|UTC|[+-]\d\d(:?\d\d)?)?)?")
_NUMBER = re.compile(r"\d+(\.\d*)?([eE]\+?\d+)?")


class Days(dict[str, int]):
    """Time as text → day as a proleptic ordinal (1 is 0001-01-01), worked out once for each distinct text.

    Read are ISO 8601 dates and datetimes, of which the day counts as it is written, in its own time zone;
    YYYYMMDD; and numbers from 0, by their size: below 100 000 they count days, then seconds, milli-, micro-
    and nanoseconds since 1970 (UTC). A ``form`` as of ``datetime.strptime`` replaces all this.
    """

    def __init__(self, form: str | None = None):
        super().__init__()
        self.form = form

    def __missing__(self, text: str) -> int:
        try:
            day = datetime.strptime(text.strip(), self.form).toordinal() if self.form else _day(text.strip())
        except (ValueError, OverflowError):
            day = UNREADABLE
        self[text] = day
        return day

    def codes(self, texts: Sequence[str]) -> np.ndarray:
        """Days (n,) int32 of ``texts``; ``UNREADABLE`` where there is no telling."""
        if len(self) > CACHED_TIMES:
            self.clear()
        return np.fromiter(map(self.__getitem__, texts), np.int32, len(texts))


def _day(text: str) -> int:
    """One time as an ordinal. Errors: ValueError."""
    if iso := _ISO.fullmatch(text):
        return date.fromisoformat(iso[1]).toordinal()
    if len(text) == 8 and text.isdecimal():
        return date(int(text[:4]), int(text[4:6]), int(text[6:])).toordinal()
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    number = float(text)
    if number < 1e5:
        return EPOCH_DAY + int(number)
    for limit in (1e11, 1e14, 1e17, 1e20):  # seconds up to the year 5138; each finer unit starts where they end
        if number < limit:
            return EPOCH_DAY + int(number * (1e11 / limit) // SECONDS_A_DAY)
    raise ValueError(text)

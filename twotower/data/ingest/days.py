"""Times in the formats of logs → calendar days."""

import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np

from twotower.data.ingest.arrow_columns import by_value, plain

EPOCH_DAY = date(1970, 1, 1).toordinal()
UNREADABLE = -1  # no date: ordinals start at 1
#: Formats to suggest for a time that is in none of these.
FORMATS = (
    *(
        f"{day}{clock}"
        for day in ("%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d/%m/%y", "%m/%d/%y", "%d.%m.%Y", "%d.%m.%y", "%d-%m-%Y",
                    "%m-%d-%Y", "%Y.%m.%d", "%y%m%d", "%Y%m", "%d %b %Y", "%b %d, %Y", "%d-%b-%Y", "%d-%b-%y", "%Y-%m")
        for clock in ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
    ),
    "%Y-%m-%d %I:%M %p", "%Y-%m-%d %I:%M:%S %p", "%Y%m%dT%H%M%S", "%Y%m%dT%H%M%SZ", "%d%m%Y", "%Y-%j", "%Y_%m_%d",
    "%d/%b/%Y:%H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %Z", "%a %b %d %H:%M:%S %Z %Y",
)  # fmt: skip
CACHED_TIMES = 4_096  # cleared between blocks once there are more: times to the second hardly repeat

_CLOCK = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?\s?(Z|UTC|[+-][0-9]{2}(:?[0-9]{2})?)?"
_ISO = rf"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})([T ]{_CLOCK})?"
_NUMBER = r"[0-9]+(\.[0-9]*)?([eE]\+?[0-9]+)?"
#: Counts since 1970: from, below, and how many are a day. Six digits are none: YYMMDD, YYYYMM or seconds.
COUNTS = ((0, 1e5, 1.0), (1e6, 1e11, 86_400.0), (1e11, 1e14, 86_400e3), (1e14, 1e17, 86_400e6), (1e17, 1e20, 86_400e9))
#: Dates in digits: from, below, and how many digits of the clock follow YYYYMMDD.
DIGITS = ((1e7, 1e8, 0), (1.9e9, 1e10, 2), (1.9e11, 2.2e11, 4), (1.9e13, 2.2e13, 6))
_iso, _number = re.compile(_ISO), re.compile(_NUMBER)


class Days(dict[str, int]):
    """Time as text → day as a proleptic ordinal (1 is 0001-01-01), computed once per distinct text.

    Read are ISO 8601 dates and datetimes, whose day counts as it is written, in its own time zone; digits that are a
    date, YYYYMMDD, YYYYMMDDHH, YYYYMMDDHHMM and YYYYMMDDHHMMSS, also with ``.0`` after them; and other numbers from 0,
    by their size: below 100 000 they count days, from a million on seconds, milli-, micro- and nanoseconds since 1970
    (UTC). Six digits are refused: YYMMDD, YYYYMM and seconds look alike. A ``form`` as of ``datetime.strptime``
    replaces all this.
    """

    def __init__(self, form: str | None = None):
        super().__init__()
        self.form = form

    def __missing__(self, text: str) -> int:
        try:
            if self.form:
                day = datetime.strptime(text.strip(), self.form).toordinal()
            else:
                iso = _iso.fullmatch(text.strip())
                day = date.fromisoformat(iso[1]).toordinal() if iso else UNREADABLE
        except (ValueError, OverflowError):
            day = UNREADABLE
        self[text] = day
        return day

    def codes(self, values: list[str] | Any) -> np.ndarray:
        """Days (n,) int32 of texts, or of an Arrow column; ``UNREADABLE`` where that is not clear."""
        if not isinstance(values, list):
            return self._of_arrow(values)
        if len(self) > CACHED_TIMES:
            self.clear()
        if not self.form:
            numbers = [text for text in set(values).difference(self) if _number.fullmatch(text.strip())]
            self.update(zip(numbers, number_days(map(float, numbers)).tolist(), strict=True))
        return np.fromiter(map(self.__getitem__, values), np.int32, len(values))

    def _of_arrow(self, column: Any) -> np.ndarray:
        """The days of an Arrow column. Dates and numbers are converted together, texts once per distinct value."""
        import pyarrow as pa
        from pyarrow import compute, types

        column = plain(column)
        kind = column.type
        if self.form or types.is_decimal(kind) or types.is_boolean(kind):
            return by_value(column, self.codes)
        if types.is_timestamp(kind) or types.is_date(kind):
            if types.is_timestamp(kind) and kind.tz:
                column = compute.local_timestamp(column)
            day = (
                column.cast(pa.date32()).cast(pa.int32()).cast(pa.int64()).fill_null(-EPOCH_DAY).to_numpy() + EPOCH_DAY
            )
            return np.where((day > 0) & (day <= date.max.toordinal()), day, UNREADABLE).astype(np.int32)
        if types.is_integer(kind) or types.is_floating(kind):
            return number_days(column.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy())
        if types.is_string(kind) or types.is_large_string(kind):
            column = compute.utf8_trim_whitespace(column)
            iso, number = (
                compute.match_substring_regex(column, f"^{form}$").fill_null(False) for form in (_ISO, _NUMBER)
            )
            days = compute.if_else(iso, compute.utf8_slice_codeunits(column, 0, 10), column)
            out = np.empty(len(column), np.int32)
            is_number = number.to_numpy()
            out[is_number] = number_days(column.filter(number).cast(pa.float64()).to_numpy())
            out[~is_number] = by_value(days.filter(compute.invert(number)), self.codes)
            return out
        return by_value(column, self.codes)


def fitting_formats(texts: Sequence[str]) -> list[str]:
    """The formats to suggest for some texts: those that all of them have."""

    def fits(form: str) -> bool:
        try:
            return all(datetime.strptime(text.strip(), form) for text in texts)
        except ValueError:
            return False

    return [form for form in FORMATS if fits(form)]


def number_days(numbers: Iterable[float] | np.ndarray) -> np.ndarray:
    """Days (n,) int32 of numbers, which are dates in digits or counts; ``UNREADABLE`` where neither is clear.

    Eight digits always are a date. Ten are one where seconds since 1970 would lie after 2030, twelve and fourteen where
    milliseconds would lie before 1990 or after 2600. Counts have a unit by their size: days, then seconds up to the
    year 5138, and each finer unit starts where the coarser one ends.
    """
    x = numbers if isinstance(numbers, np.ndarray) else np.fromiter(numbers, np.float64)
    day = np.full(len(x), UNREADABLE, np.int32)
    for low, high, per_day in COUNTS:
        counts = (x >= low) & (x < high)
        day[counts] = EPOCH_DAY + x[counts] // per_day
    for low, high, clock_digits in DIGITS:
        rows = np.flatnonzero((x >= low) & (x < high) & (x == np.floor(x)))
        digits, clock = np.divmod(x[rows].astype(np.int64), 10**clock_digits)
        clock *= 10 ** (6 - clock_digits)  # HHMMSS
        year, month, of_month = digits // 10000, digits // 100 % 100, digits % 100
        good = (month >= 1) & (month <= 12) & (of_month >= 1) & (of_month <= 31)
        is_date = good & (year >= 1900) & (year < 2200) if clock_digits else np.ones(len(rows), bool)
        is_date &= (clock < 240000) & (clock % 10000 < 6000) & (clock % 100 < 60)
        first = ((year - 1970) * 12 + month - 1).astype("M8[M]")
        on = first.astype("M8[D]") + (of_month - 1)
        good &= (year > 0) & (on.astype("M8[M]") == first)
        day[rows[is_date]] = np.where(good, on.astype(np.int64) + EPOCH_DAY, UNREADABLE)[is_date]
    return day

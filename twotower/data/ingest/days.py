"""Times in the formats of logs → calendar days."""

import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timezone
from typing import Any

import numpy as np

from twotower.core.errors import InputError
from twotower.data.ingest.arrow_columns import NARROW, by_value, plain
from twotower.data.ingest.cleaning import lost_digits

EPOCH_DAY, EXCEL_DAY = date(1970, 1, 1).toordinal(), date(1899, 12, 30).toordinal()
UNREADABLE = -1  # no date: ordinals start at 1
#: Formats to suggest for a time that is in none of these.
FORMATS = (
    *(
        f"{day}{clock}"
        for day in ("%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d/%m/%y", "%m/%d/%y", "%d.%m.%Y", "%d.%m.%y", "%d-%m-%Y",
                    "%m-%d-%Y", "%Y.%m.%d", "%Y-%m-%d", "%y%m%d", "%Y%m", "%Y%m%d", "%d %b %Y", "%b %d, %Y", "%d %B %Y",
                    "%B %d, %Y", "%d-%b-%Y", "%d-%b-%y", "%Y-%m")
        for clock in ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", ", %I:%M:%S %p", ", %I:%M %p", " %H")
    ),
    "%Y%m%dT%H%M%S", "%Y%m%dT%H%M%SZ", "%d%m%Y", "%Y-%j", "%Y%j", "%Y_%m_%d", "%G-W%V-%u", "%GW%V%u", "%Y-%m-%dT%H",
    "%d/%b/%Y:%H:%M:%S %z", "[%d/%b/%Y:%H:%M:%S %z]", "%a, %d %b %Y %H:%M:%S %Z", "%a, %d %b %Y %H:%M:%S %z",
    "%a %b %d %H:%M:%S %Z %Y", "%a %b %d %H:%M:%S %Y", "%Y年%m月%d日",
)  # fmt: skip
CACHED_TIMES = 4_096  # cleared between blocks once there are more: times to the second hardly repeat

_ZONE = r"([zZ]|[A-Z]{3,5}|[+-][0-9]{2}(:?[0-9]{2})?)?(\s?\[?[A-Z][A-Za-z]+/[A-Za-z_/+-]+\]?)?"
_CLOCK = rf"[0-9]{{2}}:[0-9]{{2}}(:[0-9]{{2}}([.,][0-9]+)?)?\s?{_ZONE}"
_ISO = rf"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})([Tt ]{_CLOCK})?"
_NUMBER = r"[0-9]+(\.[0-9]*)?"
#: Counts: from, below, how many are a day, since which day, and what they are called. Six digits are none (YYMMDD,
#: YYYYMM or seconds), and neither are seven (YYYYDDD).
COUNTS = (
    (0, 32_874, 1.0, EPOCH_DAY, "days since 1970"),
    (32_874, 73_051, 1.0, EXCEL_DAY, "days of Excel, since 1899-12-30"),  # from 1990 up to 2100
    (1e7, 1e11, 86_400.0, EPOCH_DAY, "seconds since 1970"),
    (1e11, 1e14, 86_400e3, EPOCH_DAY, "milliseconds since 1970"),
    (1e14, 1e17, 86_400e6, EPOCH_DAY, "microseconds since 1970"),
    (1e17, 1e20, 86_400e9, EPOCH_DAY, "nanoseconds since 1970"),
)
#: Dates in digits: from, below, and how many digits of the clock follow YYYYMMDD.
DIGITS = ((1e7, 1e8, 0), (1.9e9, 1e10, 2), (1.9e11, 2.2e11, 4), (1.9e13, 2.2e13, 6))
DATES = "dates as they are written"
MOST_ROUNDED = 100 / 86_400  # days that a time with an exponent may be off
_iso, _number = re.compile(_ISO), re.compile(_NUMBER)


class Days(dict[str, int]):
    """Time as text → day as a proleptic ordinal (1 is 0001-01-01), computed once per distinct text.

    Read are ISO 8601 dates and datetimes, whose day counts as it is written, in its own time zone; digits that are a
    date, YYYYMMDD, YYYYMMDDHH, YYYYMMDDHHMM and YYYYMMDDHHMMSS, also with ``.0`` after them; and other numbers from 0,
    by their size, as ``COUNTS`` says (UTC). A ``form`` as of ``datetime.strptime`` replaces all this.

    ``readings`` are the ways in which times were read.
    """

    def __init__(self, form: str | None = None):
        super().__init__()
        self.form = form
        self.readings: dict[str, None] = {}

    def __missing__(self, text: str) -> int:
        day, stripped = UNREADABLE, text.strip()
        try:
            if self.form:
                day = datetime.strptime(stripped, self.form).toordinal()
            elif iso := _iso.fullmatch(stripped):
                day = date.fromisoformat(iso[1]).toordinal()
                self.readings[DATES] = None
            elif (lost := lost_digits(stripped)) is not None and is_exact_enough(float(stripped), lost):
                day = int(number_days([float(stripped)], self.readings)[0])
        except (ValueError, OverflowError):
            pass
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
            self.update(zip(numbers, number_days(map(float, numbers), self.readings).tolist(), strict=True))
        return np.fromiter(map(self.__getitem__, values), np.int32, len(values))

    def _of_arrow(self, column: Any) -> np.ndarray:
        """The days of an Arrow column. Dates and numbers are converted together, texts once per distinct value."""
        import pyarrow as pa
        from pyarrow import compute, types

        column = plain(column)
        kind = column.type
        if self.form or types.is_decimal(kind) or types.is_boolean(kind):
            return by_value(column, self.codes)
        if types.is_floating(kind) and kind.bit_width in NARROW:
            return by_value(column, self.codes)
        if types.is_timestamp(kind) or types.is_date(kind):
            self.readings[DATES] = None
            if types.is_timestamp(kind) and kind.tz:
                column = compute.local_timestamp(column)
            since_1970 = column.cast(pa.date32()).cast(pa.int32()).fill_null(-EPOCH_DAY).to_numpy()
            last = date.max.toordinal() - EPOCH_DAY
            if not len(since_1970) or (since_1970.min() > -EPOCH_DAY and since_1970.max() <= last):
                return since_1970 + np.int32(EPOCH_DAY)
            readable = (since_1970 > -EPOCH_DAY) & (since_1970 <= last)
            return np.where(readable, np.where(readable, since_1970, 0) + EPOCH_DAY, UNREADABLE).astype(np.int32)
        if types.is_integer(kind) or types.is_floating(kind):
            return number_days(column.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(), self.readings)
        if types.is_string(kind) or types.is_large_string(kind):
            column = compute.utf8_trim_whitespace(column)
            iso, number = (
                compute.match_substring_regex(column, f"^{form}$").fill_null(False) for form in (_ISO, _NUMBER)
            )
            days = compute.if_else(iso, compute.utf8_slice_codeunits(column, 0, 10), column)
            out = np.empty(len(column), np.int32)
            is_number = number.to_numpy()
            out[is_number] = number_days(column.filter(number).cast(pa.float64()).to_numpy(), self.readings)
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


def check_format(form: str) -> None:
    """Errors: InputError for a format that says no day: strptime would take the first of January 1900 for it."""
    days = [datetime(2023, month, 28, 9, tzinfo=timezone.utc) for month in (3, 11)]
    try:
        read = [datetime.strptime(day.strftime(form), form) for day in days]
    except ValueError as error:
        raise InputError(f"--time-format {form!r}: {error}; expected one such as '%d/%m/%Y %H:%M'") from None
    months = form == "%Y" or read[0].toordinal() != read[1].toordinal()
    if read[0].year != 2023 or not months:
        lacks = "no year" if read[0].year != 2023 else "a year without a day"
        raise InputError(f"--time-format {form!r}: {lacks}; expected one such as '%d/%m/%Y %H:%M'")


def is_exact_enough(number: float, lost: int) -> bool:
    """Whether a time with an exponent, which has so many digits fewer than places, still says its day."""
    per_day = next((per_day for low, high, per_day, *_ in COUNTS if low <= number < high), 1.0)
    return not lost or (number >= 1e8 and 10.0**lost <= MOST_ROUNDED * per_day)


def number_days(numbers: Iterable[float] | np.ndarray, readings: dict[str, None] | None = None) -> np.ndarray:
    """Days (n,) int32 of numbers, which are dates in digits or counts; ``UNREADABLE`` where neither is clear.

    Eight digits always are a date. Ten are one where seconds since 1970 would lie after 2030, twelve and fourteen where
    milliseconds would lie before 1990 or after 2600. Counts have a unit by their size (``COUNTS``): days, then seconds
    up to the year 5138, and each finer unit starts where the coarser one ends.

    readings: those that occur are added.
    """
    x = numbers if isinstance(numbers, np.ndarray) else np.fromiter(numbers, np.float64)
    day = np.full(len(x), UNREADABLE, np.int32)
    dates = np.zeros(len(x), bool)
    readings = {} if readings is None else readings
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
        dates[rows[is_date]] = True
        if (good & is_date).any():
            readings["YYYYMMDDHHMMSS"[: 8 + clock_digits]] = None
    for low, high, per_day, first_day, name in COUNTS:
        counts = (x >= low) & (x < high) & ~dates
        if counts.any():
            day[counts] = first_day + x[counts] // per_day
            readings[name] = None
    return day

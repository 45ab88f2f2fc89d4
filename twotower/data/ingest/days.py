"""Times in the formats of logs → calendar days."""

import re
from collections.abc import Sequence
from datetime import date, datetime

import numpy as np

from twotower.core.jit import njit
from twotower.data.ingest.columns import DictionaryColumn, IntegerColumn, TextColumn, TimeColumn, Values
from twotower.data.ingest.string_table import StringTable
from twotower.data.ingest.vocabulary import by_value

EPOCH_DAY = date(1970, 1, 1).toordinal()
SECONDS_A_DAY = 86_400
UNREADABLE = -1  # no date: ordinals start at 1
LAST_DAY = date.max.toordinal()
#: Formats to suggest for a time that is in none of these.
FORMATS = tuple(
    f"{day}{clock}"
    for day in ("%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d/%m/%y", "%m/%d/%y", "%d.%m.%Y", "%d.%m.%y", "%d-%m-%Y",
                "%m-%d-%Y", "%Y.%m.%d", "%y%m%d", "%Y%m", "%d %b %Y", "%b %d, %Y", "%d-%b-%Y", "%d-%b-%y", "%Y-%m")
    for clock in ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
)  # fmt: skip
CACHED_TIMES = 4_096  # cleared between blocks once there are more: times to the second hardly repeat

_ISO = re.compile(r"(\d{4}-\d\d-\d\d)([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?\s?(Z|UTC|[+-]\d\d(:?\d\d)?)?)?")
_NUMBER = re.compile(r"\d+(\.\d*)?([eE]\+?\d+)?")
_UNSURE = -2  # what kernels leave to the expressions above
_ZERO, _COLON, _MINUS, _DOT, _COMMA, _SPACE, _T, _Z = (ord(c) for c in "0:-., TZ")
_DIGITS = 18  # at most: what certainly fits into 64 bits
_FRACTION, _EXACT = 6, 4e9  # digits after the point that cannot round seconds below 4e9 up to a whole one


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
            day = datetime.strptime(text.strip(), self.form).toordinal() if self.form else _day(text.strip())
        except (ValueError, OverflowError):
            day = UNREADABLE
        self[text] = day
        return day

    def codes(self, fields: Sequence[str] | Values) -> np.ndarray:
        """Days (n,) int32 of ``fields``; ``UNREADABLE`` where that is not clear."""
        if isinstance(fields, DictionaryColumn):
            return by_value(fields, self.codes)
        if isinstance(fields, TextColumn):
            return self._of_texts(fields)
        if isinstance(fields, TimeColumn | IntegerColumn) and self.form is None:
            days = np.empty(len(fields), np.int32)
            if isinstance(fields, TimeColumn):
                days_of_times(days, fields.value, fields.units_a_day)
            else:
                days_of_integers(days, fields.value)
            if fields.missing is not None:
                days[fields.missing] = UNREADABLE
            return days
        if len(self) > CACHED_TIMES:
            self.clear()
        texts = fields.texts() if isinstance(fields, TimeColumn | IntegerColumn) else fields
        return np.fromiter(map(self.__getitem__, texts), np.int32, len(texts))

    def _of_texts(self, texts: TextColumn) -> np.ndarray:
        """The usual formats by a kernel; the others once per distinct text."""
        days = np.full(len(texts), _UNSURE, np.int32)
        if self.form is None:
            read_days(days, texts.data, texts.start, texts.end)
        rows = np.flatnonzero(days == _UNSURE)
        if len(rows):
            others = StringTable()
            numbers = others.numbers(texts.take(rows))
            days[rows] = self.codes(others.since(0))[numbers]
        return days


def fitting_formats(texts: Sequence[str]) -> list[str]:
    """The formats to suggest for some texts: those that all of them have."""

    def fits(form: str) -> bool:
        try:
            return all(datetime.strptime(text.strip(), form) for text in texts)
        except ValueError:
            return False

    return [form for form in FORMATS if fits(form)]


def _day(text: str) -> int:
    """One time as an ordinal. Errors: ValueError."""
    if iso := _ISO.fullmatch(text):
        return date.fromisoformat(iso[1]).toordinal()
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    digits = _written_date(float(text))
    if digits:
        return date(digits // 10000, digits // 100 % 100, digits % 100).toordinal()
    return _number_day(float(text))


def _written_date(number: float) -> int:
    """YYYYMMDD of a number whose digits are a date, with hour, minute and second or without; 0 for a count.

    Eight digits always are. Ten are one where seconds since 1970 would lie after 2030, twelve and fourteen where
    milliseconds would lie before 1990 or after 2600.
    """
    if number != np.floor(number) or number >= 1e14:
        return 0
    if 1e7 <= number < 1e8:
        return int(number)
    if 1.9e9 <= number < 1e10:
        digits, clock = int(number) // 100, int(number) % 100 * 10000
    elif 1.9e11 <= number < 2.2e11:
        digits, clock = int(number) // 10000, int(number) % 10000 * 100
    elif 1.9e13 <= number < 2.2e13:
        digits, clock = int(number) // 1000000, int(number) % 1000000
    else:
        return 0
    good = 1900 <= digits // 10000 < 2200 and 1 <= digits // 100 % 100 <= 12 and 1 <= digits % 100 <= 31
    return digits if good and clock < 240000 and clock % 10000 < 6000 and clock % 100 < 60 else 0


def _number_day(number: float) -> int:
    """A number from 0 up as an ordinal, by its size."""
    if number < 1e5:
        return EPOCH_DAY + int(number)
    if number < 1e6:  # YYMMDD, YYYYMM or seconds
        return UNREADABLE
    for limit in (1e11, 1e14, 1e17, 1e20):  # seconds up to the year 5138; each finer unit starts where they end
        if number < limit:
            return EPOCH_DAY + int(number * (1e11 / limit) // SECONDS_A_DAY)
    return UNREADABLE


number_day = njit(cache=True, nogil=True)(_number_day)
written_date = njit(cache=True, nogil=True)(_written_date)


@njit(cache=True, nogil=True)
def day_of(number):
    """The day of a number, as a date in digits or as a count."""
    digits = written_date(number)
    if digits > 0:
        return ordinal(digits // 10000, digits // 100 % 100, digits % 100)
    return number_day(number)


@njit(cache=True, nogil=True)
def ordinal(year, month, day):
    """The proleptic ordinal of a date, ``UNREADABLE`` where there is no such date."""
    if year < 1 or month < 1 or month > 12 or day < 1 or day > 31:
        return UNREADABLE
    leap = (year % 4 == 0 and year % 100 != 0) or year % 400 == 0
    if day > (29 if leap else 28) and month == 2:
        return UNREADABLE
    if day == 31 and (month == 4 or month == 6 or month == 9 or month == 11):
        return UNREADABLE
    y, m = (year - 1, month + 9) if month < 3 else (year, month - 3)  # years from March on: leap days come last
    return 365 * y + y // 4 - y // 100 + y // 400 + (153 * m + 2) // 5 + day - 306


@njit(cache=True, nogil=True)
def digits_at(data, start, n):
    """The number that n digits say, -1 where they are not all digits."""
    number = 0
    for i in range(start, start + n):
        digit = int(data[i]) - _ZERO
        if digit < 0 or digit > 9:
            return -1
        number = 10 * number + digit
    return number


@njit(cache=True, nogil=True)
def is_clock(data, s, e):
    """Whether data[s:e] is ``[T ]00:00``, with seconds, their fraction and a Z or without."""
    if e - s < 6 or (data[s] != _SPACE and data[s] != _T):
        return False
    if digits_at(data, s + 1, 2) < 0 or data[s + 3] != _COLON or digits_at(data, s + 4, 2) < 0:
        return False
    s += 6
    if e - s >= 3 and data[s] == _COLON and digits_at(data, s + 1, 2) >= 0:
        s += 3
        if e - s >= 2 and (data[s] == _DOT or data[s] == _COMMA) and digits_at(data, s + 1, 1) >= 0:
            s += 2
            while s < e and digits_at(data, s, 1) >= 0:
                s += 1
    return s == e or (s + 1 == e and data[s] == _Z)


@njit(cache=True, nogil=True)
def sure(day):
    """A day, or ``_UNSURE`` where there is no such date."""
    return _UNSURE if day == UNREADABLE else day


@njit(cache=True, nogil=True)
def read_day(data, s, e):
    """The day of data[s:e] where it has a usual form, else ``_UNSURE``."""
    if e - s >= 10 and data[s + 4] == _MINUS:
        year, month, day = digits_at(data, s, 4), digits_at(data, s + 5, 2), digits_at(data, s + 8, 2)
        if data[s + 7] != _MINUS or (e - s > 10 and not is_clock(data, s + 10, e)):
            return _UNSURE
        return sure(ordinal(year, month, day))
    n = 0
    while s + n < e and n < _DIGITS and digits_at(data, s + n, 1) >= 0:
        n += 1
    if n == 0:
        return _UNSURE
    number = digits_at(data, s, n)
    if s + n == e:
        return sure(day_of(np.float64(number)))
    if data[s + n] != _DOT or e - s - n - 1 > _FRACTION or number >= _EXACT:
        return _UNSURE
    zeros = True
    for i in range(s + n + 1, e):
        if digits_at(data, i, 1) < 0:
            return _UNSURE
        zeros = zeros and data[i] == _ZERO
    return sure(day_of(np.float64(number))) if zeros else sure(number_day(np.float64(number)))


@njit(cache=True, nogil=True)
def read_days(out, data, start, end):
    """out[i] = day of data[start[i]:end[i]], ``_UNSURE`` where it has no usual form."""
    for i in range(len(out)):
        out[i] = read_day(data, start[i], end[i])


@njit(cache=True, nogil=True)
def days_of_times(out, value, units_a_day):
    """out[i] = day of value[i] units since 1970."""
    for i in range(len(out)):
        day = value[i] // units_a_day + EPOCH_DAY
        out[i] = day if 1 <= day <= LAST_DAY else UNREADABLE


@njit(cache=True, nogil=True)
def days_of_integers(out, value):
    """out[i] = day of value[i], a date in digits or a count."""
    for i in range(len(out)):
        v = value[i]
        out[i] = UNREADABLE if v < 0 else day_of(np.float64(v))

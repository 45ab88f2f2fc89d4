"""Numbers and texts as people read them, in tables and sentences alike; JSON and CSV keep what programs read."""

import math
import unicodedata
from numbers import Real
from typing import Any, TypeGuard

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
UNDEFINED = "undefined"  # what stands where there is no number, for want of a positive, say
NONBREAKING = "\u00a0"
INVISIBLE = {"Cc", "Cs", "Zl", "Zp"}  # Unicode categories: control characters, surrogates, line and paragraph ends
OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # of the direction of writing


def visible(text: str) -> str:
    """A text from outside, fit for a terminal: characters that control it are written as ``\\x1b`` or ``\\u202e``."""
    if text.isprintable():
        return text
    return "".join(escaped(c) if unicodedata.category(c) in INVISIBLE or c in OVERRIDES else c for c in text)


def escaped(character: str) -> str:
    """``\\x1b``, ``\\n``, ``\\u202e``."""
    return character.encode("unicode_escape").decode("ascii")


def is_number(value: Any) -> TypeGuard[float]:
    """Whether there is a number to write: neither None nor NaN, and no truth value."""
    return not isinstance(value, bool) and isinstance(value, Real) and not math.isnan(value)


def minus(text: str) -> str:
    """A number's text with true minus signs, also in its exponent."""
    return text.replace("-", "−")


def in_words(value: float, form: str = ".0e") -> str:
    """A number in a sentence: in a form of ``format``, its exponent as a power of ten that no line breaks."""
    mantissa, e, exponent = format(value, form).partition("e")
    if not e:
        return minus(mantissa)
    power = "10" + str(int(exponent)).translate(RAISED)
    return power if mantissa == "1" else f"{minus(mantissa)}{NONBREAKING}×{NONBREAKING}{power}"


def counted(number: int, noun: str, nouns: str | None = None) -> str:
    """``1 user``, ``2,905 users``, ``0 territories``: a number with its noun."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def count(value: float) -> str:
    """``12,345``."""
    return f"{value:,.0f}"


def decimal(value: float, digits: int = 4) -> str:
    """``digits`` after the point, ``0.1234``; very small numbers with an exponent, so that none reads as nothing."""
    return minus(f"{value:.1e}" if 0 < abs(value) < 10**-digits / 2 else f"{value:,.{digits}f}")


def significant(value: float, digits: int = 3) -> str:
    """``digits`` significant digits: ``0.00123``, ``4.5e−07``."""
    return minus(f"{value:.{digits}g}")


def signed(value: float, digits: int = 2) -> str:
    """``+1.20`` or ``−0.35``; a rounded zero has no sign."""
    rounded = f"{value:+,.{digits}f}"
    return rounded[1:] if float(rounded.replace(",", "")) == 0 else minus(rounded)


def percent(share: float, digits: int = 1) -> str:
    """A share of 1 in percent: ``12.5 %``."""
    return minus(f"{100 * share:.{digits}f} %")


def interval(low: float, high: float) -> str:
    """``−0.50 to +1.20``."""
    return f"{signed(low)} to {signed(high)}"


def with_spread(mean: str, spread: str) -> str:
    """``0.1234 ± 0.0012``."""
    return f"{mean} ± {spread}"


def short(value: float) -> str:
    """Three significant digits and a unit: ``35.1k``, ``2.40M``."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            value /= limit
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}{unit}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 05 s`` or ``1 h 02 min``."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"

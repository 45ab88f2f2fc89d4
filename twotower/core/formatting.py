"""Numbers as people read them, in tables and sentences alike; JSON and CSV keep what programs read."""

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def minus(text: str) -> str:
    """A number's text with true minus signs, also in its exponent."""
    return text.replace("-", "−")


def in_words(value: float, form: str = ".0e") -> str:
    """A number in a sentence: in a form of ``format``, its exponent as a power of ten that no line breaks."""
    mantissa, e, exponent = format(value, form).partition("e")
    if not e:
        return minus(mantissa)
    power = "10" + str(int(exponent)).translate(RAISED)
    return power if mantissa == "1" else f"{minus(mantissa)}\u00a0×\u00a0{power}"


def counted(number: int, noun: str, nouns: str | None = None) -> str:
    """``1 user``, ``2,905 users``, ``0 territories``: a number with its noun."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"

"""How a delimited text file is written, from its first lines: separator, escapes, a ``sep=`` line."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence

SEPARATORS = (",", "\t", ";", "|")  # candidates, in order of preference on ties
SAMPLE_CHARACTERS = 1 << 16
AGREEMENT = 0.9  # share of the lines that have the same number of fields
_SEP_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)

Parse = Callable[[Sequence[str], str], list[list[str]]]  # lines, separator → rows


def separator_line(first: str) -> str | None:
    """The separator that a line such as ``sep=;`` declares, as Excel writes it."""
    found = _SEP_LINE.fullmatch(first.strip("\r\n\ufeff"))
    return found[1] if found else None


def guess_separator(
    lines: Sequence[str], parse: Parse, names: Callable[[str], list[str]], needed: Sequence[str]
) -> str:
    """The separator that yields the needed columns, and the same number of fields in (nearly) all lines.

    Where several do: none that is mostly followed by a space, as commas in a text are; a tab, which texts hardly have;
    then the one with the most columns.
    """

    def fitness(separator: str) -> tuple[bool, bool, bool, bool, bool, int]:
        rows = [row for row in parse(lines, separator) if row]
        (width, count), *_ = Counter(map(len, rows)).most_common(1) or [(0, 0)]
        later = [field for row in rows for field in row[1:] if field]
        spaced = sum(field.startswith(" ") for field in later) > len(later) / 2
        known = names(separator)
        return (
            all(name in known for name in needed), width > 1, count >= AGREEMENT * len(rows),
            not spaced, separator == "\t" and width > 1, width,
        )  # fmt: skip

    return max(SEPARATORS, key=fitness)


def has_backslash_escapes(sample: str, separator: str) -> bool:
    r"""Whether quotes in quoted fields are written ``\"``: the sample can be read so, and not otherwise."""
    if '\\"' not in sample:
        return False
    return _fault(sample, separator, None) and not _fault(sample, separator, "\\")


def _fault(sample: str, separator: str, escape: str | None) -> bool:
    try:
        for _ in csv.reader(io.StringIO(sample, newline=""), delimiter=separator, escapechar=escape, strict=True):
            pass
    except csv.Error as error:
        return "unexpected end of data" not in str(error)  # the sample may end in a quoted field
    return False

"""Numbers of a trace as text: whole where all are, with exponents where all are small, an exact zero as 0."""

from collections.abc import Sequence

from twotower.core.formatting import minus

DECIMALS = 4
SMALL = 1e-3  # arrays whose largest number is below are written with exponents
GAP = "  "  # before each column


def number_texts(numbers: Sequence[float]) -> list[str]:
    """Numbers in one format."""
    largest = max(map(abs, numbers), default=0.0)
    if all(number == int(number) for number in numbers):
        return [minus(str(int(number))) for number in numbers]
    kind = "1e" if largest < SMALL else f"{DECIMALS}f"
    return ["0" if number == 0 else minus(f"{number:.{kind}}") for number in numbers]


def number_text(number: float) -> str:
    return number_texts([number])[0]


def aligned(texts: Sequence[str], columns: int) -> list[str]:
    """Lines of ``columns`` texts each, right-aligned in a common width."""
    width = max(map(len, texts), default=0)
    rows = [texts[start : start + columns] for start in range(0, len(texts), max(columns, 1))]
    return ["".join(f"{GAP}{text:>{width}}" for text in row) for row in rows]

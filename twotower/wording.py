"""Numbers in sentences."""


def counted(number: int, noun: str, nouns: str | None = None) -> str:
    """``1 user``, ``2,905 users``, ``0 territories``: a number with its noun."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"

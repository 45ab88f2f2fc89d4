"""How long-running functions say where they are, without printing."""

from collections.abc import Callable

#: Called as ``progress(stage, done, total)``; ``total`` 0 means that the length is not known.
Progress = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """The default: say nothing."""

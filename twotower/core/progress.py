"""The protocol of progress: how long-running functions report it, without printing.

    progress("Reading log.csv", 0, 2000)            a stage begins
    progress("Epoch 1 of 3 · loss 0.412", 500, 2000)   after " · ": a detail that may change with every call
    progress("Epoch 1 of 3 · loss 0.398", 2000, 2000)  the stage ends

Stages follow each other: a call with another name, or with a smaller count, ends the stage before it.
report/progress.py displays them.
"""

from collections.abc import Callable

#: Called as ``progress(stage, done, total)``; ``total`` 0 means that the length is not known.
Progress = Callable[[str, int, int], None]

DETAIL = " · "  # separates the name of a stage from its changing detail


def silent(stage: str, done: int, total: int) -> None:
    """The default: report nothing."""

"""Small logs in memory, as reading them from files would give them."""

from collections.abc import Sequence

import numpy as np

from twotower.data.ingest.events import Column, EventLog, Vocabulary


def column(texts: Sequence[str]) -> Column:
    names = Vocabulary()
    return Column(names.codes(list(texts)), names.names)


def log(
    users: Sequence[str],
    titles: Sequence[str],
    territories: Sequence[str] | None = None,
    days: Sequence[int] | None = None,
    **info: Sequence[str],
) -> EventLog:
    """A log of events; ``log("aab", "xyx")`` has users a, a, b and titles x, y, x."""
    return EventLog(
        user=column(users),
        title=column(titles),
        territory=None if territories is None else column(territories),
        day=None if days is None else np.array(days, np.int32),
        info={name: column(texts) for name, texts in info.items()},
    )

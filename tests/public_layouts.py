"""A sound log in any layout, for tests of imports."""

import csv
import io
from datetime import date, timedelta

import numpy as np

from twotower.data.dataset import Dataset
from twotower.data.ingest.import_log import ImportSummary

USERS, TITLES, CODES = 60, 24, ("DE", "FR", "GB", "NA", "TR")
FIRST = date(2024, 3, 1)


def events(n: int = 600, days: int = 40) -> list[tuple[str, str, str, date]]:
    """User, title, territory and day of a sound log, in order of days; a user stays in one territory."""
    rng = np.random.default_rng(0)
    user, title = rng.integers(USERS, size=n), np.append(rng.integers(TITLES, size=n - TITLES), np.arange(TITLES))
    day = np.sort(rng.integers(days, size=n))
    user[:USERS] = np.arange(USERS)
    return [(f"{u + 1}", f"{t + 1}", CODES[u % 5], FIRST + timedelta(int(d))) for u, t, d in
            zip(user.tolist(), title.tolist(), day.tolist(), strict=True)]  # fmt: skip


EVENTS = events()
N_DAYS = len({day for *_, day in EVENTS})
HEADER = ["user", "title", "territory", "date"]


def csv_text(rows, header=HEADER, separator=",", **form) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator="\n", **form).writerows([header, *rows] if header else rows)
    return text.getvalue()


def plain(rows=None) -> list[list[str]]:
    return [[u, t, c, d.isoformat()] for u, t, c, d in (EVENTS if rows is None else rows)]


def assert_sound(found: tuple[Dataset, ImportSummary], users=USERS, titles=TITLES, codes=CODES) -> None:
    dataset, summary = found
    assert (dataset.n_users, dataset.n_titles) == (users, titles)
    assert set(dataset.territories.code) == set(codes)
    assert not summary.warnings, summary.warnings

"""Signs that a log was misread: what no sound log shows, as warnings."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import date

import numpy as np

from twotower.core.formatting import counted
from twotower.data.ingest.splits import Split

ENOUGH_EVENTS, ENOUGH_USERS, ENOUGH_TITLES = 200, 40, 20  # below, anything may be chance
ONE_USER_TITLES = 0.9  # share of titles with a single user
ONE_USER_EVENTS = 0.05  # share of events of a single user
EARLIEST = date(1990, 1, 1).toordinal()
THIN_DAY = 0.1  # of the median number of events per day
LOOKED_AT = 1_000_000  # texts at most, to find damaged and similar ones
DAMAGED_TEXTS = 0.05  # share of those beyond ASCII
SIMILAR_IDS = 0.05  # share of ids


def implausible_events(user: np.ndarray, title: np.ndarray, user_ids: list[str], n_titles: int) -> list[str]:
    """Of events (N,): titles that have one user each, and users that have a large part of all events."""
    warnings: list[str] = []
    if len(user) < ENOUGH_EVENTS:
        return warnings
    if n_titles >= ENOUGH_TITLES:
        low, high = np.full(n_titles, len(user_ids)), np.full(n_titles, -1)
        np.minimum.at(low, title, user)
        np.maximum.at(high, title, user)
        alone = int((low == high).sum())
        if alone >= ONE_USER_TITLES * n_titles:
            titles = f"{alone:,} of {counted(n_titles, 'title')}"
            warnings.append(f"{titles} with a single user: does --title name a column of titles?")
    counts = np.bincount(user)
    most = int(np.argmax(counts))
    if len(user_ids) >= ENOUGH_USERS and counts[most] > ONE_USER_EVENTS * len(user):
        share = f"{counts[most] / len(user):.0%} of the events"
        warnings.append(f"User {user_ids[most]!r} has {share}: a missing value, a shared account or a robot?")
    return warnings


def damaged_texts(what: str, texts: Sequence[str]) -> list[str]:
    """Signs that texts were decoded by another encoding than they were written in, here or before."""
    foreign = [text for text in texts[:LOOKED_AT] if not text.isascii()]
    lost = [text for text in foreign if "\ufffd" in text]
    wrong = [text for text in foreign if is_utf_8_misread(text)]
    warnings = []
    for damaged, meaning in (
        (lost, "have characters that were lost before: export them again"),
        (wrong, "look like UTF-8 read as another encoding: --encoding utf-8, or export them again"),
    ):
        if len(damaged) > DAMAGED_TEXTS * len(foreign):
            plural = {"territory": "territories"}.get(what, f"{what}s" if " " not in what else f"texts in {what}")
            warnings.append(f"{len(damaged):,} of {len(texts):,} {plural}, such as {damaged[0]!r}, {meaning}")
    return warnings


def is_utf_8_misread(text: str) -> bool:
    """Whether a text is what another encoding makes of the bytes of UTF-8."""
    for encoding in ("cp1252", "latin-1"):
        with suppress(UnicodeError):
            return text.encode(encoding).decode("utf-8") != text
    return False


def similar_ids(what: str, ids: Sequence[str]) -> list[str]:
    """Ids that differ only in case, leading zeros or braces, where they are many: two ways to write one."""
    if len(ids) < ENOUGH_USERS:
        return []
    first: dict[str, str] = {}
    pairs = [(first.setdefault(name.strip("{}").lstrip("0").casefold(), name), name) for name in ids[:LOOKED_AT]]
    twice = [pair for pair in pairs if pair[0] != pair[1]]
    if len(twice) < SIMILAR_IDS * len(pairs):
        return []
    names = f"{counted(len(twice), what)} may occur twice, such as {twice[0][0]!r} and {twice[0][1]!r}"
    return [f"{names}: are ids written in one way?"]


def implausible_days(day: np.ndarray) -> list[str]:
    """Days (N,) ordinals before 1990 or after tomorrow."""
    warnings = []
    tomorrow = date.today().toordinal() + 1
    for bad, when in ((day < EARLIEST, "before 1990"), (day > tomorrow, "after tomorrow")):
        if bad.any():
            some = date.fromordinal(int(day[np.argmax(bad)])).isoformat()
            events = f"{counted(int(bad.sum()), 'event')} {when}, such as on {some}"
            warnings.append(f"{events}: are the times read as they are meant? (--time-format, --from, --until)")
    return warnings


def thin_test_days(split: Split) -> list[str]:
    """Test days with far fewer events than the median day: strays, or a day that is not complete."""
    if split.dates is None or not split.test_days:
        return []
    counts = np.bincount(split.day[split.day >= 0], minlength=split.train_days + split.test_days)
    test, days = counts[split.train_days :], counts[: split.train_days]
    thin = test < THIN_DAY * np.median(days) if len(days) else np.zeros(len(test), bool)
    last_thin = int(np.argmin(thin[::-1])) if not thin.all() else len(test)  # how many of the last days are thin
    if days.sum() < ENOUGH_EVENTS or not last_thin:
        return []
    first, last = (date.fromordinal(int(split.dates[i])).isoformat() for i in (-last_thin, -1))
    events = f"The test days {first} … {last} have {counted(int(test[-last_thin:].sum()), 'event')}"
    return [f"{events}, the median training day {np.median(days):,.0f}: --until DATE leaves out the last days"]

"""``twotower import``: watch logs in files → a dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.progress import Progress, silent
from twotower.core.random_streams import Stream, generator
from twotower.data.dataset import HISTORY
from twotower.data.dataset_writer import DatasetWriter
from twotower.data.first_streams import FirstStreams
from twotower.data.ingest.blocks import some_of
from twotower.data.ingest.distinct import distinct_events, order_of_days
from twotower.data.ingest.events import EventLog, LogColumns, LogFile, read_log
from twotower.data.ingest.import_config import HISTORY_SHARE, ImportConfig
from twotower.data.ingest.log_files import log_files
from twotower.data.ingest.pipes import files_of_pipes
from twotower.data.ingest.plausibility import (
    damaged_texts,
    implausible_days,
    implausible_events,
    similar_ids,
    thin_test_days,
)
from twotower.data.ingest.profiles import SideData, assign_territories, describe_titles, describe_users, with_origin
from twotower.data.ingest.queries import Query
from twotower.data.ingest.selection import Selection
from twotower.data.ingest.side_tables import read_side_table
from twotower.data.ingest.splits import Split, split_at_random, split_by_day, supported_test_days
from twotower.data.ingest.territory_names import read_territory_names
from twotower.data.territories import Territories

DRY_ROWS = 100_000  # of each file
Named = TypeVar("Named", Path, tuple[str, Path])


@dataclass(frozen=True)
class ImportSummary:
    """What was imported and what was not. C territories, most users first."""

    territories: Territories
    pairs: np.ndarray  # (C,) distinct pairs of user and title
    titles: np.ndarray  # (C,) titles with at least one user there
    n_titles: int
    n_events: int
    n_history: int  # events of the history
    split: Split
    notes: list[str]  # what was left out and why
    assumptions: list[str]  # how the log was read
    warnings: list[str]  # signs that it was misread


def import_logs(
    directory: str | Path, config: ImportConfig, progress: Progress = silent, overwrite: bool = False,
    most_rows: float = np.inf,
) -> ImportSummary:  # fmt: skip
    """Read the files that ``config`` names, of each at most so many rows, and write them as a dataset.

    Of several values of a user in the log, such as territories, the most frequent counts, the earliest on ties.

    Errors: InputError that names file, line and column; users or titles that their tables lack, users without
    a territory, too few days, no event left, and a directory that exists already.
    """
    if config.dry_run:
        with TemporaryDirectory() as folder:
            return import_logs(Path(folder) / "set", replace(config, dry_run=False), progress, most_rows=DRY_ROWS)
    config = replace(config, events=in_order(config.events), markets=in_order(config.markets))
    paths = [*config.events, *(path for _, path in config.markets), config.users, config.titles]
    # The writer comes first: an existing directory is an error before an hour of reading, not after.
    with (
        DatasetWriter(directory, "import", config.seed, config.plain(), overwrite) as writer,
        files_of_pipes(filter(None, paths), progress) as files,
    ):
        config = replace(
            config,
            events=tuple(files.get(path, path) for path in config.events),
            markets=tuple((territory, files.get(path, path)) for territory, path in config.markets),
            users=config.users and files.get(config.users, config.users),
            titles=config.titles and files.get(config.titles, config.titles),
        )
        side = read_side_data(config)
        return write_log(writer, read_events(config, side, progress, most_rows), side, config)


def read_events(
    config: ImportConfig, side: SideData, progress: Progress = silent, most_rows: float = np.inf
) -> EventLog:
    """The events that a config names, as they stand in the log. Errors: InputError as for ``read_log``."""
    columns = LogColumns(
        user=config.user,
        title=config.title,
        territory=config.territory if side.territory is None else None,
        time=config.time,
        time_format=config.time_format,
        info=tuple(dict.fromkeys((*config.user_info, *config.title_info))),
    )
    log_of = [file for path in config.events for file in log_files(path)]
    log_of += [file for name, path in config.markets for file in log_files(path, name)]
    log_of += [LogFile(Path("--sql"), query=Query(config.sql, config.database))] if config.sql else []
    try:
        return read_log(log_of, columns, config.form(), config.skip_bad_rows, progress, config.missing_territory,
                        most_rows, config.where or "")  # fmt: skip
    except InputError as error:
        if f"no column {columns.territory!r}" not in str(error):
            raise
        if side.users is None:
            others = "--market CODE FILE takes the log of one territory, --users FILE a table with users' territories"
            raise InputError(f"{error} ({others})") from None
        has = f"{side.users.path} has none, either, but {some_of(list(side.users.columns))}"
        raise InputError(f"{error}; {has}") from None


def in_order(given: tuple[Named, ...]) -> tuple[Named, ...]:
    """Files, and those of markets, by name: the order in which they were given makes no other dataset."""
    return tuple(sorted(given, key=lambda one: str(one if isinstance(one, Path) else (str(one[1]), one[0]))))


def read_side_data(config: ImportConfig) -> SideData:
    """The tables of users and titles, if given."""
    users = titles = None
    if config.users is not None:
        users = read_side_table(
            config.users, config.users_id or config.user, config.form("users"), skip_bad_rows=config.skip_bad_rows,
            territory=config.territory,
        )  # fmt: skip
    if config.titles is not None:
        titles = read_side_table(
            config.titles, config.titles_id or config.title, config.form("titles"), config.join_titles,
            config.title_weight, ignore=[name for name in (config.user, config.time) if name],
            skip_bad_rows=config.skip_bad_rows,
        )  # fmt: skip
    from_users = users is not None and config.territory in users.columns and not config.markets
    territory = config.territory if from_users else None
    names = read_territory_names(config.territories_are, config.territory_names, config.places)
    return SideData(users, titles, territory, config.user_info, config.title_info, config.missing_territory, names)


def write_log(writer: DatasetWriter, log: EventLog, side: SideData, config: ImportConfig) -> ImportSummary:
    """Write a log and what is known of its users and titles. Errors: those of ``import_logs``."""
    notes = [f"{counted(rows, 'row')} left out: {reason}." for reason, rows in log.skipped.items()]
    if log.day is not None and (order := order_of_days(log.day)) is not None:
        log = log.take(order)  # from here on, "first" and "earliest" mean time
    log = select_days(log, config, notes)
    log = select(log, side, config, notes)
    user_ids, user = log.user.renumbered()  # U ids, (N,)
    title_ids, title = log.title.renumbered()  # T ids, (N,)
    territories, user_territory, names = assign_territories(log, side, user, user_ids, notes)  # C rows, (U,)
    user_columns = describe_users(log, side, user, user_ids, notes)
    title_columns = with_origin(describe_titles(log, side, title, title_ids, notes), config.title_country)

    n_events, shape = len(log), (len(title_ids), len(territories))
    assumed, doubts = side.names.doubts(names)
    warnings = implausible_events(user, title, user_ids, len(title_ids)) + doubts
    texts = {"user": user_ids, "title": title_ids, "territory": names}
    texts |= {f"column {name!r} of titles": column for name, column in title_columns.items()}
    warnings += [warning for what, column in texts.items() for warning in damaged_texts(what, column)]
    warnings += similar_ids("user", user_ids) + similar_ids("title", title_ids)
    user, title, ordinal = distinct_events(user, title, log.day, len(user_ids), shape[0])
    if len(user) < n_events:
        when = " and day" if config.time else ""
        merged = counted(n_events - len(user), "repeated event")
        notes.append(f"{merged} merged: the same user and title{when}.")
    dated = None if log.day is None else ordinal
    split = split_events(user, dated, config)
    user, title, day, first = first_streams(user, title, split.day, (len(user_ids), shape[0]))
    if split.has_time and config.test_days is None:
        labels = np.bincount(first.day[first.day >= 0], minlength=split.train_days + split.test_days)
        test_days = supported_test_days(labels, split.test_days, split.history_days + len(labels))
        if config.train_days is not None:
            test_days = min(test_days, split.history_days + split.test_days)  # what is left for them
        if test_days > split.test_days:
            had = f"{split.test_days}, which have only {counted(int(labels[split.train_days :].sum()), 'first stream')}"
            notes.append(f"{test_days} test days in place of {had}; --test-days sets another number.")
            split = split_events(user, dated, replace(config, test_days=test_days))
            user, title, day, first = first_streams(user, title, split.day, (len(user_ids), shape[0]))
    warnings += [] if log.day is None else implausible_days(ordinal) + thin_test_days(split)
    if config.strict and warnings:
        raise InputError(f"--strict: {' '.join(warnings)}")

    # Without times test users have their labels on day 0, too: then only the history may tell what is available.
    seen = first.viewers(user_territory, shape, split.train_days if split.has_time else 0)  # (T, C)
    available = seen >= config.available_after
    writer.write_territories(territories)
    writer.write_titles({"title": title_ids, **title_columns}, available, launch_days(title, day, shape[0]))
    writer.write_users(user_territory, user_ids, user_columns)
    days = range(HISTORY, split.train_days + split.test_days)
    bounds = np.searchsorted(day, [*days, days.stop]).tolist()
    for i, on in enumerate(days):
        if bounds[i] < bounds[i + 1]:
            writer.append_events(on, user[bounds[i] : bounds[i + 1]], title[bounds[i] : bounds[i + 1]])
    last = "" if split.dates is None else date.fromordinal(int(split.dates[-1])).isoformat()
    writer.finish(split.train_days, split.test_days, split.has_time, last=last)

    watched = first.viewers(user_territory, shape)  # (T, C)
    return ImportSummary(
        territories=territories,
        pairs=watched.sum(axis=0),
        titles=(watched > 0).sum(axis=0),
        n_titles=len(title_ids),
        n_events=len(user),
        n_history=bounds[1],
        split=split,
        notes=notes,
        assumptions=assumptions_of(log, side) + kept_columns(user_columns, title_columns) + assumed,
        warnings=warnings,
    )


def first_streams(
    user: np.ndarray, title: np.ndarray, day: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, FirstStreams]:
    """Events (N,) in order of days, and the first streams among them; ``shape`` is (U, T)."""
    if (order := order_of_days(day)) is not None:
        user, title, day = user[order], title[order], day[order]
    return user, title, day, FirstStreams.of(user, title, day.astype(np.int16), *shape)


def select_days(log: EventLog, config: ImportConfig, notes: list[str]) -> EventLog:
    """The events from ``from_date`` to ``until_date``."""
    if log.day is None or not (config.from_date or config.until_date):
        return log
    first, last = (
        date.fromisoformat(day).toordinal() if day else None for day in (config.from_date, config.until_date)
    )
    keep = np.ones(len(log), bool)
    if first is not None:
        keep &= log.day >= first
    if last is not None:
        keep &= log.day <= last
    if not keep.any():
        chosen = {"--from": config.from_date, "--until": config.until_date}
        options = ", ".join(f"{name} {day}" for name, day in chosen.items() if day)
        days = " … ".join(date.fromordinal(int(day)).isoformat() for day in (log.day.min(), log.day.max()))
        raise InputError(f"no events are left of {len(log):,} of {days} ({options})")
    if not keep.all():
        notes.append(f"{counted(int((~keep).sum()), 'event')} left out: before --from or after --until.")
    return log if keep.all() else log.take(keep)


def select(log: EventLog, side: SideData, config: ImportConfig, notes: list[str]) -> EventLog:
    """The events that the config keeps; ``notes`` describe the others."""
    selection = Selection(log, notes)
    if side.users is not None:
        selection.require_known("user", log.user, side.users, config.unknown_ids)
    if side.users is not None and side.territory is not None and config.missing_territory == "drop":
        selection.require_territory(side.users, side.territory)
    users = selection.n_users()
    if config.keep_titles is not None:
        selection.match_titles(config.keep_titles)
    if side.titles is not None:
        selection.require_known("title", log.title, side.titles, config.unknown_ids)
    if config.min_title_users > 1:
        selection.require_users(config.min_title_users)
    log = selection.events()
    if selection.n_users() < users:
        notes.append(f"{counted(users - selection.n_users(), 'user')} left out: all of their events are.")
    return log


def assumptions_of(log: EventLog, side: SideData) -> list[str]:
    """How the log was read: formats, and what may mean something else."""
    lines = [f"Read as {'; '.join(log.formats)}."] if log.formats else []
    lines += [f"Times read as {', '.join(log.times)}."] if log.day is not None and log.times else []
    lines += [f"Columns that folders say: {', '.join(map(repr, log.folders))}."] if log.folders else []
    missing = dict(log.missing)
    for table in (side.users, side.titles):
        missing |= {table.path.name: sorted(table.markers)} if table and table.markers else {}
    if missing:
        words = "; ".join(f"{some_of(words)} in {name}" for name, words in missing.items())
        lines.append(f"Read as missing, as empty cells are: {words}.")
    found = ""
    if log.territory is not None and "NA" in log.territory.names:
        events = int((log.territory.codes == log.territory.names.index("NA")).sum())
        found = counted(events, "event") if events else ""
    elif side.users is not None and side.territory is not None:
        users = side.users.columns[side.territory].count("NA")
        found = f"{counted(users, 'user')} of {side.users.path.name}" if users else ""
    if found:
        meaning = "not as a missing value; a line NA,unknown in --territory-names FILE says otherwise"
        lines.append(f"Territory 'NA' is read as Namibia ({found}), {meaning}.")
    if side.titles is not None and side.titles.ignored:
        names = ", ".join(map(repr, side.titles.ignored))
        lines.append(f"Columns of {side.titles.path.name} left out: {names}, the users and times of events.")
    return lines


def kept_columns(users: Mapping[str, Sequence[str]], titles: Mapping[str, Sequence[str]]) -> list[str]:
    """Which columns describe users and titles, and what the next command makes of them."""
    lines = [f"Columns of users: {some_of(list(users))} (embed --profile makes categories of them)."] if users else []
    use = "embed reads texts among them as text, --categorical makes categories"
    return lines + ([f"Columns of titles: {some_of(list(titles))} ({use})."] if titles else [])


def split_events(user: np.ndarray, day: np.ndarray | None, config: ImportConfig) -> Split:
    """History, training and test by day, or at random where there are no times."""
    if day is not None:
        try:
            return split_by_day(day, config.train_days, config.test_days, config.calendar)
        except InputError as error:
            raise InputError("; ".join([str(error), *implausible_days(day)])) from None
    share = HISTORY_SHARE if config.history_share is None else config.history_share
    return split_at_random(user, share, generator(config.seed, Stream.RANDOM_SPLIT))


def launch_days(title: np.ndarray, day: np.ndarray, n_titles: int) -> np.ndarray:
    """The first day that each title was watched on, (n_titles,) int32; 0 for titles of the history."""
    first = np.full(n_titles, np.iinfo(np.int32).max, np.int32)
    np.minimum.at(first, title, day)
    return np.maximum(first, 0)

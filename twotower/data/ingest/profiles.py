"""Territories of users, and columns of users and titles, from side tables and from the log."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.jit import njit
from twotower.data.dataset import TITLE_ORIGIN
from twotower.data.first_streams import group_by_user
from twotower.data.ingest.events import UNKNOWN, EventLog, missing_territories
from twotower.data.ingest.side_tables import SideTable
from twotower.data.ingest.territory_names import TerritoryNames, without_a_place
from twotower.data.ingest.vocabulary import NONE, Vocabulary
from twotower.data.territories import Territories


@dataclass(frozen=True)
class SideData:
    """What is known beside the events."""

    users: SideTable | None = None
    titles: SideTable | None = None
    territory: str | None = None  # column of ``users`` with territories; None: the log has them
    user_info: tuple[str, ...] = ()  # columns of the log that describe users
    title_info: tuple[str, ...] = ()  # columns of the log that describe titles
    missing_territory: str = "fail"  # users without a territory: fail, or keep them as "unknown"
    names: TerritoryNames = field(default_factory=TerritoryNames)  # of territories, and how they are read


def majority(owner: np.ndarray, value: np.ndarray, n_owners: int) -> tuple[np.ndarray, int]:
    """The value that each owner has most often, the first one on ties, and how many owners have several.

    owner, value: (N,) codes; a value ``NONE`` does not count. Returns (n_owners,) int64, with ``NONE`` for an
    owner without a value.
    """
    owner, value = owner.astype(np.int32, copy=False), value.astype(np.int32, copy=False)
    n_values = int(value.max(initial=0)) + 1
    start, value, _ = group_by_user(owner, value, np.empty(len(owner), np.int16), n_owners)
    choice, count, kinds = np.full(n_owners, NONE, np.int64), np.zeros(n_values, np.int64), np.empty(n_values, np.int64)
    return choice, choose_most_frequent(choice, count, kinds, start, value)


@njit(cache=True, nogil=True)
def choose_most_frequent(choice, count, kinds, start, value):
    """choice[u] = the most frequent of value[start[u]:start[u+1]], the first on ties, where one is not negative.

    Returns how many owners have several. count: (values,) scratch, all 0. kinds: (values,) scratch.
    """
    several = 0
    for u in range(len(choice)):
        n = 0
        for i in range(start[u], start[u + 1]):
            v = value[i]
            if v >= 0:
                if count[v] == 0:
                    kinds[n] = v
                    n += 1
                count[v] += 1
        several += n > 1
        most = 0
        for k in range(n):  # in order of first appearance
            v = kinds[k]
            if count[v] > most:
                most, choice[u] = count[v], v
            count[v] = 0
    return several


def assign_territories(
    log: EventLog, side: SideData, user: np.ndarray, user_ids: Sequence[str], notes: list[str]
) -> tuple[Territories, np.ndarray, list[str]]:
    """The territories, most users first, (U,) int64 the one where each user lives, and all names as written.

    user: (N,) codes of ``user_ids``. Names of one country ("UK", "United Kingdom") are one territory, and are
    so before majorities are counted. Errors: InputError for users without a territory.
    """
    if side.territory is not None and side.users is not None:
        owner, spelling = np.arange(len(user_ids)), Vocabulary()
        codes = spelling.codes(side.users.column(side.territory, user_ids))
        names = spelling.names
        if side.missing_territory == "unknown":
            codes[codes == NONE] = spelling[UNKNOWN]
        if (codes == NONE).any():
            lost = np.flatnonzero(codes == NONE)
            who = f"{counted(len(lost), 'user')} of the log, such as {user_ids[lost[0]]!r}"
            hint = missing_territories(len(lost), len(user_ids), "user")
            raise InputError(f"{side.users.path}, column {side.territory!r}: no territory for {who} ({hint})")
    elif log.territory is not None:
        owner, codes, names = user, log.territory.codes, log.territory.names
    else:
        raise InputError("no territories: neither the events nor --users have them (see --territory, --market)")
    places, place = side.names.distinct(names)
    territory, several = majority(owner, place[codes], len(user_ids))
    if several:
        who = counted(several, "user")
        notes.append(f"{who} seen in several territories: assigned to the one with most of their events.")

    users = np.bincount(territory, minlength=len(places))
    order = np.argsort(-users, kind="stable")[: np.count_nonzero(users)]
    chosen = [places[i] for i in order.tolist()]
    territories = replace(Territories.of_places(chosen), users=users[order].astype(np.int64))
    notes += without_a_place(chosen, side.names.reading)
    rank = np.empty(len(places), np.int64)
    rank[order] = np.arange(len(order))
    return territories, rank[territory], names


def describe_users(
    log: EventLog, side: SideData, user: np.ndarray, user_ids: Sequence[str], notes: list[str]
) -> dict[str, list[str]]:
    """Profile columns, one value per user, of the users' table and of the log."""
    return _describe("user", side.users, side.user_info, {side.territory}, log, user, user_ids, notes)


def describe_titles(
    log: EventLog, side: SideData, title: np.ndarray, title_ids: Sequence[str], notes: list[str]
) -> dict[str, list[str]]:
    """Text columns, one value per title, of the titles' table and of the log."""
    return _describe("title", side.titles, side.title_info, set(), log, title, title_ids, notes)


def _describe(
    what: str,
    table: SideTable | None,
    info: Sequence[str],
    leave_out: set[str | None],
    log: EventLog,
    owner: np.ndarray,
    ids: Sequence[str],
    notes: list[str],
) -> dict[str, list[str]]:
    columns: dict[str, list[str]] = {}
    if table is not None:
        columns = {name: table.column(name, ids) for name in table.columns if name not in leave_out}
        unused = len(table.row) - int((table.rows(ids) >= 0).sum())
        if unused:
            of_all = f"{unused:,} of {counted(len(table.row), what)}"
            notes.append(f"{of_all} in {table.path.name} not used: no events.")
    for name in info:
        if name in columns:
            raise InputError(
                f"column {name!r} is in the events and in --{what}s: remove it from one, or drop --{what}-info {name}"
            )
        choice, several = majority(owner, log.info[name].codes, len(ids))
        values = [*log.info[name].names, ""]  # the last one is that of NONE
        columns[name] = [values[code] for code in choice.tolist()]
        if several:
            notes.append(f"{counted(several, what)} with several values of {name!r}: the most frequent is kept.")
    # The dataset's own first column has the ids, whatever they were called in the log.
    return {f"{name}_" if name == what else name: column for name, column in columns.items()}


def with_origin(columns: dict[str, list[str]], column: str | None) -> dict[str, list[str]]:
    """Columns of titles, of which one has the country of origin and is called ``TITLE_ORIGIN``.

    Errors: InputError where there is no such column, or another one has this name.
    """
    if column is None:
        return columns
    if column not in columns:
        known = f"they have {', '.join(map(repr, columns))}" if columns else "give --titles or --title-info"
        raise InputError(f"--title-country {column}: no such column of titles; {known}")
    if column != TITLE_ORIGIN and TITLE_ORIGIN in columns:
        raise InputError(f"--title-country {column}: titles have a column {TITLE_ORIGIN!r}, too; rename it")
    return {TITLE_ORIGIN if name == column else name: values for name, values in columns.items()}

"""Select the events of a log that become a dataset."""

import re
from collections.abc import Sequence

import numpy as np

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.data.first_streams import FirstStreams
from twotower.data.ingest.blocks import FEW_BAD_ROWS, some_of
from twotower.data.ingest.cleaning import MISSING, clean
from twotower.data.ingest.events import Column, EventLog
from twotower.data.ingest.side_tables import SideTable

UNKNOWN_IDS = ("fail", "keep", "drop")  # what to do with users and titles of the log that their tables lack


class Selection:
    """Events still selected, narrowed down step by step; each step adds to ``notes`` what it left out."""

    def __init__(self, log: EventLog, notes: list[str]):
        self.log, self.notes = log, notes
        self.keep = np.ones(len(log), bool)  # (N,)

    def match_titles(self, pattern: str) -> None:
        """Leave out titles whose id does not match the regular expression anywhere."""
        names, wanted = self.log.title.names, re.compile(pattern)
        unwanted = [code for code in self._codes(self.log.title) if not wanted.search(names[code])]
        self._leave_out("title", self.log.title, unwanted, f"no match of {pattern}")

    def require_known(self, what: str, column: Column, table: SideTable, unknown_ids: str) -> None:
        """Fail for, keep or drop the users or titles that ``table`` lacks."""
        codes = self._codes(column)
        lacking = [code for code in codes if column.names[code] not in table.row]
        if lacking and unknown_ids == "fail":
            lost = f"{len(lacking):,} of {counted(len(codes), what)} in the log are not in it, such as "
            lost += repr(column.names[lacking[0]])
            drop = "--unknown-ids drop leaves them out"
            if len(lacking) > FEW_BAD_ROWS * len(codes):
                drop = f"it has {some_of(list(table.row), 3)}: check --{what}s-id"
            raise InputError(f"{table.path}: {lost} ({drop}; --unknown-ids keep keeps them)")
        if unknown_ids == "drop":
            self._leave_out(what, column, lacking, f"not in {table.path.name}")
        elif lacking:
            self.notes.append(f"{counted(len(lacking), what)} kept that are not in {table.path.name}.")

    def require_territory(self, table: SideTable, column: str) -> None:
        """Leave out users for whom ``table`` has no territory."""
        codes = self._codes(self.log.user)
        texts = table.column(column, [self.log.user.names[code] for code in codes])
        lost = [code for code, text in zip(codes, texts, strict=True) if clean(text) in MISSING]
        self._leave_out("user", self.log.user, lost, "no territory")

    def require_users(self, n_users: int) -> None:
        """Leave out titles with fewer users."""
        n_titles, user = len(self.log.title.names), self.log.user.codes[self.keep]
        first = FirstStreams.of(
            user, self.log.title.codes[self.keep], np.zeros(len(user), np.int16), len(self.log.user.names), n_titles
        )
        watched = np.bincount(first.title, minlength=n_titles)
        few = np.flatnonzero((watched > 0) & (watched < n_users)).tolist()
        self._leave_out("title", self.log.title, few, f"fewer than {counted(n_users, 'user')}")

    def events(self) -> EventLog:
        """The events that are left. Errors: InputError when there are none."""
        if not self.keep.any():
            raise InputError(f"no events are left of {len(self.log):,}: {' '.join(self.notes)}")
        return self.log if self.keep.all() else self.log.take(self.keep)

    def n_users(self) -> int:
        return len(self._codes(self.log.user))

    def _codes(self, column: Column) -> list[int]:
        occurs = np.zeros(len(column.names), bool)
        occurs[column.codes[self.keep]] = True
        return np.flatnonzero(occurs).tolist()

    def _leave_out(self, what: str, column: Column, codes: Sequence[int], why: str) -> None:
        if not codes:
            return
        out = np.zeros(len(column.names), bool)
        out[codes] = True
        events = self.keep & out[column.codes]
        self.keep &= ~events
        with_events = f"with {counted(int(events.sum()), 'event')}"
        self.notes.append(f"{counted(len(codes), what)} left out {with_events}: {why}.")

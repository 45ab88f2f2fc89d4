"""The settings of an import."""

import json
import re
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from twotower.core.errors import InputError
from twotower.core.no_effect import refuse_no_effect, set_values
from twotower.data.ingest.blocks import CsvFormat
from twotower.data.ingest.cleaning import MISSING, clean
from twotower.data.ingest.days import check_format
from twotower.data.ingest.events import MISSING_TERRITORY
from twotower.data.ingest.queries import without_password
from twotower.data.ingest.selection import UNKNOWN_IDS

HISTORY_SHARE = 0.5  # of each user's pairs where there are no times, by default
ESCAPED = re.compile(r"\\(t|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[0-7]{3})")  # a separator that shells and tables hide


@dataclass(frozen=True)
class ImportConfig:
    """The options of ``twotower import``, stored in the dataset's manifest."""

    events: tuple[Path, ...] = ()  # files of watch events
    markets: tuple[tuple[str, Path], ...] = ()  # (territory, file of events that all happened there)
    user: str = "user"  # columns
    title: str = "title"
    territory: str = "territory"  # of ``users`` if it has that column and there are no markets, else of the events
    time: str | None = None
    time_format: str | None = None  # as of datetime.strptime; None: see days.py
    user_info: tuple[str, ...] = ()  # columns of the events that describe users
    title_info: tuple[str, ...] = ()  # columns of the events that describe titles
    users: Path | None = None  # a table with one row per user
    users_id: str | None = None  # None: as ``user``
    titles: Path | None = None  # a table with one row per title, or several with join_titles or title_weight
    titles_id: str | None = None  # None: as ``title``
    join_titles: bool = False
    title_weight: str | None = None
    title_country: str | None = None  # the column of them with the country of origin
    unknown_ids: str = "fail"  # what to do with users and titles of the events that those tables lack
    keep_titles: str | None = None  # regular expression to be found in a title's id
    min_title_users: int = 1
    train_days: int | None = None  # None: see split_by_day
    test_days: int | None = None
    calendar: bool = False
    history_share: float | None = None  # None: HISTORY_SHARE
    available_after: int = 0  # users in a territory before a title is available there; 0: everywhere at once
    from_date: str | None = None  # YYYY-MM-DD: events before it are left out
    until_date: str | None = None  # and events after it
    missing_territory: str = "fail"  # what to do with users and events without a territory
    territories_are: str | None = None  # names, codes or other; None: names and codes of countries
    territory_names: Path | None = None  # a table of spellings of territories
    places: Path | None = None  # a table of places of territories
    skip_bad_rows: bool = False
    strict: bool = False  # warnings are errors
    dry_run: bool = False  # read the first DRY_ROWS rows of each file and write nothing
    separator: str | None = None
    encoding: str = "utf-8"
    no_header: bool = False
    no_quotes: bool = False
    backslash_escapes: bool = False
    skip_lines: int = 0
    users_separator: str | None = None  # of the table of users; None: as of the events, here and below
    users_encoding: str | None = None
    users_no_header: bool | None = None
    titles_separator: str | None = None
    titles_encoding: str | None = None
    titles_no_header: bool | None = None
    where: str | None = None  # an SQL expression of the events' columns: other rows are left out
    sql: str | None = None  # a query whose rows are events
    database: str | None = None  # that it asks; None: DuckDB itself
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.events or self.markets or self.sql):
            raise InputError("no watch log: expected --events FILE, --market TERRITORY FILE or --sql QUERY")
        if self.unknown_ids not in UNKNOWN_IDS:
            raise InputError(f"--unknown-ids {self.unknown_ids!r}: expected {', '.join(UNKNOWN_IDS)}")
        if not 0 <= (self.history_share or 0) < 1:
            raise InputError(f"--history-share {self.history_share}: expected from 0 to less than 1")
        for name in ("from_date", "until_date"):
            try:
                date.fromisoformat(getattr(self, name) or "2000-01-01")
            except ValueError:
                flag = f"--{name.removesuffix('_date')}"
                raise InputError(f"{flag} {getattr(self, name)!r}: expected a date such as 2024-03-01") from None
        if self.from_date and self.until_date and self.from_date > self.until_date:
            raise InputError(f"--from {self.from_date} is after --until {self.until_date}")
        if self.missing_territory not in MISSING_TERRITORY:
            expected = ", ".join(MISSING_TERRITORY)
            raise InputError(f"--missing-territory {self.missing_territory!r}: expected {expected}")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: expected a whole number >= 0")
        for territory, file in self.markets:
            if clean(territory) in MISSING:
                raise InputError(f"--market {territory!r} {file}: expected a code or a name of a territory")
        try:
            re.compile(self.keep_titles or "")
        except re.error as error:
            raise InputError(f"--keep-titles {self.keep_titles!r}: not a regular expression ({error})") from None
        if (self.train_days == 0) != (self.test_days == 0):
            zero, other = ("train", "test") if self.train_days == 0 else ("test", "train")
            raise InputError(f"--{zero}-days 0: expected --{other}-days 0 as well, for a log to score only")
        refuse_no_effect("import", set_values(vars(self)), vars(self))
        if self.time_format is not None:
            check_format(self.time_format)

    def plain(self) -> dict[str, Any]:
        """The config for JSON, with paths as text and without passwords."""
        plain = json.loads(json.dumps(asdict(self), default=str))
        return plain | {name: plain[name] and without_password(plain[name]) for name in ("sql", "database")}

    def form(self, table: str = "events") -> CsvFormat:
        """How text files of the events, or the table of ``users`` or ``titles``, are written."""
        separator, encoding, no_header, skip_lines = self.separator, self.encoding, self.no_header, self.skip_lines
        if table != "events":
            own = [getattr(self, f"{table}_{name}") for name in ("separator", "encoding", "no_header")]
            separator, encoding = own[0] or separator, own[1] or encoding
            no_header = no_header if own[2] is None else own[2]
            skip_lines = 0
        if separator and (separator == "tab" or ESCAPED.fullmatch(separator)):
            separator = "\t" if separator == "tab" else separator.encode().decode("unicode_escape")
        quotes, table = not self.no_quotes, "" if table == "events" else table
        return CsvFormat(separator, encoding, not no_header, quotes, self.backslash_escapes, skip_lines, table)

"""Territories: the table, the countries that names mean, and geographic groups."""

import csv
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from twotower.core.errors import InputError
from twotower.core.formatting import counted

UNGROUPED = -1  # not grouped yet
MAJORS = 16  # how many territories with most users count as major: the paper's Table 1 has 16
STARTS = 16  # starting points of the clustering: the best of their local optima is kept
MAX_ROUNDS = 100  # assignments per start; each one lowers the cost, so this is never reached in practice


_TWO_NAMES = re.compile(r"(.+?)\s*\((.+)\)\s*")  # Myanmar (Burma)
_FILLERS = {"the", "of", "and"}
_ABBREVIATIONS = {
    "st": "saint", "rep": "republic", "dem": "democratic", "fed": "federated", "sts": "states", "is": "islands",
}  # fmt: skip
_STATE_FORMS = {
    *("republic", "kingdom", "federal", "federative", "socialist", "islamic", "arab", "plurinational", "bolivarian"),
    *("principality", "sultanate", "commonwealth"),
}  # words that a country's name may have or lack


@dataclass(frozen=True, eq=False)
class Territories:
    """The territories of a dataset, one row each, in the order that its indices mean. C territories."""

    code: list[str]  # (C,) unique: ISO 3166 alpha-2, or the log's own name where no country is known
    name: list[str]  # (C,)
    latitude: np.ndarray  # (C,) float64 degrees, nan = unknown
    longitude: np.ndarray  # (C,) float64 degrees, nan = unknown
    users: np.ndarray  # (C,) int64
    group: np.ndarray  # (C,) int16, -1 = not grouped

    def __post_init__(self) -> None:
        lengths = {field: len(column) for field, column in vars(self).items()}
        if len(set(lengths.values())) != 1:
            raise InputError(f"territory table: columns of unequal length {lengths}")
        if len(self._row_of_code) != len(self.code):
            twice = next(code for i, code in enumerate(self.code) if code in self.code[:i])
            raise InputError(f"territory table: code {twice!r} occurs twice, expected unique codes")

    def __len__(self) -> int:
        return len(self.code)

    @cached_property
    def _row_of_code(self) -> dict[str, int]:
        return {code: row for row, code in enumerate(self.code)}

    @cached_property
    def _row_of_name(self) -> dict[str, int]:
        return {name: row for row, name in reversed(list(enumerate(self.name)))}

    def index(self, code_or_name: str) -> int:
        """Row of a territory by code, name or any alias of its country. Errors: InputError when unknown."""
        country = find_country(code_or_name)
        for row in (
            self._row_of_code.get(code_or_name),
            self._row_of_name.get(code_or_name),
            self._row_of_code.get(country.code) if country else None,
        ):
            if row is not None:
                return row
        some = ", ".join(self.code[:3])
        raise InputError(f"unknown territory {code_or_name!r}, expected a code or name such as {some}")

    def majors(self, count: int = MAJORS) -> np.ndarray:
        """Rows of the ``count`` territories with most users, largest first; equally large ones by code."""
        order = sorted(range(len(self)), key=lambda row: (-int(self.users[row]), self.code[row]))
        return np.array(order[:count], np.int64)


class Country(NamedTuple):
    """One row of countries.csv: rough centre, population, main language, and the names that logs use."""

    code: str
    name: str
    latitude: float
    longitude: float
    population_millions: float
    language: str
    aliases: tuple[str, ...]


@lru_cache(maxsize=1)
def load_countries() -> tuple[Country, ...]:
    """All of ISO 3166-1, and under user-assigned codes Kosovo, the Channel Islands and the West Indies."""
    table = (resources.files("twotower.data") / "countries.csv").read_text(encoding="utf-8")
    return tuple(
        Country(
            code=row["code"],
            name=row["name"],
            latitude=float(row["latitude"]),
            longitude=float(row["longitude"]),
            population_millions=float(row["population_millions"]),
            language=row["language"],
            aliases=tuple(alias for alias in row["aliases"].split("|") if alias),
        )
        for row in csv.DictReader(table.splitlines())
    )


def find_country(name: str) -> Country | None:
    """The country that a code, name or alias means, or None.

    Case, accents, punctuation, abbreviations and the order of words are ignored: ``Korea, Rep.`` is ``Republic of
    Korea``. So is a second name in parentheses, ``Myanmar (Burma)``, and the form of the state before a known name.
    """
    known, key = _country_of_key(), name_key(name)
    if key in known:
        return known[key]
    if both := _TWO_NAMES.fullmatch(name):
        first, second = (known.get(name_key(part)) for part in both.groups())
        if first is not None and first is second:
            return first
    words = key.split()
    return known.get(" ".join(word for word in words if word not in _STATE_FORMS)) if len(words) > 1 else None


@lru_cache(maxsize=1)
def _country_of_key() -> dict[str, Country]:
    return {
        name_key(name): country
        for country in load_countries()
        for name in (country.code, country.name, *country.aliases)
    }


def name_key(name: str) -> str:
    """What two spellings of one name share.

    A naive split at commas leaves half of a quoted name, `"Korea` of `"Korea, Republic of"`. Such a stump
    keeps a comma at its end, for `"Congo` (…, the Democratic Republic of the) and `Congo` are two countries.
    """
    name = name.strip()
    stump = "," if name.endswith(",") or (name.startswith('"') and not name.endswith('"')) else ""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c)).casefold()
    plain = plain.replace("&", " and ").replace("special administrative region", "sar")
    words = "".join(c if c.isalnum() else " " for c in plain).split()
    spelled = re.sub(r"\b(\w) (?=\w\b)", r"\1", " ".join(words)).split()  # u k → uk
    full = [_ABBREVIATIONS.get(word, word) for word in spelled]
    return " ".join(sorted(word for word in full if word not in _FILLERS) or full) + stump


def look_up(names: Sequence[str]) -> Territories:
    """A territory table for the names of a log, in their order, with the codes and places of what they mean.

    A name that means no country ("Unspecified") stays as its own code, with coordinates nan. Where two names
    mean one country ("USA" and "United States"), the second stays its own territory at that place; a caller
    that wants them merged asks `find_country` first. Audiences are 0 and groups -1. Errors: InputError when
    a name occurs twice.
    """
    codes: list[str] = []
    countries = [find_country(name) for name in names]
    for name, country in zip(names, countries, strict=True):
        codes.append(country.code if country and country.code not in codes else name)
    return Territories(
        code=codes,
        name=[c.name if c and c.code == code else code for code, c in zip(codes, countries, strict=True)],
        latitude=np.array([c.latitude if c else np.nan for c in countries], np.float64),
        longitude=np.array([c.longitude if c else np.nan for c in countries], np.float64),
        users=np.zeros(len(codes), np.int64),
        group=np.full(len(codes), UNGROUPED, np.int16),
    )


def geographic_groups(territories: Territories, k: int, majors: int = MAJORS) -> np.ndarray:
    """Put territories into ``k`` compact regions of the globe, each with its fair share of majors and minors.

    Balanced k-means on the unit sphere. With the centres fixed, the cheapest assignment that gives each group
    ⌊n/k⌋ or ⌈n/k⌉ of the n majors, and likewise of the minors, is a linear assignment problem, solved
    exactly. With the assignment fixed, the centre with the lowest cost Σ (1 − cos) is the mean direction. The
    two steps alternate until nothing changes, from several starts spread out by farthest-first traversal, and
    the cheapest end is kept. Territories without a place then go, largest first, to the group with the
    fewest users. Major are the ``majors`` territories with most users, at most half of all but at least k.

    Nothing is random and the order of the table does not matter: group 0 holds the largest territory, group 1
    the largest outside group 0, and so on.

    Returns (C,) int16. Errors: InputError unless 1 ≤ k ≤ C.
    """
    n = len(territories)
    if not 1 <= k <= n:
        asked = f"{counted(k, 'group')} for {counted(n, 'territory', 'territories')}"
        raise InputError(f"{asked}: expected a number of groups from 1 to {n}")
    order = territories.majors(n)  # largest first: from here on the order of the table is forgotten
    is_major = np.arange(n) < max(k, min(majors, n // 2))  # (C,)
    points = on_sphere(territories.latitude[order], territories.longitude[order])  # (C, 3)
    located = np.isfinite(points).all(axis=1)

    group = np.full(n, UNGROUPED, np.int16)  # (C,) largest first
    if located.any():
        group[located] = balanced_clusters(points[located], is_major[located], k)
    users = territories.users[order]
    for row in np.flatnonzero(~located):
        load = [(int(users[group == g].sum()), int((group == g).sum())) for g in range(k)]
        group[row] = load.index(min(load))

    first_seen = list(dict.fromkeys(group.tolist()))
    result = np.empty(n, np.int16)
    result[order] = [first_seen.index(g) for g in group.tolist()]
    return result


def on_sphere(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Unit vectors (n, 3) of places in degrees."""
    phi, lam = np.radians(latitude), np.radians(longitude)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=1)


def balanced_clusters(points: np.ndarray, is_major: np.ndarray, k: int) -> np.ndarray:
    """The cheapest of some local optima of balanced k-means: points (n, 3), is_major (n,) → cluster (n,)."""
    best_cost, best = np.inf, np.zeros(len(points), np.int64)
    for start in range(min(STARTS, len(points))):
        centres = points[_spread_out(points, k, start)]  # (K, 3)
        cluster = np.full(len(points), -1)
        for _ in range(MAX_ROUNDS):
            cost = 1.0 - points @ centres.T  # (n, K)
            before, cluster = cluster, np.empty_like(cluster)
            for kind in (is_major, ~is_major):
                cluster[kind] = _fair_assignment(cost[kind])
            if np.array_equal(cluster, before):
                break
            centres = np.stack([_mean_direction(points[cluster == g], centres[g]) for g in range(k)])
        total = cost[np.arange(len(points)), cluster].sum()
        if total < best_cost - 1e-9:  # a difference of rounding must not decide: machines differ there
            best_cost, best = total, cluster
    return best


def _spread_out(points: np.ndarray, k: int, start: int) -> list[int]:
    """Farthest-first traversal: ``k`` rows, each the farthest from all those before it."""
    rows = [start]
    while len(rows) < k:
        nearest = (points @ points[rows].T).max(axis=1)  # cosine to the nearest row taken
        rows.append(int(np.argmin(nearest.round(12))))
    return rows


def _fair_assignment(cost: np.ndarray) -> np.ndarray:
    """Cheapest column for each row of cost (n, K), with ⌊n/K⌋ or ⌈n/K⌉ rows a column: (n,)."""
    from scipy.optimize import linear_sum_assignment  # here, because few need it and it is slow to import

    n, k = cost.shape
    must = n // k  # seats that every column has to fill; one more each is open to the n mod K rows left
    reward = 4.0 * n + 1.0  # more than all costs together (each is at most 2): no such seat stays empty
    seats = np.concatenate([np.tile(cost - reward, must), cost], axis=1)  # (n, K·must + K)
    _, seat = linear_sum_assignment(seats)
    return seat % k


def _mean_direction(points: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    total = points.sum(axis=0)
    length = np.linalg.norm(total)
    return total / length if length > 1e-9 else otherwise  # an empty or evenly scattered one points nowhere


def grouping_from_file(path: str | Path, territories: Territories) -> np.ndarray:
    """Read groups from a CSV with the columns ``territory`` (code, name or alias) and ``group`` (0, …, K−1).

    Returns (C,) int16. Errors: InputError with file, line and what was expected, for a missing file or
    column, an unknown territory, one that is listed twice or not at all, and a group without territories.
    """
    group = np.full(len(territories), UNGROUPED, np.int16)
    for line, name, number in _read_grouping(Path(path)):
        try:
            row = territories.index(name)
        except InputError as error:
            raise InputError(f"{path} line {line}: {error}") from None
        if group[row] != UNGROUPED:
            raise InputError(f"{path} line {line}: territory {name!r} is listed twice, expected once")
        if not number.isdecimal() or int(number) >= len(territories):
            raise InputError(f"{path} line {line}: group {number!r}, expected a whole number 0, 1, …")
        group[row] = int(number)
    if (group == UNGROUPED).any():
        missing = [territories.code[row] for row in np.flatnonzero(group == UNGROUPED)]
        missing_rows = f"{counted(len(missing), 'territory', 'territories')} {'has' if len(missing) == 1 else 'have'}"
        raise InputError(f"{path}: {missing_rows} no line, the first is {missing[0]!r}")
    skipped = sorted(set(range(int(group.max()))) - set(group.tolist()))
    if skipped:
        raise InputError(f"{path}: group {skipped[0]} has no territory, expected all of 0 … {group.max()}")
    return group


def _read_grouping(path: Path) -> Iterable[tuple[int, str, str]]:
    """Line number, territory and group of every row."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames is None or not {"territory", "group"} <= set(reader.fieldnames):
                raise InputError(f"{path} line 1: columns {reader.fieldnames}, expected territory,group")
            for row in reader:
                yield reader.line_num, (row["territory"] or "").strip(), (row["group"] or "").strip()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}, expected a CSV with columns territory,group") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable CSV ({error})") from None

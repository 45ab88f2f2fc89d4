"""Countries and their subdivisions: what codes and names mean. docs/generate_countries.py completes the table."""

import csv
import re
import unicodedata
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

READINGS = ("names", "codes", "other")  # what a log's territories are: of countries, or neither

_TWO_NAMES = re.compile(r"\[?(.+?)\s*(?:[(\[\]/]|\s-\s)\s*(.+?)\s*[)\]]?\s*")  # Myanmar (Burma), DE - Germany
_SUBDIVISION = re.compile(r"([A-Z]{2})-[A-Z0-9]{1,3}")  # US-CA, as of ISO 3166-2
_FILLERS = {"the", "of", "and"}
_ABBREVIATIONS = {
    "st": "saint", "rep": "republic", "dem": "democratic", "fed": "federated", "sts": "states", "is": "islands",
}  # fmt: skip
_IN_NAMES = {  # of several words, as in W. Sahara; one word may be a code
    "s": "south", "n": "north", "w": "western", "eq": "equatorial", "fr": "french", "br": "british", "utd": "united",
    "herz": "herzegovina", "barb": "barbuda", "ter": "territory", "geo": "georgia", "cent": "central",
}  # fmt: skip
_FLAG_LETTERS = {0x1F1E6 + i: chr(ord("a") + i) for i in range(26)}
_STATE_FORMS = {
    *("republic", "kingdom", "federal", "federative", "socialist", "islamic", "arab", "plurinational", "bolivarian"),
    *("principality", "sultanate", "commonwealth"),
}  # words that a country's name may have or lack


class Country(NamedTuple):
    """One row of countries.csv: rough centre, population, main language, and the names that logs use."""

    code: str  # ISO 3166 alpha-2
    alpha3: str
    name: str
    latitude: float
    longitude: float
    population_millions: float
    language: str
    aliases: tuple[str, ...]
    subdivisions: frozenset[str]  # codes of two letters after "US-", where several are those of countries, too


class Place(NamedTuple):
    """What the name of a territory means. Coordinates in degrees; nan = unknown."""

    code: str
    name: str
    latitude: float
    longitude: float


@lru_cache(maxsize=1)
def load_countries() -> tuple[Country, ...]:
    """All of ISO 3166-1, and under user-assigned codes Kosovo, the Channel Islands and the West Indies."""
    table = (resources.files("twotower.data") / "countries.csv").read_text(encoding="utf-8")
    return tuple(
        Country(
            code=row["code"],
            alpha3=row["alpha3"],
            name=row["name"],
            latitude=float(row["latitude"]),
            longitude=float(row["longitude"]),
            population_millions=float(row["population_millions"]),
            language=row["language"],
            aliases=tuple(alias for alias in row["aliases"].split("|") if alias),
            subdivisions=frozenset(row["subdivisions"].split()),
        )
        for row in csv.DictReader(table.splitlines())
    )


def find_place(name: str, reading: str | None = None) -> Place | None:
    """The country, or its subdivision such as ``US-CA``, that a name means, or None: see ``find_country``.

    Of a subdivision, which has the place of its country, any code of that form is taken.
    """
    if country := find_country(name, reading):
        return Place(country.code, country.name, country.latitude, country.longitude)
    code = name.strip()
    if reading in (None, "codes") and (form := _SUBDIVISION.fullmatch(code)):
        country = _by_key("codes").get(form[1].casefold())
        return country and Place(code, code, country.latitude, country.longitude)
    return None


def find_country(name: str, reading: str | None = None) -> Country | None:
    """The country that a code, name or alias means, or None; with a ``reading``, only a code, or only a name.

    Case, accents, punctuation, abbreviations and the order of words are ignored: ``Korea, Rep.`` is ``Republic of
    Korea``. So is a second name in parentheses, ``Myanmar (Burma)``, and the form of the state before a known name.
    """
    if reading == "other":
        return None
    known, key = _by_key(reading), name_key(name)
    if key in known:
        return known[key]
    if both := _TWO_NAMES.fullmatch(name):
        first, second = (known.get(name_key(part)) for part in both.groups())
        if first is not None and first is second:
            return first
    words = key.split()
    return known.get(" ".join(word for word in words if word not in _STATE_FORMS)) if len(words) > 1 else None


@lru_cache(maxsize=3)
def _by_key(reading: str | None) -> dict[str, Country]:
    table: dict[str, Country] = {}
    for country in load_countries():
        codes, names = (country.code, *filter(None, [country.alpha3])), (country.name, *country.aliases)
        for name in (*(codes if reading != "names" else ()), *(names if reading != "codes" else ())):
            table[name_key(name)] = country
    return table


def name_key(name: str) -> str:
    """What two spellings of one name share.

    A naive split at commas leaves half of a quoted name, `"Korea` of `"Korea, Republic of"`. Such a stump
    keeps a comma at its end, for `"Congo` (…, the Democratic Republic of the) and `Congo` are two countries.
    """
    name = name.strip()
    stump = "," if name.endswith(",") or (name.startswith('"') and not name.endswith('"')) else ""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c)).casefold()
    if plain and all(ord(c) in _FLAG_LETTERS for c in plain):
        return plain.translate(_FLAG_LETTERS)
    plain = plain.replace("&", " and ").replace("special administrative region", "sar")
    words = "".join(c if c.isalnum() else " " for c in plain).split()
    spelled = re.sub(r"\b(\w) (?=\w\b)", r"\1", " ".join(words)).split()  # u k → uk
    known = _ABBREVIATIONS | (_IN_NAMES if len(spelled) > 1 else {})
    full = [known.get(word, word) for word in spelled]
    return " ".join(sorted(word for word in full if word not in _FILLERS) or full) + stump

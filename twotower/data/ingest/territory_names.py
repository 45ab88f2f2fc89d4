"""What the territories of a log are: countries, their subdivisions, or others, with places of their own."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.data.countries import READINGS, Country, Place, find_country, find_place, load_countries, name_key
from twotower.data.ingest.blocks import some_of
from twotower.data.small_tables import read_rows

MAX_TERRITORIES = int(np.iinfo(np.int16).max)  # users carry theirs as int16
SUBDIVISIONS_SHARE = 0.5  # of a log's codes that are of one country's subdivisions, to say so
FEWEST_CODES = 3  # that are codes of countries and of one country's subdivisions alike, to say so
#: Names that mean one country here and something else elsewhere.
AMBIGUOUS = {
    "Congo": "not DR Congo",
    "Georgia": "the country, not the state of the US",
    "Guinea": "not Equatorial Guinea, Guinea-Bissau or Papua New Guinea",
    "Korea": "not North Korea",
    "Micronesia": "the federated states, not the region",
    "Saint Martin": "the French part, not Sint Maarten",
    "Samoa": "not American Samoa",
    "Virgin Islands": "those of the US",
}


@dataclass(frozen=True)
class TerritoryNames:
    """How names of territories are read."""

    reading: str | None = None  # of READINGS; None: codes and names of countries
    spellings: Mapping[str, str] = field(default_factory=dict)  # key of a name in the log → the territory that it means
    places: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # code → latitude, longitude

    def place(self, name: str) -> Place:
        """What a name in the log means; one that means no country is a territory of its own."""
        name = self.spellings.get(name_key(name), name)
        place = find_place(name, self.reading) or Place(name, name, math.nan, math.nan)
        latitude, longitude = self.places.get(place.code, place[2:])
        return place._replace(latitude=latitude, longitude=longitude)

    def distinct(self, names: Sequence[str]) -> tuple[list[Place], np.ndarray]:
        """The distinct places that names mean, and (n,) int64 which one each name means.

        Errors: InputError for more territories than a user's can be kept as.
        """
        places = [self.place(name) for name in names]
        row = {code: i for i, code in enumerate(dict.fromkeys(place.code for place in places))}
        if len(row) > MAX_TERRITORIES:
            found = f"{len(row):,} territories, such as {names[0]!r}"
            raise InputError(f"{found}, expected at most {MAX_TERRITORIES:,}: does --territory name the right column?")
        first = {place.code: place for place in reversed(places)}
        return [first[code] for code in row], np.array([row[place.code] for place in places], np.int64)

    def doubts(self, names: Sequence[str]) -> tuple[list[str], list[str]]:
        """Names that may not mean the countries that they are read as, unless options say so: see below."""
        undecided = [name for name in names if self.reading is None and name_key(name) not in self.spellings]
        assumptions, warnings = doubtful_countries(undecided)
        places = [self.place(name) for name in names]
        for option, unused in (
            ("--territory-names", set(self.spellings) - set(map(name_key, names))),
            ("--places", set(self.places) - {place.code for place in places}),
        ):
            if unused:
                assumptions.append(f"Not in the log, of {option}: {some_of(sorted(unused))}.")
        return assumptions, warnings + similar_territories([place.name for place in places])


def read_territory_names(reading: str | None, spellings: Path | None, places: Path | None) -> TerritoryNames:
    """The options ``--territories-are``, ``--territory-names FILE`` and ``--places FILE``.

    Errors: InputError with file and line for what occurs twice and differs, and for no degrees.
    """
    if reading not in (None, *READINGS):
        raise InputError(f"--territories-are {reading!r}: expected {', '.join(READINGS)}")
    meant: dict[str, str] = {}
    for line, (spelling, territory) in read_rows(spellings, ("spelling", "territory")) if spellings else ():
        if not (spelling and territory):
            raise InputError(f"{spellings} line {line}: an empty cell, expected a spelling and the territory it means")
        if meant.setdefault(name_key(spelling), territory) != territory:
            other = meant[name_key(spelling)]
            raise InputError(f"{spellings} line {line}: {spelling!r} means {territory!r}, and {other!r} further up")
    located: dict[str, tuple[float, float]] = {}
    for line, (name, *degrees) in read_rows(places, ("name", "latitude", "longitude")) if places else ():
        try:
            latitude, longitude = map(float, degrees)
        except ValueError:
            latitude = longitude = math.nan
        if not (abs(latitude) <= 90 and abs(longitude) <= 180):
            expected = "a latitude from -90 to 90 and a longitude from -180 to 180"
            raise InputError(f"{places} line {line}: {', '.join(degrees)}, expected {expected} in degrees")
        country = find_place(name, reading)
        if located.setdefault(country.code if country else name, (latitude, longitude)) != (latitude, longitude):
            raise InputError(f"{places} line {line}: {name!r} has another place further up")
    return TerritoryNames(reading, meant, located)


def without_a_place(places: Sequence[Place], reading: str | None) -> list[str]:
    """A note on territories that have no place, and what to do."""
    unknown = [place.name for place in places if math.isnan(place.latitude)]
    if not unknown or reading == "other":
        return []
    what = counted(len(unknown), "territory", "territories")
    known = "for no such country is known in English"
    return [f"{what} without a place, {known}: {some_of(unknown)} (--territory-names, --places)."]


def doubtful_countries(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names and codes of a log that are read as countries and may be something else: assumptions and warnings."""
    assumptions: list[str] = []
    warnings: list[str] = []
    if likely := most_subdivisions(names):
        country, codes, both = likely
        found = f"{len(codes)} territories are codes of parts of {country.name}: {some_of(codes)}"
        read = ", ".join(f"{code} is {c.name}" for code in both[:3] if (c := find_country(code)))
        remedy = f"--territory-names FILE maps {codes[0]} to {country.code}-{codes[0]}"
        if len(both) < len(codes):
            warnings.append(f"{found}; as countries, {read} ({remedy}; --territories-are other: no countries).")
        else:
            assumptions.append(f"{found}. Read as countries: {read} (else {remedy}).")
    for name in names:
        country_of = find_country(name, "names")
        meaning = AMBIGUOUS.get(" ".join(name.split()).title())
        if meaning and country_of:
            text = f"Territory {name!r} is read as {country_of.name}: {meaning}"
            others = [other for other in names if not find_place(other)]
            if 2 * len(others) > len(names):
                warnings.append(f"{text}; most others are no countries (--territories-are other).")
            else:
                assumptions.append(f"{text}.")
    return assumptions, warnings


def most_subdivisions(names: Sequence[str]) -> tuple[Country, list[str], list[str]] | None:
    """The country whose subdivisions explain the codes of a log better than countries do, or equally well.

    Returns it with its codes, and those of them that are codes of countries, too.
    """
    codes = sorted({name for name in names if len(name) == 2 and name.isascii() and name.isalpha() and name.isupper()})
    if not codes:
        return None
    sizes = [
        (len(country.subdivisions.intersection(codes)), country.population_millions) for country in load_countries()
    ]
    country = load_countries()[sizes.index(max(sizes))]
    own = [code for code in codes if code in country.subdivisions]
    both = [code for code in own if find_country(code, "codes")]
    countries = sum(find_country(code) is not None for code in codes)
    better = len(own) > countries and len(own) > SUBDIVISIONS_SHARE * len(codes)
    alike = country.code == "US" and len(own) == len(codes) >= FEWEST_CODES
    return (country, own, both) if both and (better or alike) else None


def similar_territories(names: Sequence[str]) -> list[str]:
    """Territories whose names differ in case, accents or punctuation only, as warnings."""
    first: dict[str, str] = {}
    pairs = []
    for name in dict.fromkeys(names):
        other = first.setdefault(name_key(name), name)
        if other != name:
            pairs.append(f"{other!r} and {name!r}")
    remedy = "--territory-names FILE makes them one"
    return [f"Territories that may be one: {', '.join(pairs[:5])} ({remedy})."] if pairs else []

"""Complete twotower/data/countries.csv from CLDR (babel) and ISO 3166 (pycountry): python docs/generate_countries.py.

Codes, centres, populations, languages and the first aliases are kept by hand. Added are alpha-3 codes, every English
name of those sources that the table does not understand yet, and the codes of subdivisions that could be taken for
countries. Neither package is needed to run twotower.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import babel
import pycountry

from twotower.data import countries

TABLE = Path(countries.__file__).with_name("countries.csv")
#: Territories of CLDR that are parts of countries → the country.
PARTS = {"AC": "SH", "CP": "FR", "CQ": "GG", "DG": "IO", "EA": "ES", "IC": "ES", "TA": "SH"}
NO_COUNTRIES = {"EU", "EZ", "QO", "UN", "XA", "XB", "ZZ"}  # of CLDR's codes of two letters
FEWEST = 3  # subdivisions with the code of a country


def known_names() -> Iterator[tuple[str, str]]:
    """Code and name of every country in every source."""
    for code, name in babel.Locale("en").territories.items():
        if len(code) == 2 and code not in NO_COUNTRIES:
            yield PARTS.get(code, code), name
    for country in pycountry.countries:
        for kind in ("name", "common_name", "official_name"):
            if name := getattr(country, kind, None):
                yield country.alpha_2, name


def subdivisions(code: str, codes: set[str]) -> list[str]:
    """Codes of two letters after "US-", if several are those of countries, too."""
    found = pycountry.subdivisions.get(country_code=code) or []
    short = [part for part in (one.code.partition("-")[2] for one in found) if len(part) == 2 and part.isalpha()]
    return sorted(short) if len(codes.intersection(short)) >= FEWEST else []


def completed() -> str:
    """The table as it should be."""
    with open(TABLE, encoding="utf-8", newline="") as file:
        rows = {row["code"]: row for row in csv.DictReader(file)}
    for code, row in rows.items():
        country = pycountry.countries.get(alpha_2=code)
        row["alpha3"] = country.alpha_3 if country else row["alpha3"]
        row["subdivisions"] = " ".join(subdivisions(code, set(rows)))
    for code, name in known_names():
        if (found := countries.find_country(name)) is None:
            rows[code]["aliases"] += f"|{name}" if rows[code]["aliases"] else name
        elif found.code != code:
            raise ValueError(f"{name!r} is understood as {found.code}, expected {code}")
    columns = ["code", "alpha3", *(name for name in countries.Country._fields if name not in ("code", "alpha3"))]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    return text.getvalue()


if __name__ == "__main__":
    TABLE.write_text(completed(), encoding="utf-8", newline="")

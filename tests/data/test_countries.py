"""Countries: what codes and names mean, over the full English lists of CLDR and ISO 3166."""

import importlib.util
from pathlib import Path

import pytest

from twotower.data.countries import find_country, find_place, load_countries, name_key

GENERATOR = Path(__file__).parents[2] / "docs" / "generate_countries.py"
#: Names of the World Bank and of the UN that CLDR and ISO 3166 spell otherwise.
OTHER_LISTS = {
    "AE": "UAE", "BO": "Bolivia (Plurinational State of)", "BS": "Bahamas, The", "CD": "Congo, Dem. Rep.",
    "CG": "Congo, Rep.", "CI": "Cote d'Ivoire", "CV": "Cabo Verde", "CZ": "Czech Rep.", "EG": "Egypt, Arab Rep.",
    "FM": "Micronesia, Fed. Sts.", "GB": "U.K.", "GM": "Gambia, The", "HK": "Hong Kong SAR, China",
    "IR": "Iran, Islamic Rep.", "KG": "Kyrgyz Republic", "KN": "St. Kitts and Nevis", "KP": "Korea, Dem. People's Rep.",
    "KR": "Korea, Rep.", "LA": "Lao PDR", "LC": "St. Lucia", "MD": "Republic of Moldova",
    "MF": "St. Martin (French part)", "MK": "TFYR of Macedonia",
    "MM": "Myanmar (Burma)", "MO": "Macao SAR, China", "NL": "Netherlands (the)",
    "PR": "Puerto Rico (US)", "PS": "West Bank and Gaza", "RU": "Russian Federation", "SK": "Slovak Republic",
    "SO": "Somalia, Fed. Rep.", "ST": "Sao Tome and Principe", "SX": "Sint Maarten (Dutch part)",
    "SY": "Syrian Arab Republic", "TR": "Turkiye", "TW": "Taiwan, China", "TZ": "United Republic of Tanzania",
    "VC": "St. Vincent and the Grenadines", "VE": "Venezuela, RB", "VI": "Virgin Islands (U.S.)", "VN": "Viet Nam",
    "YE": "Yemen, Rep.",
}  # fmt: skip


@pytest.fixture(scope="module")
def generator():
    """The script that completes the table; it needs two packages that the project itself does not."""
    for package in ("babel", "pycountry"):
        pytest.importorskip(package, reason=f"{package}, the source of the names, is not installed")
    spec = importlib.util.spec_from_file_location("generate_countries", GENERATOR)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_name_of_cldr_and_of_iso_is_understood(generator):
    names = list(generator.known_names())
    assert len(names) > 600
    assert [(code, name) for code, name in names if find_country(name).code != code] == []
    assert [c for c in generator.pycountry.countries if find_country(c.alpha_3, "codes").code != c.alpha_2] == []


def test_the_table_is_what_its_sources_make_of_it(generator):
    assert generator.completed() == generator.TABLE.read_text(encoding="utf-8")


def test_names_of_the_world_bank_and_the_un_are_understood():
    assert {code: find_country(name) and find_country(name).code for code, name in OTHER_LISTS.items()} == {
        code: code for code in OTHER_LISTS
    }


def test_a_reading_decides_what_is_looked_up():
    assert find_country("Germany", "codes") is None and find_country("DEU", "codes").code == "DE"
    assert find_country("DE", "names") is None and find_country("UK", "names").code == "GB"
    assert find_country("Germany", "other") is None and find_place("US-CA", "other") is None
    assert find_place("US-CA", "names") is None


def test_subdivisions_are_territories_at_the_place_of_their_country():
    brazil = find_country("BR")
    assert find_place(" BR-SP ") == ("BR-SP", "BR-SP", brazil.latitude, brazil.longitude)
    for other in ("es-MX", "ZZ-A", "US-CALI", "X-1"):  # the first is a language
        assert find_place(other) is None


def test_countries_cover_the_world_with_sane_numbers():
    countries = load_countries()
    assert len(countries) == 252 and len({c.code for c in countries}) == 252
    assert all(len(c.code) == 2 and c.code.isupper() for c in countries)
    assert all(-90 <= c.latitude <= 90 and -180 <= c.longitude <= 180 for c in countries)
    assert 7_800 < sum(c.population_millions for c in countries) < 8_200
    assert sum(c.population_millions > 0.01 for c in countries) >= 200


def test_no_two_countries_share_a_name():
    owner = {}
    for country in load_countries():
        for name in filter(None, (country.code, country.alpha3, country.name, *country.aliases)):
            assert owner.setdefault(name_key(name), country.code) == country.code, name


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Russian Federation", "RU"),
        ("Viet Nam", "VN"),
        ("Korea", "KR"),
        ("Korea, Republic of", "KR"),
        ("EIRE", "IE"),
        ("RSA", "ZA"),
        ("USA", "US"),
        ("usa", "US"),
        ("GBR", "GB"),
        ("Cote d'Ivoire", "CI"),
        ("St. Lucia", "LC"),
        ("The Gambia", "GM"),
        ("Trinidad & Tobago", "TT"),
        ("  Réunion ", "RE"),
        ("reunion", "RE"),
        ("Czech Republic", "CZ"),
        ("Channel Islands", "XC"),
        ("Netherlands Antilles", "CW"),
        ("Virgin Islands, U.s.", "VI"),
        ("Virgin Islands, British", "VG"),
    ],
)
def test_names_as_logs_write_them_are_understood(name, code):
    assert find_country(name).code == code


def test_names_cut_at_their_comma_are_understood():
    stumps = {'"Korea': "KR", '"Iran': "IR", '"Congo': "CD", '"Virgin Islands': "VI"}
    assert {name: find_country(name).code for name in stumps} == stumps
    assert find_country("Congo").code == "CG"  # whole, it is the other Congo


def test_no_place_is_made_up():
    for name in ("Unspecified", "European Community", "", "?", "Atlantis"):
        assert find_country(name) is None

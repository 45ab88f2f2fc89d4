"""What the territories of a log are: spellings, places of their own, and codes that may mean something else."""

import numpy as np
import pytest
from public_layouts import csv_text

from twotower.core.errors import InputError
from twotower.data.ingest.territory_names import TerritoryNames, read_territory_names

EVENTS = [[f"u{i % 20}", f"t{i % 7}", "", f"2024-01-{i % 20 + 1:02}"] for i in range(200)]


def log_of(*names):
    return csv_text([[user, title, names[int(user[1:]) % len(names)], day] for user, title, _, day in EVENTS])


def table(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_spellings_are_mapped_before_countries_are_looked_up(imported, tmp_path):
    names = table(
        tmp_path / "names.csv", "spelling,territory", "Allemagne,DE", "CA,US-CA", "west,Ruhr", "WEST END,Ruhr"
    )
    log = log_of("Allemagne", "allemagne", "DE", "CA", "west", "West End")
    dataset, summary = imported(log, territory_names=names)
    assert sorted(dataset.territories.code) == ["DE", "Ruhr", "US-CA"]
    assert dataset.territories.users.sum() == 20 and not any("codes of parts" in line for line in summary.assumptions)


def test_places_are_those_of_the_file(imported, tmp_path):
    places = table(
        tmp_path / "places.csv", "name,latitude,longitude,note", "Ruhr,51.5,7.3,", "Germany,1,2,", "Mars,3,4,x"
    )
    dataset, summary = imported(log_of("Ruhr", "DE", "FR", "Atlantis"), places=places)
    found = dataset.territories
    place = {code: (found.latitude[i], found.longitude[i]) for i, code in enumerate(found.code)}
    assert place["Ruhr"] == (51.5, 7.3) and place["DE"] == (1, 2) and place["FR"] == (46, 2)
    assert np.isnan(place["Atlantis"]).all()
    (note,) = [note for note in summary.notes if "without a place" in note]
    assert "1 territory" in note and note.endswith("(--territory-names, --places).")


def test_territories_that_are_no_countries_are_not_looked_up(imported):
    dataset, summary = imported(log_of("Georgia", "CA", "DE"), territories_are="other")
    assert sorted(dataset.territories.code) == ["CA", "DE", "Georgia"]
    assert np.isnan(dataset.territories.latitude).all() and not summary.warnings
    assert not any("without a place" in note for note in summary.notes)


@pytest.mark.parametrize(
    ("names", "warned", "said"),
    [
        (["CA", "TX"], "'CA', 'TX'; as countries, CA is Canada", None),
        (["MG", "PR", "RJ", "SP"], "codes of parts of Brazil", None),
        (["BY", "BW", "NW", "HE"], "codes of parts of Germany", None),
        (["CA", "IL", "MN"], None, "Read as countries: CA is Canada, IL is Israel, MN is Mongolia"),
        (["Georgia", "Texas", "Ohio"], "not the state of the US; most others are no countries", None),
        (["Georgia", "DE"], None, "not the state of the US"),
        (["congo", "DE"], None, "not DR Congo"),
        (["US", "DE", "FR", "GB", "KR", "NA", "VN", "JP"], None, None),
        (["FR", "BE", "LU"], None, None),
        (["DE", "CA"], None, None),
        (["UK", "DE"], None, None),
        (["US-CA", "US-IL"], None, None),
        (["North", "South"], None, None),
    ],
)
def test_codes_and_names_that_may_mean_something_else_are_told(names, warned, said):
    assumptions, warnings = TerritoryNames().doubts(names)
    for lines, expected in ((warnings, warned), (assumptions, said)):
        assert len(lines) == (expected is not None) and all(expected in line for line in lines)
    for reading in ("names", "codes", "other"):
        assert TerritoryNames(reading).doubts(names) == ([], [])


@pytest.mark.parametrize(
    ("option", "lines", "message"),
    [
        ("spellings", ["name,territory", "a,b"], "line 1: the columns name,territory, expected .* spelling,territory"),
        ("spellings", ["spelling,territory", "a,"], "line 2: an empty cell"),
        ("spellings", ["spelling,territory", "a,b", "A,c"], "line 3: 'A' means 'c', and 'b' further up"),
        ("places", ["name,latitude,longitude", "a,91,0"], "line 2: 91, 0, expected a latitude from -90 to 90"),
        ("places", ["name,latitude,longitude", "a,nan,0"], "line 2: nan, 0, expected a latitude"),
        ("places", ["name,latitude,longitude", "a,x,0"], "line 2: x, 0, expected a latitude"),
        ("places", ["name,latitude,longitude", "DE,1,2", "Germany,2,2"], "line 3: 'Germany' has another place"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(tmp_path, option, lines, message):
    path = table(tmp_path / "file.csv", *lines)
    with pytest.raises(InputError, match=rf"file\.csv {message}"):
        read_territory_names(None, **{"spellings": None, "places": None} | {option: path})

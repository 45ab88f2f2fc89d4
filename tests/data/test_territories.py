"""Territories: names become places, and places become balanced groups."""

import csv
import dataclasses
from itertools import permutations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from profiles import examples

from twotower.core.errors import InputError
from twotower.data.countries import find_country, load_countries
from twotower.data.grouping import _fair_assignment, geographic_groups, grouping_from_file, on_sphere
from twotower.data.territories import Territories, look_up


def territories_of(latitude, longitude, users, code=None):
    n = len(users)
    code = code or [f"T{i:02d}" for i in range(n)]
    return Territories(
        code=list(code),
        name=[f"name of {c}" for c in code],
        latitude=np.array(latitude, float),
        longitude=np.array(longitude, float),
        users=np.array(users, np.int64),
        group=np.full(n, -1, np.int16),
    )


def of_countries(codes, users=None):
    users = np.arange(len(codes), 0, -1) if users is None else users
    return dataclasses.replace(look_up(codes), users=np.array(users, np.int64))


# --- tables ---------------------------------------------------------------------------------------------------


def names_in(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [row["country"] for row in csv.DictReader(file)]


def test_every_real_place_of_lastfm_is_found(lastfm_dir):
    assert [n for n in names_in(lastfm_dir / "territory_counts.csv") if not find_country(n)] == []


def test_every_real_place_of_the_shop_is_found(retail_dir):
    unknown = [n for n in names_in(retail_dir / "territory_counts.csv") if not find_country(n)]
    assert unknown == ["Unspecified", "European Community"]


def test_a_looked_up_table_keeps_the_order_and_the_unknown():
    table = look_up(["EIRE", "Unspecified", "Japan"])
    assert table.code == ["IE", "Unspecified", "JP"]
    assert table.name == ["Ireland", "Unspecified", "Japan"]
    assert np.isnan(table.latitude).tolist() == [False, True, False]
    assert np.isnan(table.longitude).tolist() == [False, True, False]
    assert (table.users == 0).all() and (table.group == -1).all()
    assert table.group.dtype == np.int16 and table.users.dtype == np.int64


def test_two_names_of_one_country_stay_two_territories_at_one_place():
    table = look_up(["USA", "United States"])
    assert table.code == ["US", "United States"] and table.latitude[0] == table.latitude[1]


def test_a_name_that_occurs_twice_is_an_error():
    with pytest.raises(InputError, match="'Atlantis' occurs twice"):
        look_up(["Atlantis", "Japan", "Atlantis"])


def test_a_table_with_columns_of_unequal_length_is_an_error():
    table = look_up(["DE", "FR"])
    with pytest.raises(InputError, match="unequal length"):
        dataclasses.replace(table, users=np.zeros(3, np.int64))


def test_a_territory_is_found_by_code_name_or_alias():
    table = look_up(["Korea", "Unspecified", "UK"])
    names = ["KR", "South Korea", "Korea, Republic of", "Unspecified", "England"]
    assert [table.index(name) for name in names] == [0, 0, 0, 1, 2]
    for stranger in ("France", "Atlantis"):
        with pytest.raises(InputError, match=f"unknown territory '{stranger}'"):
            table.index(stranger)


def test_majors_have_most_users_and_ties_go_by_code():
    table = territories_of([0] * 4, [0] * 4, [5, 9, 5, 1], code=["B", "C", "A", "D"])
    assert table.majors(3).tolist() == [1, 2, 0]


# --- groups ------------------------------------------------------------------------------------------------


@st.composite
def tables(draw, places="some"):
    n = draw(st.integers(1, 40))
    latitude = draw(st.lists(st.floats(-90, 90), min_size=n, max_size=n))
    longitude = draw(st.lists(st.floats(-180, 180), min_size=n, max_size=n))
    users = draw(st.lists(st.integers(0, 10**6), min_size=n, max_size=n))
    if places == "some":
        for row in draw(st.sets(st.integers(0, n - 1))):
            latitude[row] = longitude[row] = np.nan
    k = draw(st.integers(1, n))
    return territories_of(latitude, longitude, users), k


def is_major(table, k, majors=16):
    return np.isin(np.arange(len(table)), table.majors(max(k, min(majors, len(table) // 2))))


@examples(60)
@given(tables(places="all"))
def test_every_group_has_its_share_of_majors_and_of_minors(drawn):
    table, k = drawn
    group = geographic_groups(table, k)
    assert group.dtype == np.int16
    for kind in (is_major(table, k), ~is_major(table, k)):
        sizes = np.bincount(group[kind], minlength=k)
        assert sizes.max() - sizes.min() <= 1


@examples(60)
@given(tables())
def test_no_group_stays_empty(drawn):
    table, k = drawn
    assert set(geographic_groups(table, k)) == set(range(k))


@examples(40)
@given(tables(), st.randoms(use_true_random=False))
def test_groups_do_not_depend_on_the_order_of_the_table(drawn, random):
    table, k = drawn
    group = geographic_groups(table, k)
    assert np.array_equal(group, geographic_groups(table, k))
    order = list(range(len(table)))
    random.shuffle(order)
    shuffled = territories_of(
        table.latitude[order], table.longitude[order], table.users[order], [table.code[i] for i in order]
    )
    assert np.array_equal(geographic_groups(shuffled, k), group[order])


@examples(40)
@given(tables(places="all"))
def test_no_exchange_of_two_territories_makes_groups_more_compact(drawn):
    table, k = drawn
    group = geographic_groups(table, k)
    points = on_sphere(table.latitude, table.longitude)
    sums = np.stack([points[group == g].sum(axis=0) for g in range(k)])
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    assume((lengths >= 1e-6).all())  # a group without a direction has no centre to be near to
    cost = 1 - points @ (sums / lengths).T
    for kind in (is_major(table, k), ~is_major(table, k)):
        rows = np.flatnonzero(kind)
        own = cost[rows, group[rows]]
        swapped = cost[np.ix_(rows, range(k))][:, group[rows]]  # row i in the group of row j
        assert (swapped + swapped.T >= own[:, None] + own[None, :] - 1e-6).all()


@examples(60)
@given(st.integers(0, 7), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_the_fair_assignment_is_the_cheapest_of_all_fair_ones(n, k, seed):
    cost = np.random.default_rng(seed).uniform(0, 2, (n, k))
    seats = [g for g in range(k) for _ in range(-(-n // k))]

    def fair(assignment):
        sizes = np.bincount(assignment, minlength=k)
        return sizes.min() >= n // k

    best = min(cost[range(n), a].sum() for a in set(permutations(seats, n)) if fair(np.array(a, int)))
    chosen = _fair_assignment(cost)
    assert fair(chosen) and np.bincount(chosen, minlength=k).max() <= -(-n // k)
    assert cost[range(n), chosen].sum() == pytest.approx(best)


def test_several_starts_find_more_compact_groups_than_one(monkeypatch):
    large = sorted(load_countries(), key=lambda c: -c.population_millions)[:200]
    table = of_countries([c.code for c in large])
    points = on_sphere(table.latitude, table.longitude)

    def cost(group):
        return len(points) - sum(np.linalg.norm(points[group == g].sum(axis=0)) for g in range(8))

    with_many = cost(geographic_groups(table, 8))
    monkeypatch.setattr("twotower.data.grouping.STARTS", 1)
    assert with_many < 0.95 * cost(geographic_groups(table, 8))


def test_four_continents_are_told_apart():
    majors = ["US", "DE", "ZA", "AU"]
    minors = ["CA", "MX", "BR", "FR", "PL", "IT", "NA", "BW", "ZW", "NZ", "FJ", "PG"]
    group = geographic_groups(of_countries(majors + minors), 4, majors=4)
    assert group.tolist() == [0, 1, 2, 3] + [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3


def test_the_date_line_is_no_border():
    group = geographic_groups(of_countries(["FJ", "DE", "WS", "PL"]), 2)  # 178° east, 172° west
    assert group.tolist() == [0, 1, 0, 1]


def test_the_number_of_majors_decides_what_is_balanced():
    table = of_countries(["US", "CA", "DE", "FR", "MX", "CU", "PL", "IT"])
    assert geographic_groups(table, 2, majors=4).tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    two = geographic_groups(table, 2, majors=2)
    assert two[0] != two[1]  # the two majors are neighbours, and parted


def test_territories_without_a_place_balance_users():
    nan = np.nan
    table = territories_of([50, 51, -30, -31, nan, nan], [0, 1, 100, 101, nan, nan], [90, 10, 30, 5, 50, 20])
    group = geographic_groups(table, 2)
    assert group.tolist() == [0, 0, 1, 1, 1, 1]  # 100 and 35: 50 goes to the second, and at 85 so does 20


def test_territories_without_any_place_are_grouped_by_users_alone():
    nan = [np.nan] * 4
    assert geographic_groups(territories_of(nan, nan, [7, 0, 0, 9]), 4).tolist() == [1, 2, 3, 0]
    assert geographic_groups(territories_of(nan, nan, [9, 5, 4, 1]), 2).tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("k", [0, 4])
def test_more_groups_than_territories_or_none_is_an_error(k):
    with pytest.raises(InputError, match=f"{k} groups for 3 territories: expected --groups from 1 to 3"):
        geographic_groups(of_countries(["DE", "FR", "IT"]), k)


# --- groups from a file ------------------------------------------------------------------------------------


def test_groups_are_read_from_a_file_by_code_name_or_alias(tmp_path):
    path = tmp_path / "groups.csv"
    path.write_text("\ufeffterritory,note,group\nUSA,,1\nGermany,, 0\nJP,,1\n", encoding="utf-8")
    group = grouping_from_file(path, of_countries(["DE", "JP", "US"]))
    assert group.tolist() == [0, 1, 1] and group.dtype == np.int16


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"line 1: an empty file, expected .* territory,group"),
        ("code,group\nDE,0\n", r"line 1: the columns code,group, expected .* territory,group"),
        ("territory,group\nDE,0\nAtlantis,0\n", r"line 3: unknown territory 'Atlantis'"),
        ("territory,group\nDE,0\nFR,1\nGermany,1\n", r"line 4: territory 'Germany' is listed twice"),
        ("territory,group\nDE,0\nFR,west\n", r"line 3: group 'west', expected a whole number"),
        ("territory,group\nDE,-1\nFR,0\n", r"line 2: group '-1', expected a whole number"),
        ("territory,group\nDE,0\nFR,70000\n", r"line 3: group '70000', expected a whole number"),
        ("territory,group\nDE,0\nFR\n", r"line 3: group '', expected a whole number"),
        ("territory,group\nDE,0\n", r"1 territory has no line, the first is 'FR'"),
        ("territory,group\nDE,1\nFR,1\n", r"group 0 has no territory, expected all of 0 … 1"),
    ],
)
def test_a_bad_file_of_groups_is_one_line_that_names_it(tmp_path, text, message):
    path = tmp_path / "groups.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as error:
        grouping_from_file(path, of_countries(["DE", "FR"]))
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_a_missing_or_unreadable_file_of_groups_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.csv: No such file"):
        grouping_from_file(tmp_path / "nowhere.csv", of_countries(["DE"]))
    (tmp_path / "image.csv").write_bytes(b"\xff\xfe\x00\x9f")
    with pytest.raises(InputError, match=r"image\.csv: not readable as CSV"):
        grouping_from_file(tmp_path / "image.csv", of_countries(["DE"]))

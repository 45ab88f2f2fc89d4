"""Which titles are local and which global: by share and lift at home, from training positives alone."""

import csv
import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.core.errors import InputError
from twotower.metrics.local_titles import NOWHERE, count_positives, title_locality

USERS = np.array([900, 300, 100, 5])
#                      film  song  both  rare  none
POSITIVES = np.array([[120,    2,   60,    0,    0],
                      [ 60,    2,   10,    0,    0],
                      [ 20,   16,    0,    9,    0],
                      [  1,    0,    0,    0,    0]])  # fmt: skip
JUDGED = np.array([True, True, True, False])


def locality(positives=POSITIVES, **options):
    return title_locality(positives, USERS, **{"evaluated": JUDGED, **options})


def test_home_share_and_lift_by_hand():
    found = locality()
    assert found.home_territory.tolist() == [0, 2, 0, 2, NOWHERE]
    np.testing.assert_allclose(found.share, [120 / 201, 0.8, 60 / 70, 1.0, np.nan])
    # territory 0 holds 182 of 300 positives, territory 2 holds 45
    np.testing.assert_allclose(
        found.lift, [120 / 201 / (182 / 300), 0.8 / (45 / 300), 60 / 70 / (182 / 300), 1 / 0.15, np.nan]
    )
    assert found.positives.tolist() == [201, 20, 70, 9, 0] and found.reach.tolist() == [3, 3, 2, 1, 0]


def test_a_title_that_lives_from_one_small_territory_is_local_to_it():
    found = locality()
    assert found.kind == ["global", "local", "global", "", ""]
    assert np.argwhere(found.local).tolist() == [[2, 1]]


def test_nine_positives_are_too_few_to_be_local():
    more = POSITIVES.copy()
    more[2, 3] = 10
    assert locality().kind[3] == "" and locality(more).kind[3] == "local"


def test_most_positives_at_home_are_not_enough_in_a_territory_with_most_of_all_positives():
    found = locality()
    assert found.share[2] > 0.5 and not found.is_local[2]
    assert found.can_have_local.tolist() == [False, True, True, True]  # 182, 72, 45 and 1 of 300


def test_half_at_home_with_a_lift_of_three_is_just_local():
    # territories hold 20 of 120 and 100 of 120: title 0 has half its 20 at home, and a lift of exactly 3
    positives = np.array([[10, 10], [10, 90]])
    found = title_locality(positives, np.array([1, 9]))
    assert found.share[0] == 0.5 and found.lift[0] == 3.0 and found.kind[0] == "local"
    found = title_locality(positives + np.array([[0, 1], [0, 0]]), np.array([1, 9]))
    assert found.lift[0] < 3 and found.kind[0] == ""


def test_a_title_that_is_missing_in_most_evaluated_territories_is_not_global():
    assert locality().is_global[2] and not locality(evaluated=np.array([False, False, True, True])).is_global[2]


def test_territories_with_fifty_positives_are_evaluated_by_default():
    default, told = title_locality(POSITIVES, USERS), locality(evaluated=np.array([True, True, False, False]))
    assert default.reach.tolist() == told.reach.tolist() == [2, 2, 2, 0, 0]


def test_of_equally_good_homes_the_one_with_fewest_users_is_taken():
    assert title_locality(np.full((3, 1), 4), np.array([50, 10, 10])).home_territory.tolist() == [1]


@examples(60)
@given(st.integers(0, 9999))
def test_no_title_is_both_and_the_order_of_territories_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    C, T = rng.integers(1, 8), rng.integers(0, 20)
    positives, users = rng.poisson(rng.gamma(0.3, 20, (C, T))), rng.permutation(C)
    found, order = title_locality(positives, users), rng.permutation(C)
    again = title_locality(positives[order], users[order])
    assert not (found.is_local & found.is_global).any()
    assert found.kind == again.kind
    there = found.home_territory >= 0
    np.testing.assert_array_equal(order[again.home_territory[there]], found.home_territory[there])
    assert not found.local[~found.can_have_local].any()
    np.testing.assert_array_equal(found.local.any(axis=0), found.is_local)


def test_positives_are_counted_by_territory_and_title():
    counts = count_positives(np.array([2, 0, 2], np.int32), np.array([1, 0, 1], np.int16), 3, 2)
    assert counts.tolist() == [[1, 0, 0], [0, 0, 2]]


def test_counts_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="expected counts"):
        title_locality(-POSITIVES, USERS)
    with pytest.raises(InputError, match="expected counts"):
        title_locality(POSITIVES / 2, USERS)
    with pytest.raises(InputError, match="users: int64 \\(2,\\), expected \\(4,\\)"):
        title_locality(POSITIVES, USERS[:2])


def test_the_worlds_local_titles_are_found_and_none_of_its_global_ones_is_taken_for_one(tmp_path):
    from twotower.data.synthetic.simulate import simulate
    from twotower.data.synthetic.world import WorldConfig

    world = simulate(tmp_path / "world", WorldConfig(users=6000, titles=120, territories=40, user_dim=8, title_dim=8))
    events = [world.events(day) for day in range(world.train_days)]
    user, title = (np.concatenate(column) for column in zip(*events, strict=True))
    territory = np.asarray(world.user_territory)[user]
    counts = count_positives(title, territory, world.n_titles, world.n_territories)
    found = title_locality(counts, world.territories.users)

    truth, home = np.array(world.titles["kind"]), np.array(world.titles["home"])
    known = found.positives >= 10
    at_home = np.array(world.territories.code)[found.home_territory] == home
    local = known & (truth == "local")
    assert local.sum() >= 20 and at_home[local].all()
    assert found.is_local[local & found.can_have_local[found.home_territory]].all()
    assert not found.is_local[truth == "global"].any() and not found.is_global[truth == "local"].any()
    assert found.is_global[known & (truth == "global")].mean() > 0.8


def test_happysad_is_local_to_poland(lastfm_dir):
    with gzip.open(lastfm_dir / "lastfm.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = [(row["artist"], row["country"]) for row in csv.DictReader(file)]
    artists, title = np.unique([artist for artist, _ in rows], return_inverse=True)
    countries, territory = np.unique([country for _, country in rows], return_inverse=True)
    counts = count_positives(title, territory, len(artists), len(countries))
    found = title_locality(counts, counts.sum(axis=1))
    for artist, kind in (("happysad", "local"), ("myslovitz", "local"), ("the beatles", "global")):
        assert found.kind[np.searchsorted(artists, artist)] == kind, artist
    assert countries[found.home_territory[np.searchsorted(artists, "happysad")]] == "Poland"

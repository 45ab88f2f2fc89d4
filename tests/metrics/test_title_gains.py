"""Local titles beside global ones with as many positives: chosen from training, evaluated on test."""

import numpy as np
import pytest

from twotower.core.errors import InputError
from twotower.metrics.local_titles import title_locality
from twotower.metrics.title_gains import comparable_pairs, gains_of_kind, title_gains

#                      globals ……………………  local to 1  local to 2
POSITIVES = np.array([[500, 300, 200, 400,    2,  0,      0],
                      [ 40,  30,  12,  22,   30, 29,      0],
                      [ 60,  21,  20,   0,    0,  0,     20]])  # fmt: skip
LOCALITY = title_locality(POSITIVES, np.array([900, 90, 80]))


def test_the_example_is_what_it_says():
    assert LOCALITY.kind == ["global"] * 4 + ["local"] * 3 and LOCALITY.home_territory[4:].tolist() == [1, 1, 2]


def test_a_local_title_meets_the_global_one_with_as_many_positives_there():
    assert comparable_pairs(POSITIVES, LOCALITY) == [(1, 4, 1, 30, 30), (2, 6, 2, 20, 20)]


def test_no_global_title_is_taken_twice_in_a_territory():
    pairs = comparable_pairs(POSITIVES, LOCALITY, per_territory=5)
    assert pairs == [(1, 4, 1, 30, 30), (1, 5, 3, 29, 22), (2, 6, 2, 20, 20)]


def test_of_equally_close_ones_the_one_with_fewer_is_taken():
    positives = POSITIVES.copy()
    positives[2, 2] = 19
    assert comparable_pairs(positives, LOCALITY)[1] == (2, 6, 2, 20, 19)


def test_only_eligible_titles_and_asked_territories_are_looked_at():
    eligible = np.ones(7, bool)
    eligible[[1, 4]] = False
    pairs = comparable_pairs(POSITIVES, LOCALITY, np.array([2, 1, 0]), eligible)
    assert pairs == [(2, 6, 2, 20, 20), (1, 5, 3, 29, 22)]
    assert comparable_pairs(POSITIVES, LOCALITY, eligible=np.arange(7) > 3) == []
    with pytest.raises(InputError, match="expected"):
        comparable_pairs(POSITIVES[:2], LOCALITY)


def test_gains_are_relative_and_undefined_where_nothing_is_positive():
    method, baseline = np.array([[0.2, 0.5, np.nan], [0.6, 0.5, np.nan]]), np.array([[0.1, 0.5, 0.1], [0.5, 0.4, 0.1]])
    np.testing.assert_allclose(title_gains(method, baseline), [(100 + 20) / 2, (0 + 25) / 2, np.nan])
    with pytest.raises(InputError, match="expected two tables"):
        title_gains(method[:1], baseline)


def test_gains_of_a_kind_by_hand():
    gained = np.array([-4.0, 0.0, 8.0, np.nan, 100.0, 2.0])
    told = gains_of_kind(gained, np.array([True, True, True, True, False, True]))
    assert told == (4, 2, -1.0, 1.0, 3.5)  # of −4, 0, 2, 8: a gain of 0 is not ahead, an undefined one is no title


def test_a_kind_without_titles_has_no_quartiles():
    told = gains_of_kind(np.array([1.0, np.nan]), np.array([False, True]))
    assert told[:2] == (0, 0) and np.isnan(told[2:]).all()

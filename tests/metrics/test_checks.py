"""What public functions of the metrics refuse before a kernel sees it."""

import numpy as np
import pytest

from twotower.core.errors import InputError
from twotower.metrics.average_precision import average_precision, average_precision_by, support_by
from twotower.metrics.checks import MAX_WEIGHT
from twotower.metrics.local_titles import count_positives
from twotower.metrics.per_territory import macro_average_precision
from twotower.metrics.popularity_bias import profile_popularity
from twotower.metrics.recommended import top_titles
from twotower.metrics.weighted_precision import Ranking, weighted_average_precision

LABELS = np.array([0, 1, 0, 1], np.float32)
SCORES = np.array([0.1, 0.4, 0.3, 0.2], np.float32)
KEYS = np.array([0, 1, 0, 1])


@pytest.mark.parametrize("bad, said", [(7, "row 2 holds 7.0"), (np.nan, "row 2 holds nan"), (-1, "row 2 holds -1.0")])
def test_labels_other_than_0_and_1_are_refused(bad, said):
    labels = LABELS.copy()
    labels[2] = bad
    for call in (
        lambda: average_precision(labels, SCORES),
        lambda: average_precision_by(labels, SCORES, KEYS, 2),
        lambda: support_by(labels, KEYS, 2),
        lambda: macro_average_precision(labels, SCORES, KEYS, 2),
        lambda: weighted_average_precision(labels, SCORES, np.ones(4, int)),
    ):
        with pytest.raises(InputError, match=f"labels: {said}, expected 0 or 1"):
            call()


@pytest.mark.parametrize(
    "keys, said",
    [
        (KEYS.astype(float), "keys: float64"),
        (np.array([0, 1.9, 0, 1]), "keys: float64"),
        (np.array([0, 1, -1, 1]), "row 2 holds -1"),
        (np.array([0, 1, 0, 2]), "row 3 holds 2, expected 0 to 1"),
        (np.array([0, 1, 2**32, 1]), "row 2 holds 4294967296"),
        (KEYS[:3], "expected 4 integers"),
        (KEYS[:, None], "expected 4 integers"),
    ],
)
def test_keys_that_are_no_rows_are_refused(keys, said):
    with pytest.raises(InputError, match=said):
        average_precision_by(LABELS, SCORES, keys, 2)
    with pytest.raises(InputError, match=said):
        support_by(LABELS, keys, 2)


@pytest.mark.parametrize("n_keys", [-1, 0])
def test_too_few_keys_are_refused(n_keys):
    with pytest.raises(InputError, match="keys"):
        average_precision_by(LABELS, SCORES, KEYS, n_keys)


@pytest.mark.parametrize(
    "scores, said",
    [
        (np.array([0.1, np.nan, 0.3, np.nan], np.float32), "2 of 4 are NaN, the first in row 1"),
        (SCORES + 1j, "complex"),
        (SCORES.astype(str), "expected numbers"),
        (SCORES[:3], "two columns of one length"),
        (np.stack([SCORES, SCORES]), "two columns of one length"),
    ],
)
def test_scores_that_rank_nothing_are_refused(scores, said):
    with pytest.raises(InputError, match=said):
        average_precision(LABELS, scores)
    with pytest.raises(InputError, match=said):
        average_precision_by(LABELS, scores, KEYS, 2)


def test_labels_of_a_table_are_refused():
    with pytest.raises(InputError, match="labels"):
        support_by(np.stack([LABELS, LABELS]), KEYS, 2)


@pytest.mark.parametrize("weight", [2**8, 2**32, 2**32 + 1, -1])
def test_weights_beyond_a_byte_are_refused_and_do_not_wrap_around(weight):
    with pytest.raises(InputError, match=f"weights: from .*{weight}.*expected 0 to {MAX_WEIGHT}"):
        weighted_average_precision(LABELS, SCORES, np.array([weight, 1, 1, 1] if weight < 0 else [0, 1, 1, weight]))


def test_the_largest_weight_counts_in_full():
    few, many = (weighted_average_precision(LABELS, SCORES, np.array([1, 1, n, n])) for n in (100, MAX_WEIGHT))
    assert few == pytest.approx(many, rel=2e-2) and many < 1


@pytest.mark.parametrize("weight", [np.ones(4), np.ones(3, int), np.ones((4, 1), int), np.array([0.5, 1, 1, 1])])
def test_weights_that_are_no_counts_of_pairs_are_refused(weight):
    with pytest.raises(InputError, match="expected 4 integers"):
        weighted_average_precision(LABELS, SCORES, weight)


def test_a_ranking_refuses_users_without_a_weight():
    ranking = Ranking(LABELS, SCORES, np.array([0, 1, 2, 9]), np.zeros(4, int), 1)
    assert ranking.average_precision(np.ones((10, 1), int)).shape == (1, 1)
    with pytest.raises(InputError, match="expected 10 integers"):
        ranking.average_precision(np.ones((9, 1), int))
    for users in (np.array([0, 1, 2, -1]), np.array([0, 1, 2, 0.5])):
        with pytest.raises(InputError, match="users"):
            Ranking(LABELS, SCORES, users, np.zeros(4, int), 1)


def test_positives_of_unknown_titles_and_territories_are_refused():
    assert count_positives(np.array([0, 1]), np.array([1, 1]), 2, 2).tolist() == [[0, 0], [1, 1]]
    for title, territory in (([0, 2], [0, 0]), ([0, -1], [0, 0]), ([0, 1], [0, 2]), ([0, 1.5], [0, 0])):
        with pytest.raises(InputError):
            count_positives(np.array(title), np.array(territory), 2, 2)


def test_watched_titles_must_exist_and_bounds_ascend():
    assert profile_popularity(np.array([0, 2]), np.array([0, 1]), np.array([2.0, 4.0])).tolist() == [3.0]
    for start, titles in (([0, 2], [0, -1]), ([0, 2], [0, 2]), ([0, 1], [0, 1]), ([0, 2, 1, 2], [0, 1])):
        with pytest.raises(InputError):
            profile_popularity(np.array(start), np.array(titles), np.array([2.0, 4.0]))


def test_a_negative_number_of_top_titles_is_refused():
    with pytest.raises(InputError, match="k = -1"):
        top_titles(np.zeros((2, 3), np.float32), np.ones((2, 3), bool), -1)

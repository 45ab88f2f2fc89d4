"""Average precision against its textbook definition, against scikit-learn, and against a wrong version."""

import threading
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.core.errors import InputError
from twotower.metrics.average_precision import average_precision, average_precision_by, support_by

EXAMPLES = examples(60)


def textbook(labels, scores):
    """Σ (R_n − R_{n−1}) P_n over the distinct scores, from the highest down, in so many words."""
    labels = [int(label) for label in labels]
    if not any(labels):
        return float("nan")
    total = recall_before = 0.0
    for threshold in sorted(set(scores), reverse=True):
        retrieved = [label for label, score in zip(labels, scores, strict=True) if score >= threshold]
        recall = sum(retrieved) / sum(labels)
        total += (recall - recall_before) * (sum(retrieved) / len(retrieved))
        recall_before = recall
    return total


def ties_ignored(labels, scores):
    """The mutation: every row is a threshold of its own, in the order that argsort leaves ties in."""
    ranked = np.asarray(labels)[np.argsort(-np.asarray(scores), kind="stable")]
    precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    return float((precision * ranked).sum() / ranked.sum())


@st.composite
def pairs(draw, n_keys=1, positive=False):
    """Labels, scores and keys, mostly with many ties, sometimes with none."""
    n = draw(st.integers(1, 40))
    labels = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n))
    if positive:
        labels[draw(st.integers(0, n - 1))] = 1
    tied = st.sampled_from([-2.5, -0.0, 0.0, 0.25, 1.0, 7.0])
    free = st.floats(-1e3, 1e3, width=32)
    scores = draw(st.lists(draw(st.sampled_from([tied, free])), min_size=n, max_size=n))
    key = draw(st.lists(st.integers(0, n_keys - 1), min_size=n, max_size=n))
    return np.array(labels, np.float32), np.array(scores, np.float32), np.array(key)


@pytest.mark.parametrize(
    "labels, scores, expected",
    [
        ([1, 0], [2, 1], 1.0),  # the positive first
        ([0, 1], [2, 1], 1 / 2),  # the positive second
        ([1, 0, 1], [3, 2, 1], (1 / 1 + 2 / 3) / 2),
        ([1, 0], [1, 1], 1 / 2),  # a tie: both or neither
        ([1, 0, 1, 0], [5, 5, 5, 5], 1 / 2),  # a constant score is worth the base rate
        ([0, 1, 1, 0], [0.1, 0.5, 0.5, 0.5], 2 / 3),
        ([1, 1, 1], [1, 2, 3], 1.0),
        ([1], [-np.inf], 1.0),
        ([1, 0, 0], [np.inf, np.inf, 0], 1 / 2),  # an overflowing score is still the highest
        ([0, 1], [0.0, -0.0], 1 / 2),  # −0 and 0 are one score
    ],
)
def test_values_worked_out_by_hand(labels, scores, expected):
    assert average_precision(np.array(labels), np.array(scores, np.float32)) == pytest.approx(expected, abs=1e-15)


@EXAMPLES
@given(pairs())
def test_it_is_the_textbook_definition(case):
    labels, scores, _ = case
    assert average_precision(labels, scores) == pytest.approx(textbook(labels, scores), abs=1e-12, nan_ok=True)


@EXAMPLES
@given(pairs(positive=True))
def test_it_is_what_scikit_learn_says(case):
    metrics = pytest.importorskip("sklearn.metrics")
    labels, scores, _ = case
    assert average_precision(labels, scores) == pytest.approx(
        metrics.average_precision_score(labels, scores), abs=1e-12
    )


@EXAMPLES
@given(pairs(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(case, random):
    labels, scores, _ = case
    order = list(range(len(labels)))
    random.shuffle(order)
    # Bit for bit: sums run over thresholds, never over rows.
    np.testing.assert_array_equal(average_precision(labels[order], scores[order]), average_precision(labels, scores))


@EXAMPLES
@given(pairs())
def test_only_the_ranking_counts(case):
    labels, scores, _ = case
    _, rank = np.unique(scores, return_inverse=True)  # strictly increasing in the score, ties stay ties
    expected = average_precision(labels, scores)
    np.testing.assert_array_equal(average_precision(labels, rank), expected)
    np.testing.assert_array_equal(average_precision(labels, 3.0 * rank - 100), expected)
    np.testing.assert_array_equal(average_precision(labels, scores.astype(np.float64)), expected)


@EXAMPLES
@given(pairs(n_keys=5))
def test_each_key_gets_what_its_own_pairs_get(case):
    labels, scores, key = case
    together = average_precision_by(labels, scores, key, 7)  # keys 5 and 6 never occur
    alone = [average_precision(labels[key == k], scores[key == k]) for k in range(7)]
    np.testing.assert_array_equal(together, alone)
    assert np.isnan(together[5:]).all()


@EXAMPLES
@given(pairs(n_keys=4))
def test_support_counts_pairs_and_positives_of_each_key(case):
    labels, _, key = case
    n_pairs, n_positives = support_by(labels, key, 4)
    assert n_pairs.tolist() == [(key == k).sum() for k in range(4)]
    assert n_positives.tolist() == [labels[key == k].sum() for k in range(4)]


def test_an_average_precision_that_ignores_ties_is_caught():
    labels, scores = np.array([1, 0, 1, 0, 0, 0]), np.array([1.0, 1, 0, 0, 0, 0])
    assert ties_ignored(labels, scores) != pytest.approx(textbook(labels, scores), abs=1e-3)
    assert ties_ignored(labels[::-1], scores[::-1]) != pytest.approx(ties_ignored(labels, scores), abs=1e-3)
    assert average_precision(labels, scores) == pytest.approx(textbook(labels, scores), abs=1e-15)
    # where no scores are tied, the mutant is right, so it is the ties that give it away
    free = np.arange(6.0)
    assert ties_ignored(labels, free) == pytest.approx(average_precision(labels, free), abs=1e-15)


@pytest.mark.parametrize("decimals", [1, 3, 9])
def test_large_tables_agree_with_scikit_learn(decimals):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(decimals)
    labels = (rng.random(4000) < 0.1).astype(np.int8)
    scores = np.round(rng.standard_normal(4000) + labels, decimals).astype(np.float32)
    assert average_precision(labels, scores) == pytest.approx(
        metrics.average_precision_score(labels, scores), abs=1e-13
    )


def test_no_positive_is_undefined_and_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(average_precision(np.zeros(3), np.arange(3.0)))
        assert np.isnan(average_precision(np.empty(0), np.empty(0)))
        assert average_precision_by(np.empty(0), np.empty(0), np.empty(0, int), 0).shape == (0,)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.uint8, np.float32, np.float64])
def test_labels_of_any_type(dtype):
    assert average_precision(np.array([0, 1, 1], dtype), np.array([3.0, 2.0, 1.0])) == pytest.approx(7 / 12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, np.uint8])
def test_scores_of_any_type(dtype):
    assert average_precision(np.array([0, 1, 1]), np.array([3, 2, 1], dtype)) == pytest.approx(7 / 12)


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble])
def test_scores_keep_their_fractions(dtype):
    assert average_precision(np.array([0, 1, 1]), np.array([0.3, 0.2, 0.1], dtype)) == pytest.approx(7 / 12)


def test_inputs_stay_as_they_are_even_read_only_and_strided():
    labels, scores, key = (
        np.array([0, 1, 0, 1, 1, 0]),
        np.array([3.0, 1, 2, 2, 9, 9]),
        np.array([0, 1, 0, 1, 0, 1]),
    )
    kept = scores.copy()
    for array in (labels, scores, key):
        array.setflags(write=False)
    average_precision(labels, scores)
    np.testing.assert_array_equal(
        average_precision_by(labels[::2], scores[::2], key[::2], 1),
        [average_precision(labels[::2], scores[::2])],
    )
    np.testing.assert_array_equal(scores, kept)


def test_many_threads_may_ask_at_once():
    rng = np.random.default_rng(5)
    labels, scores = rng.integers(0, 2, 300), rng.integers(0, 9, 300).astype(np.float32)
    found = []
    threads = [threading.Thread(target=lambda: found.append(average_precision(labels, scores))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [average_precision(labels, scores)] * 4


@pytest.mark.parametrize("wrong, shown", [(2, "2"), (-1, "-1"), (0.5, "0.5"), (np.nan, "nan")])
def test_labels_other_than_0_and_1_are_refused_with_the_first_row(wrong, shown):
    labels = np.array([0, 1, 1, wrong, wrong])
    with pytest.raises(InputError, match=rf"labels: row 3 holds {shown}(\.0)?, expected 0 or 1"):
        average_precision(labels, np.arange(5.0))
    with pytest.raises(InputError, match="row 3"):
        support_by(labels, np.zeros(5, int), 1)


def test_nan_scores_are_refused_with_their_count_and_first_row():
    scores = np.array([1.0, 2.0, np.nan, 3.0, np.nan], np.float32)
    with pytest.raises(InputError, match="scores: 2 of 5 are NaN, the first in row 2"):
        average_precision(np.array([0, 1, 0, 1, 0]), scores)
    with pytest.raises(InputError, match="the first in row 2"):
        average_precision_by(np.array([0, 1, 0, 1, 0]), scores, np.zeros(5, int), 1)


@pytest.mark.parametrize("labels, scores", [((3,), (4,)), ((3, 1), (3, 1)), ((), ())])
def test_shapes_that_do_not_fit_are_refused(labels, scores):
    with pytest.raises(InputError, match="expected two columns of one length"):
        average_precision(np.zeros(labels), np.zeros(scores))


@pytest.mark.parametrize(
    "key, message",
    [
        (np.array([0, 3, 1]), "row 1 holds 3, expected 0 to 2"),
        (np.array([0, 1, -1]), "row 2 holds -1, expected 0 to 2"),
        (np.array([0, 1]), "expected 3 integers, one per row"),
        (np.array([0.0, 1.0, 1.0]), "float64"),
    ],
)
def test_keys_that_do_not_fit_are_refused(key, message):
    with pytest.raises(InputError, match=message):
        average_precision_by(np.array([0, 1, 1]), np.arange(3.0), key, 3)

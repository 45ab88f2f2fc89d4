"""Results: what is counted in a mean, what is defined, what comes first."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from twotower.metrics.averages import lowest_and_gap, mean_defined, ratio
from twotower.metrics.results import Evaluation, TerritoryResults, TitleResults


def territory_results():
    return TerritoryResults(
        code=["AA", "BB", "CC", "DD", "EE"],
        name=["Aland", "Beland", "Celand", "Deland", "Eland"],
        group=np.array([0, 1, 0, 1, -1]),
        users=np.array([10, 1000, 10, 500, 9000]),
        test_users=np.array([5, 60, 6, 40, 0]),
        pairs=np.array([20, 600, 20, 300, 0]),
        positives=np.array([2, 60, 0, 30, 0]),
        pr_auc=np.array([0.9, 0.4, np.nan, 0.2, np.nan]),
    )


def title_results():
    return TitleResults(
        title=["t0", "t1", "t2"],
        kind=["global", "local", ""],
        pairs=np.array([10, 0, 30]),
        positives=np.array([1, 0, 3]),
        pr_auc=np.array([0.5, np.nan, 0.25]),
    )


def test_the_macro_is_a_mean_of_the_defined_territories():
    assert territory_results().macro() == pytest.approx((0.9 + 0.4 + 0.2) / 3)
    assert territory_results().macro(0) == territory_results().macro(1)
    assert territory_results().counted(0).tolist() == [True, True, False, True, False]


def test_few_positives_can_be_left_out_of_the_macro():
    assert territory_results().macro(min_positives=30) == pytest.approx((0.4 + 0.2) / 2)
    assert territory_results().macro(min_positives=31) == pytest.approx(0.4)
    assert np.isnan(territory_results().macro(min_positives=61))
    assert territory_results().counted(30).tolist() == [False, True, False, True, False]


def test_the_largest_territories_come_first_and_those_without_test_pairs_never():
    codes = territory_results().code
    assert [codes[c] for c in territory_results().largest()] == ["BB", "DD", "CC", "AA"]
    assert [codes[c] for c in territory_results().largest(2)] == ["BB", "DD"]
    assert [codes[c] for c in territory_results().largest(min_positives=1)] == ["BB", "DD", "AA"]


def test_of_territories_all_users_count_before_the_test_users():
    results = replace(territory_results(), test_users=np.array([5, 40, 6, 60, 0]))
    assert [results.code[c] for c in results.largest()] == ["BB", "DD", "CC", "AA"]


def test_of_titles_positives_count_before_pairs():
    results = replace(title_results(), pairs=np.array([40, 0, 30]))
    assert results.most_positives().tolist() == [2, 0]
    assert replace(results, positives=np.array([3, 0, 3])).most_positives().tolist() == [0, 2]


def test_titles_come_in_order_of_their_positives():
    assert title_results().most_positives().tolist() == [2, 0]
    assert title_results().most_positives(1).tolist() == [2]
    assert title_results().most_positives(min_positives=2).tolist() == [2]


def test_base_rates_are_positives_over_pairs():
    np.testing.assert_array_equal(territory_results().base_rate, [0.1, 0.1, 0, 0.1, np.nan])
    np.testing.assert_array_equal(title_results().base_rate, [0.1, np.nan, 0.1])


def test_columns_are_plain_python_in_the_order_of_the_table():
    columns = territory_results().columns()
    assert list(columns) == [
        "code", "name", "group", "users", "test_users", "pairs", "positives", "base_rate", "pr_auc",
    ]  # fmt: skip
    assert all(type(value) in (str, int, float) for column in columns.values() for value in column)
    assert list(title_results().columns()) == ["title", "kind", "pairs", "positives", "base_rate", "pr_auc"]


def test_an_evaluation_sums_its_territories():
    evaluation = Evaluation(0.3, territory_results(), title_results(), {})
    assert (evaluation.pairs, evaluation.positives) == (940, 92)
    assert evaluation.base_rate == pytest.approx(92 / 940)
    assert evaluation.macro(31) == pytest.approx(0.4)


def test_means_and_ratios_of_nothing_are_undefined_and_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(mean_defined(np.array([np.nan, np.nan])))
        assert np.isnan(mean_defined(np.empty(0)))
        np.testing.assert_array_equal(ratio(np.array([1, 0]), np.array([2, 0])), [0.5, np.nan])
    values = np.array([[1.0, np.nan], [3.0, np.nan]])
    np.testing.assert_array_equal(mean_defined(values, axis=0), [2, np.nan])
    np.testing.assert_array_equal(mean_defined(values, axis=1), [1, 3])


def test_the_lowest_and_the_gap_leave_out_what_is_undefined():
    assert lowest_and_gap(np.array([0.5, np.nan, 0.125, 0.25])) == (0.125, 0.375)
    assert np.isnan(lowest_and_gap(np.array([np.nan]))).all() and np.isnan(lowest_and_gap(np.empty(0))).all()

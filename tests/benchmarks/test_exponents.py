"""Exponents are found where they are planted, and a bend only where there is one."""

import numpy as np
import pytest

from benchmarks.exponents import Growth, fit

SIZES = [float(512 << i) for i in range(8)]


def test_a_power_has_its_exponent_and_no_bend():
    growth = fit(SIZES, [3.0 * size**0.7 for size in SIZES])
    assert growth.exponents == (0.7,) and growth.bend is None
    assert growth.factor == pytest.approx(3.0) and growth.residual == 0.0


def test_two_powers_have_both_exponents_and_the_bend_between_them():
    planted = Growth(2.0, (0.1, 1.1), 6000.0, 0.0)
    growth = fit(SIZES, list(planted.at(np.array(SIZES))))
    assert growth.exponents == pytest.approx((0.1, 1.1), abs=0.02)
    assert growth.bend == pytest.approx(6000, rel=0.03)


def test_a_fixed_cost_beside_a_linear_one_bends_where_they_are_equal():
    growth = fit(SIZES, [8192.0 + size for size in SIZES])
    assert len(growth.exponents) == 2 and growth.exponents[0] < 0.5 < growth.exponents[1]
    assert 4096 < growth.bend < 16384


def test_noise_makes_no_bend():
    rng = np.random.default_rng(0)
    for _ in range(20):
        costs = [5.0 * size**0.5 * np.exp(rng.normal(0, 0.05)) for size in SIZES]
        assert fit(SIZES, costs).bend is None


def test_a_bend_that_explains_little_is_not_kept():
    costs = [size**0.5 * (2.0 if i in (0, 3, 4, 7) else 1.0) for i, size in enumerate(SIZES)]
    assert fit(SIZES, costs).bend is None and fit(SIZES, costs).residual > 0.3


def test_the_fit_passes_through_what_it_says():
    growth = Growth(2.0, (1.0, 2.0), 10.0, 0.0)
    np.testing.assert_allclose(growth.at(np.array([1, 10, 20])), [2, 20, 80])


def test_few_points_have_one_exponent():
    assert fit([1, 2, 4, 8], [1, 1, 1, 8]).bend is None


@pytest.mark.parametrize("sizes, costs", [([1], [1]), ([1, 1], [1, 2]), ([1, 2], [0, 1]), ([1, 2], [1, 2, 3])])
def test_what_has_no_exponent_is_refused(sizes, costs):
    with pytest.raises(ValueError, match="expected two or more"):
        fit(sizes, costs)

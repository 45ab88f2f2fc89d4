"""Array checks: each accepts what kernels may see and names what they may not."""

import numpy as np
import pytest

from twotower.core import checks


@pytest.mark.parametrize("check, arguments", [
    (checks.check_count, (1,)), (checks.check_count, (np.int64(3), 2)), (checks.check_between, (0.5, 0, 1)),
    (checks.check_shape, (np.zeros((2, 3)), (2, None))), (checks.check_type, (np.zeros(2, np.float32), np.float32)),
    (checks.check_vectors, (np.zeros((2, 3), np.float16), 3)), (checks.check_vectors, (np.zeros((2, 3), np.float32),)),
    (checks.check_rows, (np.array([0, 4]), 5)), (checks.check_rows, (np.zeros(0, np.int32), 0)),
    (checks.check_ascending, (np.array([0, 2, 2, 5]), 5)),
    (checks.check_labels, (np.array([0.0, 1.0]),)), (checks.check_labels, (np.array([True, False]),)),
])  # fmt: skip
def test_a_fitting_value_passes(check, arguments):
    check("value", *arguments)


@pytest.mark.parametrize("check, arguments, error", [
    (checks.check_count, (0,), ValueError), (checks.check_count, (1.5,), ValueError),
    (checks.check_count, (True,), ValueError), (checks.check_count, (1, 2), ValueError),
    (checks.check_between, (float("nan"), 0, 1), ValueError), (checks.check_between, (1.0, 0, 1), ValueError),
    (checks.check_shape, (np.zeros((2, 3)), (2, 4)), ValueError),
    (checks.check_shape, (np.zeros(2), (2, 1)), ValueError),
    (checks.check_type, (np.zeros(2), np.float32), ValueError),
    (checks.check_type, (np.zeros((2, 3), np.float32).T, np.float32), ValueError),
    (checks.check_vectors, (np.zeros((2, 3), np.float32), 4), ValueError),
    (checks.check_vectors, (np.zeros((2, 3)), 3), ValueError),
    (checks.check_vectors, (np.zeros(3, np.float32),), ValueError),
    (checks.check_rows, (np.array([1.9]), 5), ValueError), (checks.check_rows, (np.array([-1]), 5), IndexError),
    (checks.check_rows, (np.array([5]), 5), IndexError), (checks.check_rows, (np.array([True]), 5), ValueError),
    (checks.check_ascending, (np.array([1, 5]), 5), ValueError),
    (checks.check_ascending, (np.array([0, 4]), 5), ValueError),
    (checks.check_ascending, (np.array([0, 3, 2, 5]), 5), ValueError),
    (checks.check_ascending, (np.array([0.0, 5.0]), 5), ValueError),
    (checks.check_labels, (np.array([7.0]),), ValueError), (checks.check_labels, (np.array([np.nan]),), ValueError),
    (checks.check_labels, (np.array(["1"]),), ValueError),
])  # fmt: skip
def test_any_other_is_refused_by_name(check, arguments, error):
    with pytest.raises(error, match="this_array"):
        check("this_array", *arguments)

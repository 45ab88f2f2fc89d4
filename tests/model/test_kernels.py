"""Each kernel says what the textbook says: same name, same parameters, same values, and it fills all its outputs."""

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest

from twotower.model import reference
from twotower.model.engine import kernels

#: Kernels that change their first arguments instead of filling new ones.
IN_PLACE = {"sum_parts": 1, "adam": 3, "head_output": 1, "head_output_backward": 1, "memory_score": 1}
KERNELS = [name for name in vars(kernels) if hasattr(getattr(kernels, name), "py_func")] or [
    node.name for node in ast.parse(Path(kernels.__file__).read_text("utf-8")).body if isinstance(node, ast.FunctionDef)
]
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}


def inputs(name, dtype, rng, n=11, D=37):
    """Arguments of the textbook's operation, at a width that no vector unit divides."""
    matrix = lambda: rng.standard_normal((n, D)).astype(dtype)  # noqa: E731
    row = lambda: (rng.standard_normal(D) / 2 + 1).astype(dtype)  # noqa: E731
    counts = rng.integers(1, 5, n).astype(dtype)
    start = np.array([0, 2, 2, 5, 6, 9, 12, 13, 13, 15, 16, 20])
    user, title = np.repeat(np.arange(n), np.diff(start)).astype(np.int32), rng.integers(0, 7, 20).astype(np.int32)
    title[0] = 6  # the textbook takes the number of titles from the last one
    V, per_pair = rng.standard_normal((7, D)).astype(dtype), rng.standard_normal(20).astype(dtype)
    flat = [rng.standard_normal(n).astype(dtype) for _ in range(4)]
    layer, units = rng.standard_normal((D + 1, 5)).astype(dtype), rng.standard_normal(5).astype(dtype)
    return {
        "moments": lambda: [matrix(), counts],
        "batchnorm_relu": lambda: [matrix(), row(), row(), row(), row(), 0.0],
        "relu_backward": lambda: [matrix(), np.maximum(matrix(), 0), matrix(), row(), row(), 0.0],
        "batchnorm_backward": lambda: [matrix(), matrix(), counts, row(), row(), row(), row(), row(), 30],
        "head_output": lambda: [matrix(), matrix(), row(), 1.0, 0.0],
        "head_output_backward": lambda: [matrix(), np.maximum(matrix(), 0), 0.0],
        "pair_dots": lambda: [matrix(), V, start, title],
        "binary_cross_entropy": lambda: [5 * per_pair, (per_pair > 0).astype(dtype), 20],
        "user_gradient": lambda: [per_pair, V, start, title],
        "title_gradient": lambda: [per_pair, matrix(), user, title, np.array([0, D])],
        "memory_score": lambda: [flat[0], matrix(), row(), layer, units],
        "memory_score_backward": lambda: [flat[0], matrix(), layer, units],
        "sum_parts": lambda: [flat[0][:-3], np.stack(flat[1:]), 2],
        "adam": lambda: [flat[0], flat[1], flat[2] ** 2, flat[3], 1e-3, 0.9, 0.999, 1e-8, 3],
    }[name]()


def run_both(name, arguments):
    """The textbook's outputs, and the kernel's, in buffers full of NaN."""
    expected = getattr(reference, name)(*[np.copy(a) if isinstance(a, np.ndarray) else a for a in arguments])
    expected = expected if isinstance(expected, tuple) else (expected,)
    if name in IN_PLACE:
        getattr(kernels, name)(*arguments)
        return expected, arguments[: IN_PLACE[name]]
    outputs = [np.full_like(e, np.nan) for e in expected]
    getattr(kernels, name)(*outputs, *arguments)
    return expected, outputs


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_has_the_values_of_the_textbook(name, dtype, rng):
    for expected, output in zip(*run_both(name, inputs(name, dtype, rng)), strict=True):
        assert output.dtype == expected.dtype == dtype
        scale = np.abs(expected).max()
        np.testing.assert_allclose(output, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_has_the_parameters_of_the_textbook_after_its_outputs(name, rng):
    kernel = getattr(kernels, name)
    parameters = list(inspect.signature(getattr(kernel, "py_func", kernel)).parameters)
    textbook = list(inspect.signature(getattr(reference, name)).parameters)
    outputs = len(run_both(name, inputs(name, np.float64, rng))[0])
    assert parameters[0 if name in IN_PLACE else outputs :] == textbook


@pytest.mark.parametrize("name", ["batchnorm_relu", "relu_backward", "head_output", "head_output_backward"])
def test_a_floor_of_minus_infinity_is_a_linear_layer(name, rng):
    arguments = [*inputs(name, np.float64, rng)[:-1], -np.inf]
    if name == "relu_backward":
        assert np.array_equal(run_both(name, arguments)[1][0], arguments[0])
    for expected, output in zip(*run_both(name, arguments), strict=True):
        np.testing.assert_allclose(output, expected, rtol=1e-12, atol=1e-12)


def test_nan_and_infinity_keep_their_meaning(rng):
    """Sums may be reordered, but a NaN must come through: fast-math without nnan and ninf."""
    Z = rng.standard_normal((4, 8)).astype(np.float32)
    Z[2, 3] = np.nan
    Z[1, 5] = np.inf
    mean, squares = np.empty((2, 8), np.float32)
    kernels.moments(mean, squares, Z, np.ones(4, np.float32))
    assert np.isnan(mean[3]) and np.isinf(mean[5]) and np.isfinite(mean[[0, 1, 2, 4, 6, 7]]).all()


def test_a_second_call_does_not_compile_again(rng):
    kernel = kernels.moments
    if not hasattr(kernel, "signatures"):
        pytest.skip("Numba's JIT is off")
    outputs, counts = np.empty((2, 5), np.float32), []
    for rows in (3, 4):
        kernel(*outputs, rng.standard_normal((rows, 5)).astype(np.float32), np.ones(rows, np.float32))
        counts.append(len(kernel.signatures))
    assert counts[0] == counts[1]

"""The matrix product at every shape, ragged ones included, on every path that this processor has."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.model.engine import gemm

sizes = st.integers(1, 70)
PATHS = {
    "this processor": {},
    "avx2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"},
    "no fma": {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2"},
    "no jit": {"NUMBA_DISABLE_JIT": "1"},
}


def operands(rng, n, K, N):
    """A, W, B and C of random numbers, and scratch and packed weights full of NaN."""
    shapes = [(n, K), (K, N), (n, N), (n, N)]
    A, W, B, C = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    packed = [np.full(gemm.packed_size(*shape), np.nan, np.float32) for shape in ((K, N), (N, K))]
    work = np.full(gemm.work_size(n, max(K, N), max(K, N)), np.nan, np.float32)
    gemm.pack(packed[0], W)
    gemm.pack_transposed(packed[1], W)
    return A, W, B, C, packed, work


def check_products(n, K, N, accumulate, rng):
    A, W, B, C, (packed, packed_transposed), work = operands(rng, n, K, N)
    D, G = rng.standard_normal((n, K)).astype(np.float32), rng.standard_normal((K, N)).astype(np.float32)
    for product, arguments, out in (
        (A.astype(float) @ W, (gemm.matmul, A, packed), C),
        (B.astype(float) @ W.T, (gemm.matmul, B, packed_transposed), D),
        (A.T.astype(float) @ B, (gemm.matmul_transposed, A, B), G),
    ):
        expected = product + accumulate * out
        if not accumulate:
            out[:] = np.nan
        multiply, left, right = arguments
        multiply(out, left, right, work, accumulate)
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=2e-6 * (n + K + N))


@examples(60)
@given(sizes, sizes, sizes, st.integers(0, 1), st.integers(0, 99))
def test_products_of_any_shape(n, K, N, accumulate, seed):
    check_products(n, K, N, accumulate, np.random.default_rng(seed))


@pytest.mark.parametrize("shape", [(252, 512, 512), (250, 896, 100), (97, 70, 1024), (12, 32, 64), (1, 1, 1)])
def test_products_of_the_network(shape, rng):
    for accumulate in (0, 1):
        check_products(*shape, accumulate, rng)


def test_nan_in_a_row_stays_in_that_row(rng):
    A, _, _, C, (packed, _), work = operands(rng, 13, 9, 20)
    A[12, 3] = np.nan
    gemm.matmul(C, A, packed, work, 0)
    assert np.isnan(C[12]).all() and np.isfinite(C[:12]).all()


def test_a_tile_has_the_same_bits_wherever_it_lies(rng):
    """Rows are computed alike in the middle of a tile and at its ragged end."""
    A, _, _, C, (packed, _), work = operands(rng, 30, 40, 50)
    gemm.matmul(C, A, packed, work, 0)
    part = np.empty_like(C[:7])
    gemm.matmul(part, A[:7], packed, work, 0)
    if gemm.PATH == "numpy":
        np.testing.assert_allclose(part, C[:7], rtol=1e-5, atol=1e-5)
    else:
        assert np.array_equal(part, C[:7])


@pytest.mark.parametrize("name", PATHS)
def test_every_path_gives_the_same_product(name, tmp_path):
    """The other paths run in a process of their own, told by Numba's own settings that the processor is another."""
    code = (
        "import numpy as np, test_gemm as t\n"
        "for shape in ((30, 40, 50), (13, 5, 7)):\n"
        "    for accumulate in (0, 1): t.check_products(*shape, accumulate, np.random.default_rng(1))\n"
        "print(t.gemm.PATH)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_DISABLE_JIT"} | PATHS[name]
    environment["PYTHONPATH"] = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    path = found.stdout.strip()
    if name in ("no fma", "no jit"):
        assert path == "numpy"
    elif name == "avx2" and gemm.PATH != "numpy":
        assert path == "avx2"
    else:
        assert path == gemm.PATH or os.environ.get("NUMBA_DISABLE_JIT")


@pytest.mark.parametrize("product", ["matmul", "matmul_transposed", "rows_of_transposed"])
def test_the_self_check_notices_a_product_that_is_wrong(monkeypatch, product):
    assert gemm.self_check()
    monkeypatch.setattr(gemm, product, lambda C, *rest: C.fill(1))
    assert not gemm.self_check()

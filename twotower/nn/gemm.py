"""The matrix product behind one interface; which kernel runs is decided by the processor, once.

    pack(packed, W)                              lay W (K,N) out in panels, once a step
    matmul(C, A, packed, work, accumulate)       C (+)= A W
    matmul_transposed(C, A, B, work, accumulate) C (+)= Aᵀ B, for weight gradients

On x86-64 with FMA the micro-kernel is written below in LLVM IR: it keeps a block of C (ROWS × COLUMNS) in vector
registers and walks along K, one broadcast of A and one load of W a multiply-add, 16 lanes wide with AVX-512 and 8 with
AVX2. Elsewhere, and with NUMBA_DISABLE_JIT=1, NumPy's BLAS does the same work (``PATH`` is "numpy").
All of them run on one thread and release the GIL: parallelism lies above, over tiles of rows (see ``workers``).

Numba's own NUMBA_CPU_NAME and NUMBA_CPU_FEATURES choose another path, for tests and comparisons; they are part of the
key of Numba's cache, so that code for one processor is never taken for another's.
"""

import platform
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from twotower.jit import njit

ROW_BLOCK = 96  # rows of A that stay in the second-level cache while all panels of W pass by


def _choose_path() -> tuple[str, int]:
    """Name of the path and its vector width in float32 lanes."""
    if vars(numba.config)["DISABLE_JIT"] or platform.machine() not in ("x86_64", "AMD64"):
        return "numpy", 8
    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    if "+avx512f" in features:
        return "avx512", 16
    if "+avx2" in features and "+fma" in features:
        return "avx2", 8
    return "numpy", 8


PATH, LANES = _choose_path()
ROWS = 12 if LANES == 16 else 6  # of C in registers: 24 of 32 accumulators, or 12 of 16
COLUMNS = 2 * LANES  # of C in registers, and the width of a panel of W


def packed_size(K: int, N: int) -> int:
    """Floats that ``pack`` needs for a (K, N) matrix: whole panels."""
    return K * -(-N // COLUMNS) * COLUMNS


def work_size(rows: int, M: int, N: int) -> int:
    """Floats of scratch for products over ``rows`` rows with at most M columns on the left and N on the right."""
    panels_left, panels_right = -(-M // ROWS) * ROWS, -(-N // COLUMNS) * COLUMNS
    return ROWS * COLUMNS + max(rows * (ROWS + panels_right), M * ROWS, panels_left * panels_right)


def _micro_kernel(packed_rows: bool) -> Any:
    """A block of C from ROWS rows of A and one panel of W, as LLVM IR.

    The rows of A lie ``stride`` floats apart; with ``packed_rows`` they are interleaved instead, ROWS floats a step.
    """
    scalar, integer, index = ir.FloatType(), ir.IntType(64), ir.IntType(32)
    vector = ir.VectorType(scalar, LANES)

    @intrinsic
    def kernel(typing, A, stride, W, K, C, C_stride, accumulate):
        def generate(context, b, signature, arguments):
            A, stride, W, K, C, C_stride, accumulate = arguments
            number = lambda value: ir.Constant(integer, value)  # noqa: E731
            at = lambda base, offset, kind: b.inttoptr(b.add(base, offset), kind.as_pointer())  # noqa: E731
            fma_type = ir.FunctionType(vector, [vector] * 3)
            fma = cgutils.get_or_insert_function(b.module, fma_type, f"llvm.fma.v{LANES}f32")
            undefined = ir.Constant(vector, ir.Undefined)
            splat = ir.Constant(ir.VectorType(index, LANES), [0] * LANES)
            row_bytes, C_row_bytes = b.mul(stride, number(4)), b.mul(C_stride, number(4))

            entry, loop, done = b.block, b.append_basic_block("along_k"), b.append_basic_block("store")
            b.branch(loop)
            b.position_at_end(loop)
            k = b.phi(integer)
            k.add_incoming(number(0), entry)
            total = [[b.phi(vector) for _ in range(2)] for _ in range(ROWS)]
            panel = b.mul(k, number(4 * COLUMNS))
            w = [b.load(at(W, b.add(panel, number(4 * LANES * j)), vector), align=4) for j in range(2)]
            for i, row in enumerate(total):
                if packed_rows:
                    offset = b.add(b.mul(k, number(4 * ROWS)), number(4 * i))
                else:
                    offset = b.add(b.mul(row_bytes, number(i)), b.mul(k, number(4)))
                a = b.insert_element(undefined, b.load(at(A, offset, scalar), align=4), ir.Constant(index, 0))
                a = b.shuffle_vector(a, undefined, splat)
                for j in range(2):
                    row[j].add_incoming(ir.Constant(vector, [0.0] * LANES), entry)
                    fused = b.call(fma, [a, w[j], row[j]])
                    row[j].add_incoming(fused, loop)
                    row[j] = fused
            k_next = b.add(k, number(1))
            k.add_incoming(k_next, loop)
            b.cbranch(b.icmp_signed("<", k_next, K), loop, done)

            b.position_at_end(done)
            with b.if_else(b.icmp_signed("!=", accumulate, number(0))) as (add, replace):
                for branch, adds in ((add, True), (replace, False)):
                    with branch:
                        for i, row in enumerate(total):
                            for j, value in enumerate(row):
                                offset = b.add(b.mul(C_row_bytes, number(i)), number(4 * LANES * j))
                                pointer = at(C, offset, vector)
                                value = b.fadd(b.load(pointer, align=4), value) if adds else value
                                b.store(value, pointer).align = 4
            return context.get_dummy_value()

        return types.void(*[types.intp] * 7), generate

    return kernel


_rows_kernel = _micro_kernel(packed_rows=False)
_packed_kernel = _micro_kernel(packed_rows=True)


@njit(cache=True, nogil=True)
def _pack(packed, W):
    K, N = W.shape
    whole = N - N % COLUMNS
    for j in range(0, whole, COLUMNS):
        for k in range(K):
            for x in range(COLUMNS):  # a constant length: four vector moves and no loop
                packed[j * K + k * COLUMNS + x] = W[k, j + x]
    if whole < N:
        for k in range(K):
            for x in range(COLUMNS):
                packed[whole * K + k * COLUMNS + x] = W[k, whole + x] if whole + x < N else 0


@njit(cache=True, nogil=True)
def _pack_transposed(packed, W):
    N, K = W.shape
    for j in range(0, N, COLUMNS):
        base = j * K
        width = min(COLUMNS, N - j)
        for k0 in range(0, K, 16):
            for x in range(width):
                for k in range(k0, min(K, k0 + 16)):
                    packed[base + k * COLUMNS + x] = W[j + x, k]
        for k in range(K):
            for x in range(width, COLUMNS):
                packed[base + k * COLUMNS + x] = 0


@njit(cache=True, nogil=True)
def _store_corner(C, i, j, block, accumulate):
    """Copy the part of a full block that lies inside C."""
    for r in range(min(ROWS, C.shape[0] - i)):
        for x in range(min(COLUMNS, C.shape[1] - j)):
            value = block[r * COLUMNS + x]
            C[i + r, j + x] = C[i + r, j + x] + value if accumulate else value


@njit(cache=True, nogil=True)
def _panel_product(C, i, left, packed, K, block, accumulate):
    """ROWS rows of C from interleaved rows ``left`` and all panels of W; a block that sticks out goes by ``block``."""
    N = C.shape[1]
    inside = i + ROWS <= C.shape[0]
    for j in range(0, N, COLUMNS):
        panel = packed.ctypes.data + 4 * j * K
        if inside and j + COLUMNS <= N:
            _packed_kernel(left.ctypes.data, 0, panel, K, C.ctypes.data + 4 * (i * N + j), N, accumulate)
        else:
            _packed_kernel(left.ctypes.data, 0, panel, K, block.ctypes.data, COLUMNS, 0)
            _store_corner(C, i, j, block, accumulate)


@njit(cache=True, nogil=True)
def _matmul(C, A, packed, work, accumulate):
    n, K = A.shape
    N = C.shape[1]
    block, left = work[: ROWS * COLUMNS], work[ROWS * COLUMNS :]
    whole_rows, whole_columns = n - n % ROWS, N - N % COLUMNS
    a, w, c = A.ctypes.data, packed.ctypes.data, C.ctypes.data
    for i0 in range(0, whole_rows, ROW_BLOCK):
        i1 = min(whole_rows, i0 + ROW_BLOCK)
        for j in range(0, N, COLUMNS):
            for i in range(i0, i1, ROWS):
                if j < whole_columns:
                    _rows_kernel(a + 4 * i * K, K, w + 4 * j * K, K, c + 4 * (i * N + j), N, accumulate)
                else:
                    _rows_kernel(a + 4 * i * K, K, w + 4 * j * K, K, block.ctypes.data, COLUMNS, 0)
                    _store_corner(C, i, j, block, accumulate)
    if whole_rows < n:
        for k in range(K):
            for r in range(ROWS):
                left[k * ROWS + r] = A[whole_rows + r, k] if whole_rows + r < n else 0
        _panel_product(C, whole_rows, left, packed, K, block, accumulate)


@njit(cache=True, nogil=True)
def _matmul_transposed(C, A, B, work, accumulate):
    n, M = A.shape
    block, left, right = work[: ROWS * COLUMNS], work[ROWS * COLUMNS :], work[ROWS * (COLUMNS + n) :]
    _pack(right, B)
    for i in range(0, M, ROWS):
        width = min(ROWS, M - i)
        if width == ROWS:
            for k in range(n):
                for r in range(ROWS):
                    left[k * ROWS + r] = A[k, i + r]
        else:
            for k in range(n):
                for r in range(ROWS):
                    left[k * ROWS + r] = A[k, i + r] if r < width else 0
        _panel_product(C, i, left, right, n, block, accumulate)


def _numpy_pack(packed, W):
    packed[: W.size].reshape(W.shape)[...] = W


def _numpy_pack_transposed(packed, W):
    packed[: W.size].reshape(W.shape[::-1])[...] = W.T


def _numpy_matmul(C, A, packed, work, accumulate):
    _numpy_product(C, A, packed[: A.shape[1] * C.shape[1]].reshape(A.shape[1], C.shape[1]), work, accumulate)


def _numpy_matmul_transposed(C, A, B, work, accumulate):
    _numpy_product(C, A.T, B, work, accumulate)


def _numpy_product(C, A, B, work, accumulate):
    if accumulate:
        product = np.matmul(A, B, out=work[: C.size].reshape(C.shape), casting="no")
        np.add(C, product, out=C)
    else:
        np.matmul(A, B, out=C, casting="no")


if PATH == "numpy":
    pack, pack_transposed = _numpy_pack, _numpy_pack_transposed
    matmul, matmul_transposed = _numpy_matmul, _numpy_matmul_transposed
else:
    pack, pack_transposed, matmul, matmul_transposed = _pack, _pack_transposed, _matmul, _matmul_transposed


def self_check() -> bool:
    """Whether this path's products agree with float64 on a ragged shape; ``twotower doctor`` asks."""
    rng = np.random.default_rng(0)
    A, W, B = (rng.standard_normal(shape).astype(np.float32) for shape in ((29, 37), (37, 41), (29, 41)))
    C, dW = np.empty((29, 41), np.float32), np.empty((37, 41), np.float32)
    packed, work = np.empty(packed_size(37, 41), np.float32), np.empty(work_size(29, 41, 41), np.float32)
    pack(packed, W)
    matmul(C, A, packed, work, 0)
    matmul_transposed(dW, A, B, work, 0)
    exact = A.astype(float) @ W, A.T.astype(float) @ B
    return all(np.allclose(product, e, rtol=1e-4, atol=1e-4) for product, e in zip((C, dW), exact, strict=True))

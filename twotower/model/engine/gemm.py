"""The matrix product behind one interface; which kernel runs is decided by the processor, once.

    pack(packed, W)                              lay W (K,N) out in panels, once per step
    pack_columns, pack_rows(packed, W, first, last)  some columns of W; some rows of it, transposed
    matmul(C, A, packed, work, accumulate)       C (+)= A W
    matmul_transposed(C, A, B, work, accumulate) C (+)= Aᵀ B, for weight gradients
    rows_of_transposed(C, A, first, packed, work, accumulate)  some rows of it, of a B that was laid out in panels

On x86-64 with FMA the micro-kernel is written below in LLVM IR: it keeps a block of C (ROWS × COLUMNS) in vector
registers and walks along K, one broadcast of A and one load of W per multiply-add, 16 lanes wide with AVX-512 and 8
with AVX2. Elsewhere, and with NUMBA_DISABLE_JIT=1, NumPy's BLAS does the same work (``PATH`` is "numpy").
All of them run on one thread and release the GIL: parallelism is above, over tiles of rows (see ``threads``).

Numba's own NUMBA_CPU_NAME and NUMBA_CPU_FEATURES choose another path, for tests and comparisons; they are part of the
key of Numba's cache, so that code for one processor is never taken for another's.
"""

import itertools
import platform
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from twotower.core.jit import njit

LONG = 64  # multiply-adds along k that are worth a look ahead
LINE = 16  # floats of a cache line
CROWDED = 1024  # floats: addresses 4 KiB apart map to the same few cache lines
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
FEW_ROWS = ROWS // 3  # where fewer are left; then one at a time
COLUMNS = 2 * LANES  # of C in registers, and the width of a panel of W
COPIED = 4 * ROWS if LANES == 8 else 1 << 62  # columns of A from which both sides of AᵀB are laid out for it


def packed_size(K: int, N: int) -> int:
    """Floats that ``pack`` needs for a (K, N) matrix: panels of COLUMNS, the last of LANES where that is enough."""
    return K * -(-N // LANES) * LANES


def work_size(rows: int, M: int, N: int) -> int:
    """Floats of scratch for products over ``rows`` rows with at most M columns on the left and N on the right."""
    if PATH == "numpy":
        return max(rows, M) * N
    panels = -(-N // LANES) * LANES if M >= COPIED or N % CROWDED == 0 else COLUMNS
    return ROWS * (COLUMNS + rows) + rows * panels


def _micro_kernel(rows: int, vectors: int) -> Any:
    """A block of C, rows × (vectors·LANES), from as many rows of A and one panel of W, as LLVM IR.

    Addresses and steps are in bytes: along the rows of A and C, and along k in A and W, so that A may be transposed.
    """
    scalar, integer, index = ir.FloatType(), ir.IntType(64), ir.IntType(32)
    vector = ir.VectorType(scalar, LANES)

    @intrinsic
    def kernel(typing, A, A_row, A_step, W, W_step, K, C, C_row, accumulate):
        def generate(context, b, signature, arguments):
            A, A_row, A_step, W, W_step, K, C, C_row, accumulate = arguments
            number = lambda value: ir.Constant(integer, value)  # noqa: E731
            at = lambda base, offset, kind: b.inttoptr(b.add(base, offset), kind.as_pointer())  # noqa: E731
            fma_type = ir.FunctionType(vector, [vector] * 3)
            fma = cgutils.get_or_insert_function(b.module, fma_type, f"llvm.fma.v{LANES}f32")
            undefined, first = ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(index, LANES), None)
            row_of_A = [b.mul(A_row, number(i)) for i in range(rows)]
            places = [
                [b.add(b.mul(C_row, number(i)), number(4 * LANES * j)) for j in range(vectors)] for i in range(rows)
            ]
            byte = ir.IntType(8)
            fetch_type = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), index, index, index])
            fetch = cgutils.get_or_insert_function(b.module, fetch_type, "llvm.prefetch.p0")
            adds, long = b.icmp_signed("!=", accumulate, number(0)), b.icmp_signed(">", K, number(LONG))
            with b.if_then(b.and_(adds, long)):  # C is wanted at the end, and arrives meanwhile
                for place in itertools.chain(*places):
                    b.call(fetch, [at(C, place, byte), index(1), index(3), index(1)])

            entry, loop, done = b.block, b.append_basic_block("along_k"), b.append_basic_block("store")
            b.branch(loop)
            b.position_at_end(loop)
            k, A_now, W_now = (b.phi(integer) for _ in range(3))
            total = [[b.phi(vector) for _ in range(vectors)] for _ in range(rows)]
            w = [b.load(at(W_now, number(4 * LANES * j), vector), align=4) for j in range(vectors)]
            for row, offset in zip(total, row_of_A, strict=True):
                a = b.insert_element(undefined, b.load(at(A_now, offset, scalar), align=4), index(0))
                a = b.shuffle_vector(a, undefined, first)  # to all lanes
                for j in range(vectors):
                    row[j].add_incoming(ir.Constant(vector, None), entry)
                    fused = b.call(fma, [a, w[j], row[j]])
                    row[j].add_incoming(fused, loop)
                    row[j] = fused
            for now, start, step in ((k, number(0), number(1)), (A_now, A, A_step), (W_now, W, W_step)):
                now.add_incoming(start, entry)
                now.add_incoming(b.add(now, step), loop)
            b.cbranch(b.icmp_signed("<", b.add(k, number(1)), K), loop, done)

            b.position_at_end(done)
            with b.if_else(adds) as (add, replace):
                for branch, plus in ((add, True), (replace, False)):
                    with branch:
                        for i, row in enumerate(total):
                            for j, value in enumerate(row):
                                pointer = at(C, places[i][j], vector)
                                value = b.fadd(b.load(pointer, align=4), value) if plus else value
                                b.store(value, pointer).align = 4
            return context.get_dummy_value()

        return types.void(*[types.intp] * 9), generate

    return kernel


_wide, _wide_few, _wide_one = (_micro_kernel(rows, 2) for rows in (ROWS, FEW_ROWS, 1))
_narrow, _narrow_few, _narrow_one = (_micro_kernel(rows, 1) for rows in (ROWS, FEW_ROWS, 1))


def _block_transposition() -> Any:
    """LANES rows of LANES floats transposed in registers: log2(LANES) rounds that swap ever larger corners."""
    vector, integer, index = ir.VectorType(ir.FloatType(), LANES), ir.IntType(64), ir.IntType(32)

    @intrinsic
    def transpose(typing, out, out_row, block, block_row):
        def generate(context, b, signature, arguments):
            out, out_row, block, block_row = arguments
            at = lambda base, row, i: b.inttoptr(b.add(base, b.mul(row, integer(i))), vector.as_pointer())  # noqa: E731
            rows = [b.load(at(block, block_row, i), align=4) for i in range(LANES)]
            for size in (2**power for power in range(LANES.bit_length() - 1)):
                low = [LANES + x - size if x & size else x for x in range(LANES)]
                high = [LANES + x if x & size else x + size for x in range(LANES)]
                masks = [ir.Constant(ir.VectorType(index, LANES), lanes) for lanes in (low, high)]
                for i in range(LANES):
                    if not i & size:
                        pair = rows[i], rows[i + size]
                        rows[i], rows[i + size] = (b.shuffle_vector(*pair, mask) for mask in masks)
            for i, row in enumerate(rows):
                b.store(row, at(out, out_row, i)).align = 4
            return context.get_dummy_value()

        return types.void(*[types.intp] * 4), generate

    return transpose


_transpose_block = _block_transposition()


@njit(cache=True, nogil=True)
def _wide_panel(A, A_row, A_step, W, W_step, K, C, C_row, rows, accumulate):
    """COLUMNS columns of some rows of C."""
    i = 0
    while i + ROWS <= rows:
        _wide(A + i * A_row, A_row, A_step, W, W_step, K, C + i * C_row, C_row, accumulate)
        i += ROWS
    while i + FEW_ROWS <= rows:
        _wide_few(A + i * A_row, A_row, A_step, W, W_step, K, C + i * C_row, C_row, accumulate)
        i += FEW_ROWS
    while i < rows:
        _wide_one(A + i * A_row, A_row, A_step, W, W_step, K, C + i * C_row, C_row, accumulate)
        i += 1


@njit(cache=True, nogil=True)
def _last_panel(A, A_row, A_step, W, W_step, K, C, i0, rows, j, block, accumulate):
    """The columns of C from ``j`` on, fewer than COLUMNS: of a padded panel, by way of ``block``."""
    columns = C.shape[1] - j
    width = COLUMNS if columns > LANES else LANES
    i = 0
    while i < rows:
        some = ROWS if i + ROWS <= rows else FEW_ROWS if i + FEW_ROWS <= rows else 1
        a, c = A + i * A_row, block.ctypes.data
        if width == COLUMNS:
            _wide_panel(a, A_row, A_step, W, W_step, K, c, 4 * COLUMNS, some, 0)
        elif some == ROWS:
            _narrow(a, A_row, A_step, W, W_step, K, c, 4 * LANES, 0)
        elif some == FEW_ROWS:
            _narrow_few(a, A_row, A_step, W, W_step, K, c, 4 * LANES, 0)
        else:
            _narrow_one(a, A_row, A_step, W, W_step, K, c, 4 * LANES, 0)
        for r in range(some):
            for x in range(columns):
                value = block[r * width + x]
                C[i0 + i + r, j + x] = C[i0 + i + r, j + x] + value if accumulate else value
        i += some


@njit(cache=True, nogil=True)
def _pack_last_panel(packed, W, j):
    """The panel of W (K, N) from column ``j`` on, fewer than COLUMNS of them, padded with zeros."""
    K, N = W.shape
    width = COLUMNS if N - j > LANES else LANES
    for k in range(K):
        for x in range(width):
            packed[k * width + x] = W[k, j + x] if j + x < N else 0


@njit(cache=True, nogil=True)
def _pack_columns_of(packed, W, first, last):
    """The panels of the columns from ``first``, a multiple of COLUMNS, to ``last``: a multiple too, or the end."""
    K, N = W.shape
    whole = N - N % COLUMNS
    for j in range(first, min(last, whole), COLUMNS):
        for k in range(K):
            for x in range(COLUMNS):  # a constant length: vector moves and no loop
                packed[j * K + k * COLUMNS + x] = W[k, j + x]
    if whole < N and last == N:
        _pack_last_panel(packed[whole * K :], W, whole)


@njit(cache=True, nogil=True)
def _pack(packed, W):
    _pack_columns_of(packed, W, 0, W.shape[1])


@njit(cache=True, nogil=True)
def _pack_rows_of(packed, W, first, last):
    """The panels of the transposed matrix for the rows from ``first`` to ``last`` of W, likewise."""
    N, K = W.shape
    whole_rows, whole = N - N % LANES, K - K % LANES
    for j in range(first, last, COLUMNS):
        width = COLUMNS if N - j > LANES else LANES
        panel = packed[j * K :]
        for x in range(0, width, LANES):
            if j + x < whole_rows:
                for k in range(0, whole, LANES):
                    out, block = panel.ctypes.data + 4 * (k * width + x), W.ctypes.data + 4 * ((j + x) * K + k)
                    _transpose_block(out, 4 * width, block, 4 * K)
            for k in range(whole if j + x < whole_rows else 0, K):
                for y in range(x, x + LANES):
                    panel[k * width + y] = W[j + y, k] if j + y < N else 0


@njit(cache=True, nogil=True)
def _pack_transposed(packed, W):
    _pack_rows_of(packed, W, 0, W.shape[0])


@njit(cache=True, nogil=True)
def _matmul(C, A, packed, work, accumulate):
    n, K = A.shape
    N = C.shape[1]
    for i in range(0, n, ROW_BLOCK):
        rows, a = min(ROW_BLOCK, n - i), A.ctypes.data + 4 * i * K
        for j in range(0, N, COLUMNS):
            panel = packed.ctypes.data + 4 * j * K
            if j + COLUMNS <= N:
                c = C.ctypes.data + 4 * (i * N + j)
                _wide_panel(a, 4 * K, 4, panel, 4 * COLUMNS, K, c, 4 * N, rows, accumulate)
            else:
                step = 4 * COLUMNS if N - j > LANES else 4 * LANES
                _last_panel(a, 4 * K, 4, panel, step, K, C, i, rows, j, work, accumulate)


@njit(cache=True, nogil=True)
def _fetch(A, sink):
    """Read A once in its own order, which the processor foresees, before it is read by columns, which it does not."""
    largest = A[0, 0]
    for k in range(A.shape[0]):
        for m in range(0, A.shape[1], LINE):
            largest = max(largest, A[k, m])
    sink[0] = largest


@njit(cache=True, nogil=True)
def _pack_columns(strip, A, i):
    """Columns i to i + ROWS of A (n, M), one row behind the other: in A they lie M floats apart."""
    for k in range(A.shape[0]):
        for x in range(ROWS):
            strip[k * ROWS + x] = A[k, i + x]


@njit(cache=True, nogil=True)
def _rows_of_transposed(C, A, first, packed, work, accumulate):
    n, M = A.shape
    rows, N = C.shape
    whole = N - N % COLUMNS
    block, strip, panels = work[: ROWS * COLUMNS], work[ROWS * COLUMNS :], packed.ctypes.data
    for i in range(0, rows, ROWS):
        some, a, a_step = min(ROWS, rows - i), A.ctypes.data + 4 * (first + i), 4 * M
        if some == ROWS:
            _pack_columns(strip, A, first + i)
            a, a_step = strip.ctypes.data, 4 * ROWS
        for j in range(0, whole, COLUMNS):
            c = C.ctypes.data + 4 * (i * N + j)
            _wide_panel(a, 4, a_step, panels + 4 * j * n, 4 * COLUMNS, n, c, 4 * N, some, accumulate)
        if whole < N:
            step = 4 * COLUMNS if N - whole > LANES else 4 * LANES
            _last_panel(a, 4, a_step, panels + 4 * whole * n, step, n, C, i, some, whole, block, accumulate)


@njit(cache=True, nogil=True)
def _matmul_transposed(C, A, B, work, accumulate):
    n, M = A.shape
    N = B.shape[1]
    whole = N - N % COLUMNS
    block, panels = work[: ROWS * COLUMNS], work[ROWS * (COLUMNS + n) :]
    if M >= COPIED or N % CROWDED == 0:
        _pack(panels, B)
        _rows_of_transposed(C, A, 0, panels, work, accumulate)
        return
    if n > LONG and min(M, N) > COLUMNS:
        _fetch(A, block)
        _fetch(B, block)
    if whole < N:
        _pack_last_panel(panels, B, whole)
    for i in range(0, M, ROWS):  # so few columns of A at a time stay in the first-level cache
        rows, a = min(ROWS, M - i), A.ctypes.data + 4 * i
        for j in range(0, whole, COLUMNS):
            b, c = B.ctypes.data + 4 * j, C.ctypes.data + 4 * (i * N + j)
            _wide_panel(a, 4, 4 * M, b, 4 * N, n, c, 4 * N, rows, accumulate)
        if whole < N:
            step = 4 * COLUMNS if N - whole > LANES else 4 * LANES
            _last_panel(a, 4, 4 * M, panels.ctypes.data, step, n, C, i, rows, whole, block, accumulate)


def _numpy_pack(packed, W):
    packed[: W.size].reshape(W.shape)[...] = W


def _numpy_pack_transposed(packed, W):
    packed[: W.size].reshape(W.shape[::-1])[...] = W.T


def _numpy_pack_columns_of(packed, W, first, last):
    packed[: W.size].reshape(W.shape)[:, first:last] = W[:, first:last]


def _numpy_pack_rows_of(packed, W, first, last):
    packed[: W.size].reshape(W.shape[::-1])[:, first:last] = W[first:last].T


def _numpy_matmul(C, A, packed, work, accumulate):
    _numpy_product(C, A, packed[: A.shape[1] * C.shape[1]].reshape(A.shape[1], C.shape[1]), work, accumulate)


def _numpy_matmul_transposed(C, A, B, work, accumulate):
    _numpy_product(C, A.T, B, work, accumulate)


def _numpy_rows_of_transposed(C, A, first, packed, work, accumulate):
    B = packed[: len(A) * C.shape[1]].reshape(len(A), C.shape[1])
    _numpy_product(C, A[:, first : first + len(C)].T, B, work, accumulate)


def _numpy_product(C, A, B, work, accumulate):
    if accumulate:
        product = np.matmul(A, B, out=work[: C.size].reshape(C.shape), casting="no")
        np.add(C, product, out=C)
    else:
        np.matmul(A, B, out=C, casting="no")


Pack = Callable[[np.ndarray, np.ndarray], None]
PackPart = Callable[[np.ndarray, np.ndarray, int, int], None]
Product = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int], None]
pack: Pack = _numpy_pack if PATH == "numpy" else _pack
pack_transposed: Pack = _numpy_pack_transposed if PATH == "numpy" else _pack_transposed
pack_columns: PackPart = _numpy_pack_columns_of if PATH == "numpy" else _pack_columns_of
pack_rows: PackPart = _numpy_pack_rows_of if PATH == "numpy" else _pack_rows_of
matmul: Product = _numpy_matmul if PATH == "numpy" else _matmul
matmul_transposed: Product = _numpy_matmul_transposed if PATH == "numpy" else _matmul_transposed
rows_of_transposed: Callable[[np.ndarray, np.ndarray, int, np.ndarray, np.ndarray, int], None] = (
    _numpy_rows_of_transposed if PATH == "numpy" else _rows_of_transposed
)


def self_check() -> bool:
    """Whether this path's products agree with float64 on a ragged shape; ``twotower doctor`` asks."""
    rng = np.random.default_rng(0)
    A, W, B = (rng.standard_normal(shape).astype(np.float32) for shape in ((29, 37), (37, 41), (29, 41)))
    C, dW, some = (np.empty((rows, 41), np.float32) for rows in (29, 37, 13))
    packed, work = np.empty(packed_size(37, 41), np.float32), np.empty(work_size(29, 41, 41), np.float32)
    pack(packed, W)
    matmul(C, A, packed, work, 0)
    matmul_transposed(dW, A, B, work, 0)
    pack(packed, B)
    rows_of_transposed(some, A, 5, packed, work, 0)
    exact = (C, A.astype(float) @ W), (dW, A.T.astype(float) @ B), (some, A.T[5:18].astype(float) @ B)
    return all(np.allclose(product, e, rtol=1e-4, atol=1e-4) for product, e in exact)

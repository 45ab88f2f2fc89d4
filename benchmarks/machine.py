"""What the machine is and what it can do right now: the control beside every timing.

    python -m benchmarks.machine

The fused multiply-add (FMA) loop keeps every operand in a register, so that no float32 program on as many
threads can be faster; NumPy's GEMM shows what a BLAS makes of it. A benchmark prints both for each of its
rounds: when a reading drops, the machine was slow, not the contender.
"""

import math
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import click
import numba
import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from threadpoolctl import threadpool_info, threadpool_limits

ACCUMULATORS = 12  # independent sums a loop; 4 cycles latency on 2 pipes needs 8, AVX2 has 16 registers
GEMM_SHAPE = (8192, 512, 512)  # rows, inputs, outputs: the network's largest product
SETTINGS = (
    "OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_DISABLE_JIT",
)  # fmt: skip
TELLING_FLAGS = ("sse4.2", "avx", "fma", "avx2", "avx512f", "avx512bf16", "amx-tile", "neon", "sve")


def fma_widths() -> dict[str, int]:
    """The vector widths at which this processor multiplies and adds, in float32 lanes; empty without FMA."""
    features = binding.get_host_cpu_features()
    widths = {"AVX2": ("fma", 8), "AVX-512": ("avx512f", 16), "NEON": ("neon", 4)}
    return {name: lanes for name, (flag, lanes) in widths.items() if features.get(flag)}


@cache
def fma_loop(lanes: int) -> Callable[[int, float, float], float]:
    """A compiled loop of ``steps`` × ACCUMULATORS multiply-adds of ``lanes`` floats, all in registers."""
    scalar, index, integer = ir.FloatType(), ir.IntType(32), ir.IntType(64)
    vector = ir.VectorType(scalar, lanes)

    @intrinsic
    def multiply_add(typing, steps, a, b):
        def generate(context, builder, signature, arguments):
            steps, a, b = arguments
            splat = ir.Constant(ir.VectorType(index, lanes), [0] * lanes)
            undefined = ir.Constant(vector, ir.Undefined)
            a, b = (
                builder.shuffle_vector(builder.insert_element(undefined, x, index(0)), undefined, splat) for x in (a, b)
            )
            fma_type = ir.FunctionType(vector, [vector] * 3)
            fma = cgutils.get_or_insert_function(builder.module, fma_type, f"llvm.fma.v{lanes}f32")

            entry, loop, done = (
                builder.block,
                builder.append_basic_block("loop"),
                builder.append_basic_block("done"),
            )
            builder.branch(loop)
            builder.position_at_end(loop)
            step = builder.phi(integer)
            sums = [builder.phi(vector) for _ in range(ACCUMULATORS)]
            after = [builder.call(fma, [total, a, b]) for total in sums]  # total = total·a + b
            step_after = builder.add(step, integer(1))
            step.add_incoming(integer(0), entry)
            step.add_incoming(step_after, loop)
            for i, total in enumerate(sums):  # different starts: equal sums would be computed once
                total.add_incoming(ir.Constant(vector, [float(i)] * lanes), entry)
                total.add_incoming(after[i], loop)
            builder.cbranch(builder.icmp_signed("<", step_after, steps), loop, done)

            builder.position_at_end(done)
            total = after[0]
            for other in after[1:]:
                total = builder.fadd(total, other)
            result = scalar(0.0)
            for lane in range(lanes):
                result = builder.fadd(result, builder.extract_element(total, index(lane)))
            return result

        return types.float32(types.int64, types.float32, types.float32), generate

    @njit(nogil=True)
    def loop(steps, a, b):
        return multiply_add(steps, np.float32(a), np.float32(b))

    return loop


def fma_rates(threads: int) -> dict[str, float]:
    """GFLOP/s of the bare multiply-add loop on so many threads, for each vector width of the processor."""
    with ThreadPoolExecutor(threads) as pool:
        return {name: fma_rate(pool, threads, lanes) for name, lanes in fma_widths().items()}


def fma_rate(pool: ThreadPoolExecutor, threads: int, lanes: int, seconds: float = 0.1) -> float:
    """GFLOP/s at one vector width; best of three runs of about so many seconds, since it is a limit."""
    loop = fma_loop(lanes)

    def run(steps: int) -> None:
        list(pool.map(loop, [steps] * threads, [0.5] * threads, [1.0] * threads))

    run(1)  # compiles
    steps = 1_000_000
    steps = int(steps * seconds / timed(run, steps))
    return 2 * lanes * ACCUMULATORS * steps * threads / min(timed(run, steps) for _ in range(3)) / 1e9


def gemm_rate(repeats: int = 9) -> float:
    """GFLOP/s of NumPy's float32 product of GEMM_SHAPE, on as many threads as its BLAS is set to; median."""
    rows, inputs, outputs = GEMM_SHAPE
    rng = np.random.default_rng(0)
    A, B = rng.random((rows, inputs), np.float32), rng.random((inputs, outputs), np.float32)
    C = A @ B
    elapsed = statistics.median(timed(np.matmul, A, B, C) for _ in range(repeats))
    return 2 * math.prod(GEMM_SHAPE) / elapsed / 1e9


def timed(work: Callable[..., object], *arguments: object) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def facts(threads: int) -> dict[str, object]:
    """Processor, libraries and settings, for the JSON beside the timings."""
    features = binding.get_host_cpu_features()
    return {
        "processor": processor(),
        "architecture": platform.machine(),
        "llvm_cpu": binding.get_host_cpu_name(),
        "flags": [flag for flag in TELLING_FLAGS if features.get(flag)],
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "blas": blas(),
        "threads": threads,
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
        "commit": commit(),
    }


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def blas() -> list[dict[str, object]]:
    """The BLAS and OpenMP libraries in this process: name, version, kernels and threads."""
    keys = ("internal_api", "version", "architecture", "threading_layer", "num_threads")
    return [{key: library[key] for key in keys if key in library} for library in threadpool_info()]


def commit() -> str:
    """The commit that is measured; ``+`` marks changes on top of it."""
    command = ["git", "describe", "--always", "--dirty=+"]
    result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    return result.stdout.strip() or "unknown"


def readings(threads: int) -> dict[str, float]:
    """The control: GFLOP/s of the multiply-add loops and of NumPy's GEMM on so many threads, by name."""
    with threadpool_limits(threads, user_api="blas"):
        return {f"FMA {name}": rate for name, rate in fma_rates(threads).items()} | {"GEMM NumPy": gemm_rate()}


def describe(facts: dict) -> str:
    """The facts in three lines."""
    libraries = ", ".join(
        " ".join(str(entry[key]) for key in ("internal_api", "version", "architecture") if entry.get(key))
        for entry in facts["blas"]
    )
    settings = " ".join(f"{name}={value}" for name, value in facts["settings"].items()) or "none"
    return (
        f"{facts['processor']} ({facts['llvm_cpu']}; {' '.join(facts['flags'])}), {facts['cores']} cores, "
        f"{facts['memory_gib']} GiB\n"
        f"Python {facts['python']}, NumPy {facts['numpy']}, Numba {facts['numba']}; {libraries}\n"
        f"threads {facts['threads']}; settings: {settings}; commit {facts['commit']}"
    )


@click.command(context_settings={"show_default": True})
@click.option("--threads", default=os.cpu_count() or 1)
def main(threads: int) -> None:
    """What the machine is, and what it reaches right now."""
    print(describe(facts(threads)))
    for name, rate in readings(threads).items():
        print(f"{name:12} {rate:7.1f} GFLOP/s")


if __name__ == "__main__":
    main()

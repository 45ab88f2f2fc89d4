"""The machine and the versions that a result was made with."""

import os
import platform
import re
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from twotower.core.version import __version__

PACKAGES = ("numpy", "numba", "scipy", "safetensors")  # whose versions may change a result


def environment_facts() -> dict[str, Any]:
    """Versions, processor and cores, as plain values for JSON; packages are asked for, never imported."""
    return {
        "twotower": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cores": usable_cores(),
        **{package: version_of(package) for package in PACKAGES},
    }


def cpu_name() -> str:
    """What the processor calls itself, where the system tells."""
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match[1] if match else platform.processor()


def usable_cores() -> int:
    """How many cores this process may use: fewer than the machine has, under taskset or in a container."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def version_of(package: str) -> str | None:
    """The installed version of a package; None where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def blas_in_use() -> str:
    """The BLAS libraries that are loaded, NumPy's and maybe SciPy's: name, version, kernels chosen."""
    import numpy  # noqa: F401
    from threadpoolctl import threadpool_info

    found = [library for library in threadpool_info() if library["user_api"] == "blas"]
    keys = ("internal_api", "version", "architecture")
    return ", ".join(" ".join(str(library[key]) for key in keys if library.get(key)) for library in found) or "unknown"

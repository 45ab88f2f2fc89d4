"""The page of benchmarks/daily.py."""
from pathlib import Path


def write_page(results: Path) -> None:
    """Tables and plot."""

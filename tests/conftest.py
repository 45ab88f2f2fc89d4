"""What tests share: where the real data is, if it is."""

import os
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


def real_data(name: str) -> Path:
    """The directory of one real data set, or a skip with a word where it is absent."""
    home = Path(os.environ.get("TWOTOWER_DATA", ROOT.parent / "shared" / "data"))
    if not (home / name).is_dir():
        pytest.skip(f"no {name} in {home}; TWOTOWER_DATA may name another directory")
    return home / name


@pytest.fixture(scope="session")
def lastfm_dir() -> Path:
    """Last.fm listeners by country: lastfm.csv.gz, artist_tags.csv.gz, territory_counts.csv."""
    return real_data("lastfm_countries")


@pytest.fixture(scope="session")
def retail_dir() -> Path:
    """Online Retail II by day: events.csv.gz, items.csv.gz, territory_counts.csv."""
    return real_data("online_retail")


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20231001)

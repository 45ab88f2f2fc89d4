"""What all tests share: real data where it is present, Hypothesis profiles, a tiny world, approved snapshots."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import chromium
from profiles import load_profile
from snapshots import Snapshot

from twotower.core import storage

os.environ.pop("COLUMNS", None)  # a worker sets it, which would narrow the tables
MOST_WORKERS = 8  # each loads the kernels for itself

load_profile()
storage.DURABLE = False  # waiting for the disk is tested where it is asked for


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-snapshots", action="store_true", help="rewrite the approved texts in tests/snapshots")


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist nobody asks
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """For ``-n auto``: one process for single files, since a worker takes seconds to start; else a worker per core."""
    if config.args and all(Path(argument.split("::")[0]).is_file() for argument in config.args):
        return 0
    return min(len(os.sched_getaffinity(0)), MOST_WORKERS)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a browser shows is slow to look at."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.option.markexpr == "not slow":
        terminalreporter.line("Slow tests (whole experiments, pages in a browser) were left out: pytest -m slow")


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


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium, one for all pages."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20231001)


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic world with its default sample, small enough to train on in a moment. Not to be changed."""
    from twotower.data.sampling.sample_config import SampleConfig
    from twotower.data.sampling.sampler import sample
    from twotower.data.synthetic.simulate import simulate
    from twotower.data.synthetic.world import WorldConfig

    sizes = dict(users=300, titles=30, territories=6, groups=2, user_dim=16, title_dim=16)
    days = dict(history_days=10, train_days=8, test_days=3, streams=1.0)
    dataset = simulate(tmp_path_factory.mktemp("worlds") / "tiny", WorldConfig(**sizes, **days))
    sample(dataset, SampleConfig())
    return dataset.path


@pytest.fixture
def own_world(tiny_world: Path, tmp_path: Path) -> Path:
    """A copy of the tiny world, to be changed or damaged."""
    return Path(shutil.copytree(tiny_world, tmp_path / "world"))


@pytest.fixture
def snapshot(request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Compares a text with its approved file: ``snapshot(result.output)``; see tests/README.md."""
    paths = {str(tmp_path): "<tmp>", str(tmp_path_factory.getbasetemp()): "<session>"}
    return Snapshot(request.path, request.node.name, paths, request.config.getoption("--update-snapshots"))

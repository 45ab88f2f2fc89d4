"""One experiment on the tiny world that several files of tests look at."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_experiments import run_tiny

from twotower.data.dataset import Dataset
from twotower.data.dataset_writer import update_territories
from twotower.experiments.methods import DEFAULT_METHODS


@pytest.fixture(scope="session")
def finished(tiny_world, tmp_path_factory) -> tuple[Path, Path]:
    """A dataset and an experiment on it. Not to be changed.

    The table's first territory is said to have the fewest users: the record's order is another one.
    """
    home = tmp_path_factory.mktemp("experiments")
    world = Path(shutil.copytree(tiny_world, home / "world"))
    territories = Dataset.open(world).territories
    update_territories(world, replace(territories, users=territories.users[::-1].copy()))
    run_tiny(world, home / "five", methods=",".join(DEFAULT_METHODS))
    return world, home / "five"


@pytest.fixture(scope="session")
def record(finished) -> dict:
    return json.loads((finished[1] / "experiment.json").read_text("utf-8"))

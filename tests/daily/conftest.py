"""A shop with a trained run, once per session, and copies of it to be updated."""

import json
import shutil
from pathlib import Path

import pytest
from daily_logs import make_shop

from twotower.core.storage import read_record, write_record


@pytest.fixture(scope="session")
def shop(tmp_path_factory) -> Path:
    """The folder of a log, a dataset and a run. Not to be changed."""
    folder = tmp_path_factory.mktemp("daily")
    make_shop(folder)
    return folder


@pytest.fixture
def copied(shop, tmp_path):
    """Makes runs of their own: copies under a name, of a run that may have days."""

    def copy(name: str, of: Path = shop / "run") -> Path:
        return Path(shutil.copytree(of, tmp_path / name))

    return copy


@pytest.fixture
def run(copied) -> Path:
    return copied("run")


@pytest.fixture
def edit_day():
    """Changes the record of a day."""

    def edit(path: Path, **values) -> None:
        record = read_record(path / "run.json")
        record["day"] |= values
        write_record(path / "run.json", json.loads(json.dumps(record)))

    return edit

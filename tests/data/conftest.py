"""Fixtures of the data rooms' tests."""

from pathlib import Path

import pytest

from twotower.data.dataset import Dataset
from twotower.data.ingest.import_config import ImportConfig
from twotower.data.ingest.import_log import ImportSummary, import_logs


@pytest.fixture
def imported(tmp_path):
    """Import text, bytes or a path, with settings: the dataset and the summary."""

    def imported(content, name="log.csv", **settings) -> tuple[Dataset, ImportSummary]:
        path = content
        if isinstance(content, str | bytes):
            path = tmp_path / name
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        options = {"time": "date", **settings}
        events = {} if "markets" in options else {"events": (Path(path),)}
        summary = import_logs(tmp_path / "set", ImportConfig(**events, **options), overwrite=True)
        return Dataset.open(tmp_path / "set"), summary

    return imported

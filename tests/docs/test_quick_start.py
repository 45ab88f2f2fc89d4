"""The quick-start runs as written, from its CSV to recommendations."""

import csv
import io
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from console_blocks import commands, needs_jit, run

from twotower.cli import cli

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "quick-start.md").read_text("utf-8")


@needs_jit
def test_the_quick_start_ends_with_recommendations_from_its_csv(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "2000")
    ((name, log),) = re.findall(r"<!-- file: (\S+) -->\n```\n(.*?)\n```", PAGE, re.DOTALL)
    Path(name).write_text(log + "\n", encoding="utf-8")
    steps = commands(PAGE)
    assert [step.line.split()[1] for step in steps] == ["import", "embed", "sample", "train", "recommend"]
    for step in steps:
        run(step)
    watched = {(row["user"], row["title"]) for row in csv.DictReader(io.StringIO(log))}
    result = CliRunner().invoke(cli, steps[-1].line.split()[1:])
    best = [(row["user"], row["title"]) for row in csv.DictReader(io.StringIO(result.stdout))]
    assert len(best) == 16 and not watched & set(best)
    assert {title for _, title in best} <= {title for _, title in watched}


def test_a_step_that_prints_something_else_is_noticed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    step = commands(PAGE)[-1]
    with pytest.raises(AssertionError, match="no such run"):
        run(step)

"""A few of the faults of benchmarks/faults; the tool itself must notice what is wrong."""

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.faults import damage, operations, page, together
from benchmarks.faults.__main__ import RECORD
from benchmarks.faults.commands import COMMANDS, template
from twotower.core import staging
from twotower.core.manifest import Verification
from twotower.training.warm_up import compile_kernels

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    compile_kernels()  # once, before children are made
    return template(tmp_path_factory.mktemp("faults") / "made")


def wrong(outcomes) -> list[str]:
    return [text for text in outcomes if text.split()[0].isupper()]


def test_damaged_files_are_refused_or_say_the_same(made, tmp_path):
    outcomes = damage.damage(made, tmp_path, times=60) + damage.damage(made, tmp_path, times=30, forged=True)
    assert outcomes["refused"] > 50 and not wrong(outcomes)


def test_damage_that_is_loaded_is_noticed(made, tmp_path, monkeypatch):
    monkeypatch.setattr(Verification, "enabled", False)
    assert any(text.startswith("OTHER VALUES") for text in damage.damage(made, tmp_path, times=90))


@pytest.mark.parametrize("kind", ["kill", "full", "io"])
def test_a_disturbed_command_goes_on_to_the_same_files(made, tmp_path, kind):
    for name, some in (("group", range(2, 20, 5)), ("train", (20, 40)), ("export --overwrite", [9])):
        assert not wrong(operations.each_operation(kind, name, made, tmp_path, some))


def test_what_a_kill_leaves_is_noticed(made, tmp_path, monkeypatch):
    monkeypatch.setattr(staging, "clear", lambda directory: None)
    outcomes = operations.each_operation("kill", "embed --overwrite", made, tmp_path, [50])
    assert any(text.startswith("OTHER FILES") for text in outcomes)


def test_two_at_once_leave_everything_whole_and_one_that_is_stopped_is_named(made, tmp_path):
    assert not wrong(Counter([together.writers("embed --overwrite", "sample --overwrite", made, tmp_path)]))
    assert together.stopped("group", made, tmp_path) == "said who holds it"


def test_the_page_has_the_figures_of_the_record():
    text, record = page.PAGE.read_text("utf-8"), json.loads(RECORD.read_text("utf-8"))
    assert page.page(text, record) == text
    for kind, found in record.items():
        assert not wrong(outcome for outcomes in found["outcomes"].values() for outcome in outcomes), kind
        assert set(found["outcomes"]) <= {*COMMANDS, kind, "memory_mib"}

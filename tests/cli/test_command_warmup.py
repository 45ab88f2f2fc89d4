"""``twotower warmup``"""

import pytest
from click.testing import CliRunner

from twotower.cli import cli
from twotower.core import jit
from twotower.training.warm_up import COMMANDS, STAGE


def test_it_shows_progress_says_where_kernels_are_kept_how_long_it_took_and_what_is_next():
    result = CliRunner().invoke(cli, ["warmup"])
    assert result.exit_code == 0
    assert result.stderr.startswith(STAGE) and COMMANDS in result.stderr
    kept, ready = result.stdout.splitlines()
    assert kept.endswith(f"cached in {jit.cache_directory()}.")
    assert ready.startswith("All kernels are ready after ") and ready.endswith("Next: twotower train")


def test_it_says_when_nothing_can_be_kept(monkeypatch):
    monkeypatch.setattr(jit, "wanted_directories", list)
    assert "cached for this process only" in CliRunner().invoke(cli, ["warmup"]).stdout


def test_it_forgets_what_has_not_been_used_for_long(monkeypatch):
    called = []
    monkeypatch.setattr(jit, "forget_unused", lambda: called.append("forget"))
    CliRunner().invoke(cli, ["warmup"])
    assert called == ["forget"]


@pytest.mark.parametrize("argument", ["world", "--no-such-option"])
def test_a_surplus_argument_is_refused(argument):
    assert CliRunner().invoke(cli, ["warmup", argument]).exit_code == 2

"""``twotower warmup``"""

from click.testing import CliRunner

from twotower.commands import cli
from twotower.warmup import STAGE


def test_it_shows_progress_says_how_long_it_took_and_what_is_next():
    result = CliRunner().invoke(cli, ["warmup"])
    assert result.exit_code == 0
    assert result.stderr.startswith(STAGE)
    assert result.stdout.startswith("All kernels are ready after ") and result.stdout.endswith("Next: twotower train\n")


def test_a_surplus_argument_is_refused():
    assert CliRunner().invoke(cli, ["warmup", "world"]).exit_code == 2

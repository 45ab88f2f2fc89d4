"""What signals do to a command: in this process, and in one of its own."""

import signal
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from twotower.cli import LazyGroup, cli
from twotower.core.signals import SIGNALS, Stopped, finishing, handled


@pytest.mark.parametrize("number", SIGNALS)
def test_a_command_ends_in_order_and_says_how(monkeypatch, number):
    cleaned = []

    @click.command()
    def train():
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt as stop:
            stop.hint = "twotower train --resume runs/1"
            cleaned.append(number)
            raise

    monkeypatch.setattr(LazyGroup, "get_command", lambda self, ctx, name: train)
    default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    inherited = signal.signal(number, default)  # a job in the background inherits SIGINT and SIGHUP as ignored
    try:
        result = CliRunner().invoke(cli, ["train"])
    finally:
        after = signal.signal(number, inherited)
    what = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    assert (result.exit_code, cleaned) == (128 + number, [number])
    assert result.stderr == f"twotower: {what}\nResume with: twotower train --resume runs/1\n"
    assert after == default


def test_a_step_is_finished_first():
    done = []
    with pytest.raises(Stopped, match="SIGTERM"), handled(), finishing() as asked:
        assert not asked()
        signal.raise_signal(signal.SIGTERM)
        done.append(asked())
    assert done == [True]


def test_what_was_told_to_be_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handled():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_ends_at_once():
    stubborn = (
        "import signal, time\nfrom twotower.core.signals import handled\nwith handled():\n"
        "    try:\n        signal.raise_signal(signal.SIGTERM)\n"
        "    finally:\n        signal.raise_signal(signal.SIGTERM)\n        time.sleep(600)\n"
    )
    assert subprocess.run([sys.executable, "-c", stubborn], timeout=300).returncode == -signal.SIGTERM

"""The pages on own data, vectors and every day say what really happens."""

import re
import shlex
from pathlib import Path

import click
from click.testing import CliRunner

from twotower.cli import cli
from twotower.cli.days import days
from twotower.cli.embed import embed
from twotower.cli.evaluate import evaluate
from twotower.cli.import_ import import_
from twotower.cli.recommend import recommend
from twotower.cli.rollback import rollback
from twotower.cli.train import train
from twotower.cli.update import update

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to"
PAGE = "".join((HOW_TO / f"{name}.md").read_text("utf-8") for name in ("own-data", "vectors", "every-day"))


def blocks(mark: str) -> dict[str, str]:
    """The code blocks that follow ``<!-- mark: name -->``, by name."""
    return dict(re.findall(rf"<!-- {mark}(?:: ([^ ]+))? -->\n```\n(.*?)\n```", PAGE, re.DOTALL))


def run(command: str) -> list[str]:
    """What a command prints, by line."""
    result = CliRunner().invoke(cli, shlex.split(command)[1:])
    assert result.exit_code == 0, result.output
    return [line.rstrip() for line in result.stdout.splitlines()]


def test_the_five_minutes_print_what_the_page_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in blocks("file").items():
        Path(name).write_text(text + "\n", encoding="utf-8")
    commands = blocks("commands")[""].splitlines()
    shown = blocks("output")
    assert len(commands) == len(shown) == 2
    for command, expected in zip(commands, shown.values(), strict=True):
        assert run(command) == expected.splitlines()


def test_a_newer_log_is_embedded_like_the_first_as_the_page_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in blocks("file").items():
        Path(name).write_text(text + "\n", encoding="utf-8")
    commands = [*blocks("commands")[""].splitlines(), *blocks("daily")[""].splitlines()]
    printed = [run(command) for command in commands]
    assert len(commands) == 4 and printed[-1] == blocks("daily output")[""].splitlines()


def options_of(*commands: click.Command) -> set[str]:
    options = [option for command in commands for option in command.params if isinstance(option, click.Option)]
    return {name for option in options for name in (*option.opts, *option.secondary_opts)}


def test_options_that_the_pages_name_exist():
    named = set(re.findall(r"--[a-z-]+[a-z]", PAGE))
    later = named - options_of(import_, embed)
    daily = {"--events", "--user-vectors", "--replace", "--allow-gap", "--late"}
    daily |= {"--max-drop", "--max-unknown-titles", "--max-without-history", "--max-volume", "--replay"}
    assert daily <= named and daily <= options_of(update)
    others = {"--mtl", "--groups", "--out", "--dataset", "--unknown-territory", "--run", "--to", "--html"}
    assert later - daily == others
    assert later <= options_of(train, evaluate, recommend, update, rollback, days)

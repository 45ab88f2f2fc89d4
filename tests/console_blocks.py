"""Pages whose commands are run: what they print must be what the page says.

A block marked ``console`` holds commands after ``$`` and what they print; ``$ …`` is the next command of the page's
``sh`` blocks. A line ``…`` stands for any lines, ``…``
within a line for any characters, and runs of blanks, or of the ─ of a rule, count as one. Progress, on stderr, is left
out.
"""

import re
import shlex
from typing import NamedTuple

import pytest
from click.testing import CliRunner
from numba.core import config as numba_config

from twotower.cli import cli

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WIDE = "2000"  # characters a line, so that no sentence is broken

needs_jit = pytest.mark.skipif(bool(numba_config.DISABLE_JIT), reason="plain Python would train for minutes")


class Command(NamedTuple):
    """A command of a ``console`` block."""

    line: str
    expected: str  # what it prints, with elisions


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [body for name, body in BLOCK.findall(text) if name == language]


def commands(text: str) -> list[Command]:
    """What a page runs, in its order."""
    asked = (line for body in blocks(text, "sh") for line in body.splitlines())
    found = []
    for body in blocks(text, "console"):
        for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            line, _, expected = part.partition("\n")
            found.append(Command(next(asked) if line.strip() == "…" else line.strip(), expected))
    return found


def normal(text: str) -> list[str]:
    """Lines with single blanks between words; empty ones are left out, and a rule has any length."""
    return [re.sub("─+", "─", line) for line in (" ".join(line.split()) for line in text.splitlines()) if line]


def pattern(expected: str) -> re.Pattern[str]:
    """What a text with elisions matches."""
    lines = (".*?".join(map(re.escape, line.split("…"))) + r"\n" for line in normal(expected))
    return re.compile("".join(r"(?:.*\n)*?" if line == r".*?\n" else line for line in lines))


def matches(expected: str, printed: str) -> bool:
    return bool(pattern(expected).fullmatch("".join(f"{line}\n" for line in normal(printed))))


def first_missing(expected: str, printed: str) -> str:
    """The first line of what was expected that is not there; the end, if it is that something more was printed."""
    lines = normal(expected)
    found = (i for i, line in enumerate(lines) if not matches("\n".join([*lines[: i + 1], "…"]), printed))
    return lines[next(found)] if not matches("\n".join([*lines, "…"]), printed) else "the end"


def run(command: Command) -> None:
    """Run a command where we are, and compare."""
    program, *arguments = shlex.split(command.line)
    assert program == "twotower", command.line
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, f"$ {command.line}\n{result.output}"
    if not matches(command.expected, result.stdout):
        pytest.fail(f"$ {command.line}\n{result.stdout}\nnot found: {first_missing(command.expected, result.stdout)}")

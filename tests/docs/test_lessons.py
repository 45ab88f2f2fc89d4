"""The course in docs/learn: its commands print what it says they print, and its quotes are the source.

On a page, a block marked ``console`` holds commands after ``$`` and what they print. A line ``…`` stands for any lines,
``…`` within a line for any characters, and runs of blanks, or of the ─ of a rule, count as one. What commands say about
their progress, on stderr, is left out. A ``sh`` block has the commands of an exercise, which the answer below it runs,
and a ``python`` block quotes ``model/reference.py``.
"""

import re
import shlex
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner
from numba.core import config as numba_config

from twotower.cli import cli

ROOT = Path(__file__).resolve().parents[2]
COURSE = ROOT / "docs" / "learn"
ENTRANCE = COURSE / "README.md"
LESSONS = sorted(COURSE.glob("[0-9]-*.md"))
NAMES = [path.stem for path in LESSONS]
REFERENCE = (ROOT / "twotower" / "model" / "reference.py").read_text("utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANSWER = re.compile(r"<details>\n<summary>Answer</summary>\n(.*?)\n</details>", re.DOTALL)
WIDE = "2000"  # characters a line, so that no sentence is broken

needs_jit = pytest.mark.skipif(bool(numba_config.DISABLE_JIT), reason="plain Python would train for minutes")


class Command(NamedTuple):
    """A command of a ``console`` block."""

    line: str
    expected: str  # what it prints, with elisions


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [body for name, body in BLOCK.findall(text) if name == language]


def prose(text: str) -> str:
    """A page without its blocks, formulas and code."""
    return re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$|`[^`\n]+`", "", BLOCK.sub("", text), flags=re.DOTALL)


def commands(text: str) -> list[Command]:
    """What a page runs, in its order."""
    found = []
    for body in blocks(text, "console"):
        for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            line, _, expected = part.partition("\n")
            found.append(Command(line.strip(), expected))
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


@pytest.fixture(scope="module")
def classroom(tmp_path_factory) -> Path:
    """Where the entrance's own commands have been run: the world and the runs that all lessons share."""
    folder = tmp_path_factory.mktemp("classroom")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", WIDE)
        for command in commands(ENTRANCE.read_text("utf-8")):
            run(command)
    return folder


@needs_jit
@pytest.mark.parametrize("page", LESSONS, ids=NAMES)
def test_every_command_of_a_lesson_prints_what_the_lesson_says(page, classroom, monkeypatch):
    monkeypatch.chdir(classroom)
    monkeypatch.setenv("COLUMNS", WIDE)
    for command in commands(page.read_text("utf-8")):
        run(command)


# ---------------------------------------------------------------- what the pages are made of


def test_there_are_six_lessons_and_an_entrance_that_names_them_in_order():
    assert len(LESSONS) == 6
    linked = re.findall(r"\((\d-[a-z-]+\.md)\)", ENTRANCE.read_text("utf-8"))
    assert list(dict.fromkeys(linked)) == [path.name for path in LESSONS]


@pytest.mark.parametrize("page", LESSONS, ids=NAMES)
def test_quotes_are_the_lines_of_the_reference(page):
    quotes = blocks(page.read_text("utf-8"), "python")
    assert quotes, "a lesson quotes the lines that do it"
    source = [line.strip() for line in REFERENCE.splitlines()]
    for quote in quotes:
        lines = textwrap.dedent(quote).splitlines()
        starts = [i for i, line in enumerate(source) if line == lines[0].strip()]
        assert any(
            textwrap.dedent("\n".join(REFERENCE.splitlines()[i : i + len(lines)])) == "\n".join(lines) for i in starts
        ), f"not in reference.py:\n{quote}"


@pytest.mark.parametrize("page", LESSONS, ids=NAMES)
def test_every_exercise_has_an_answer_that_runs_its_commands(page):
    exercises = re.split(r"^### ", page.read_text("utf-8"), flags=re.MULTILINE)[1:]
    assert 2 <= len(exercises) <= 4
    for number, exercise in enumerate(exercises, 1):
        assert exercise.startswith(f"Exercise {page.name[0]}.{number}")
        asked = [line for body in blocks(ANSWER.sub("", exercise), "sh") for line in body.splitlines()]
        answers = ANSWER.findall(exercise)
        assert asked and len(answers) == 1, exercise
        answered = commands(answers[0])
        assert [command.line for command in answered] == asked
        assert all(command.expected.strip() for command in answered), "an answer shows what is printed"


@pytest.mark.parametrize("page", LESSONS, ids=NAMES)
def test_no_number_is_claimed_that_no_command_prints(page):
    text = page.read_text("utf-8")
    printed = "\n".join(command.line + "\n" + command.expected for command in commands(text))
    shown = set(re.findall(r"\d+\.\d+", printed))
    for number in re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)", re.sub(r"[Ee]xercise \d\.\d", "", prose(text))):
        assert any(other.startswith(number) for other in shown), number


@pytest.mark.parametrize("page", [ENTRANCE, *LESSONS], ids=["README", *NAMES])
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", BLOCK.sub("", page.read_text("utf-8"))):
        assert target.startswith("https://") or (page.parent / target).exists(), target


# ---------------------------------------------------------------- the tests of these tests


def test_elisions_stand_for_lines_and_for_characters():
    assert matches("a\n…\nloss 0.2…\n", "a\n\nb\n  c\nloss   0.28\n")
    assert matches("a\n…\n", "a\n") and matches("…\nb\n", "x\nb\n")
    assert not matches("a\n…\nloss 0.3…\n", "a\nloss 0.28\n")
    assert not matches("a\nb\n", "a\nx\nb\n") and not matches("a\n", "a\nb\n")
    assert first_missing("a\n…\nloss 0.3…\nz\n", "a\nb\nloss 0.2\nz\n") == "loss 0.3…"
    assert first_missing("a\n", "a\nb\n") == "the end"


def test_commands_are_told_from_what_they_print():
    page = "```console\n$ twotower one --x 1\n1\n2\n\n$ twotower two\n…\n```\n"
    assert commands(page) == [Command("twotower one --x 1", "1\n2\n\n"), Command("twotower two", "…\n")]

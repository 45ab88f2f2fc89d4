"""The course in docs/learn: its commands print what it says they print, and its quotes are the source.

A ``sh`` block has the commands of an exercise, which the answer below it runs, and a ``python`` block quotes
``model/reference.py``; ``console`` blocks are described in ``console_blocks``.
"""

import re
import textwrap
from pathlib import Path

import pytest
from console_blocks import BLOCK, WIDE, Command, blocks, commands, first_missing, matches, needs_jit, run

ROOT = Path(__file__).resolve().parents[2]
COURSE = ROOT / "docs" / "learn"
ENTRANCE = COURSE / "README.md"
LESSONS = sorted(COURSE.glob("[0-9]-*.md"))
NAMES = [path.stem for path in LESSONS]
TEXTBOOK = sorted((ROOT / "twotower" / "model").glob("reference*.py"))
REFERENCE = "".join(path.read_text("utf-8") for path in TEXTBOOK)
ANSWER = re.compile(r"<details>\n<summary>Answer</summary>\n(.*?)\n</details>", re.DOTALL)


def prose(text: str) -> str:
    """A page without its blocks, formulas and code."""
    return re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$|`[^`\n]+`", "", BLOCK.sub("", text), flags=re.DOTALL)


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


#: Lessons that train many networks.
LONG = ("4-why-heads", "6-popularity-bias")
RUNNABLE = [
    pytest.param(page, id=page.stem, marks=[pytest.mark.slow] if page.stem in LONG else []) for page in LESSONS
]


@needs_jit
@pytest.mark.parametrize("page", RUNNABLE)
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
        answered = commands(exercise)
        assert [command.line for command in answered] == asked
        assert all(command.expected.strip() for command in answered), "an answer shows what is printed"


@pytest.mark.parametrize("page", LESSONS, ids=NAMES)
def test_no_number_is_claimed_that_no_command_prints(page):
    text = page.read_text("utf-8")
    printed = "\n".join(command.line + "\n" + command.expected for command in commands(text))
    shown = set(re.findall(r"\d+\.\d+", printed))
    for number in re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)", re.sub(r"[Ee]xercise \d\.\d", "", prose(text))):
        assert any(other.startswith(number) for other in shown), number


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
    page = "```sh\ntwotower one\ntwotower two\n```\n```console\n$ …\n1\n$ …\n2\n```\n"
    assert commands(page) == [Command("twotower one", "1\n"), Command("twotower two", "2\n")]

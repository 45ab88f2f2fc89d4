"""``twotower trace``: each option changes what is printed, and nothing heavy is loaded."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from twotower.cli import cli
from twotower.core.serialisation import plain
from twotower.lab.trace import trace

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments):
    result = CliRunner().invoke(cli, ["trace", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def usual():
    return run()


def test_it_goes_through_the_whole_step(usual):
    stages = [line.split(" ")[0] for line in usual.splitlines() if " · " in line and line.endswith("─")]
    assert list(dict.fromkeys(stages)) == ["Forward", "Loss", "Backward", "Adam"]
    assert usual == run()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seed", "1"],
        ["--head", "lowrank"],
        ["--title-bias"],
        ["--memory"],
        ["--group", "1"],
        ["--mask", "off"],
        ["--stage", "loss"],
        ["--all"],
    ],
    ids=" ".join,
)
def test_each_option_changes_the_text(arguments, usual):
    assert run(*arguments) != usual


def test_json_is_the_record_with_both_runs():
    record = json.loads(run("--json", "--seed", "2", "--head", "plain", "--group", "0"))
    assert record == plain(trace.trace(2, "plain", 0))
    assert record["kind"] == "trace" and set(record["runs"]) == {"on", "off"}


def test_the_command_knows_the_stages():
    module = sys.modules["twotower.cli.trace"]
    assert module.STAGES == trace.STAGES


def test_a_group_that_is_not_there_is_refused():
    result = CliRunner().invoke(cli, ["trace", "--group", "2"])
    assert result.exit_code == 2 and "--group" in result.stderr


def test_html_writes_the_page_of_the_record(tmp_path, monkeypatch):
    import twotower.lab.page as lesson

    written = []
    monkeypatch.setattr(lesson, "write_page", lambda *arguments: written.append(arguments))
    for mask in ("on", "off"):
        run("--seed", "3", "--mask", mask, "--html", str(tmp_path / "step.html"))
        record, path, how = written.pop()
        assert (plain(record), path, how) == (plain(trace.trace(3)), tmp_path / "step.html", mask)


def test_a_page_that_cannot_be_written_is_refused_before_the_step(tmp_path, monkeypatch):
    monkeypatch.setattr(trace, "trace", None)
    for place in (tmp_path, tmp_path / "nowhere" / "step.html"):
        result = CliRunner().invoke(cli, ["trace", "--html", str(place)])
        assert result.exit_code == 2 and result.stdout == ""
        assert result.stderr.startswith(f"twotower: error: {place}: cannot write (") and result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_page_of_documentation_quotes_the_command():
    """Each block after ``$ twotower trace …`` is a part of what that prints, line for line."""
    page = (ROOT / "docs" / "reference" / "trace.md").read_text("utf-8")
    blocks = [block.split("```")[0] for block in page.split("```text\n$ twotower trace")[1:]]
    assert len(blocks) >= 2
    for block in blocks:
        command, _, expected = block.partition("\n")
        output = [line.rstrip() for line in run(*command.split()).splitlines()]
        for part in expected.split("…\n"):
            lines = part.rstrip().splitlines()
            starts = [i for i, line in enumerate(output) if lines and line == lines[0]]
            assert any(output[i : i + len(lines)] == lines for i in starts), part


@pytest.mark.parametrize(
    "arguments",
    [["--json", "--stage", "loss"], ["--json", "--mask", "off"], ["--json", "--all"], ["--stage", "loss", "--all"]],
    ids=" ".join,
)
def test_options_that_would_do_nothing_are_refused(arguments):
    result = CliRunner().invoke(cli, ["trace", *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    assert arguments[-1 if "--all" in arguments else 1] in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize("path", [".", "/", ""])
def test_a_page_needs_a_file_of_its_own(path):
    pytest.importorskip("jinja2")
    result = CliRunner().invoke(cli, ["trace", "--html", path])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "cannot write" in result.stderr and result.stderr.count("\n") == 1


def test_it_says_where_the_page_is(tmp_path):
    pytest.importorskip("jinja2")
    result = CliRunner().invoke(cli, ["trace", "--html", str(tmp_path / "step.html")])
    assert result.stderr == f"Saved to {tmp_path / 'step.html'}.\n"

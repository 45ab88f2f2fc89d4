"""``twotower compare`` as it is typed: every option changes what is printed, and JSON is nothing but JSON."""

import csv
import json

import pytest
from click.testing import CliRunner
from made_up_runs import make_run

from twotower.cli import cli

DAYS = (60, 61)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two seeds each of a baseline and of MTL, in ./runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for number, label, skill, seed in (
        (1, "baseline", 0.8, 1),
        (2, "baseline", 0.9, 2),
        (3, "mtl-4", 1.4, 1),
        (4, "mtl-4", 1.3, 2),
    ):
        make_run(tmp_path / f"runs/{number:03d}-{label}", label, skill, seed, DAYS)
    return tmp_path / "runs"


def compare(*arguments):
    result = CliRunner().invoke(cli, ["compare", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_gains_are_printed_with_a_row_per_territory(runs):
    text = compare("runs/003-mtl-4", "runs/001-baseline")
    lines = [line.split() for line in text.splitlines() if line.strip()]
    rows = [line for line in lines if line[0] in ("US", "BR", "JP", "PL")]
    assert [line[0] for line in rows] == ["US", "BR", "JP", "PL"] and "undefined" in rows[2]
    assert "PR-AUC of mtl-4 over baseline" in text and "day 60" in text
    assert "No intervals, and no verdicts:" in text and "no such directory" in text


def test_seeds_of_a_method_are_taken_together_with_their_spread(runs):
    text = compare("runs/*-mtl-4", "runs/*-baseline")
    assert "±" in text and "1, 2" in text


def test_against_turns_the_question_round(runs):
    assert "of mtl-4 over baseline" in compare("runs/*-mtl-4", "runs/*-baseline")
    assert "of baseline over mtl-4" in compare("runs/*", "--against", "runs/*-mtl-4")
    assert "of baseline over mtl-4" in compare("runs/*-baseline", "--against", "runs/*-mtl-4")


def test_top_and_all_choose_the_territories_shown(runs):
    def codes(*options):
        text = compare("runs/003-mtl-4", "runs/001-baseline", *options)
        words = [line.split()[0] for line in text.splitlines() if line.strip()]
        return [word for word in words if word in ("US", "BR", "JP", "PL")]

    assert codes() == ["US", "BR", "JP", "PL"]
    assert codes("--top", "2") == ["US", "BR"]
    assert codes("--top", "2", "--all") == ["US", "BR", "JP", "PL"]


def test_json_is_all_there_is_on_stdout(runs):
    found = json.loads(compare("runs/*-mtl-4", "runs/*-baseline", "--json", "--min-positives", "1"))
    assert [method["seeds"] for method in found["methods"]] == [[1, 2], [1, 2]]
    gains = found["gains"][0]
    assert (gains["method"], gains["baseline"]) == ("mtl-4", "baseline")
    assert (gains["all"]["won"], gains["all"]["evaluated"]) == (3, 3)
    assert [period["name"] for period in found["periods"]] == ["day 60", "day 61"]
    pooled = json.loads(compare("runs/*-mtl-4", "runs/*-baseline", "--json", "--pooled"))
    assert [period["name"] for period in pooled["periods"]] == ["days 60–61"]


def test_csv_holds_the_same_gains_and_the_tables_are_printed_too(runs, tmp_path):
    text = compare("runs/003-mtl-4", "runs/001-baseline", "--csv", "gains.csv")
    assert "95 % interval" in text
    rows = list(csv.DictReader((tmp_path / "gains.csv").open(encoding="utf-8")))
    assert [row["territory"] for row in rows] == ["US", "BR", "JP", "PL"]
    record = json.loads(compare("runs/003-mtl-4", "runs/001-baseline", "--json", "--csv", "again.csv"))
    assert float(rows[0]["average"]) == record["gains"][0]["average"][0]
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "gains.csv").read_text()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["runs/003-mtl-4"], "only one run"),
        (["runs/absent", "runs/003-mtl-4"], "runs/absent: no such run"),
        (["runs/x*", "runs/003-mtl-4"], "no run matches"),
        (["runs/003-mtl-4", "runs/009-other"], "different test pairs"),
        (["runs/003-mtl-4", "runs/001-baseline", "--csv", "absent/x.csv"], "cannot write"),
        (["runs/003-mtl-4", "runs/001-baseline", "--dataset", "absent"], "absent"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(runs, arguments, message):
    make_run(runs / "009-other", label="other", digest="b" * 64)
    result = CliRunner().invoke(cli, ["compare", *arguments])
    assert result.exit_code == 2
    assert message in result.stderr and len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def test_labels_like_markup_are_printed_as_they_are(runs):
    make_run(runs / "005-odd", "odd [/Off]\x1b[2J", 1.4, 1, DAYS)
    text = compare("runs/005-odd", "runs/001-baseline")
    assert r"odd [/Off]\x1b[2J over baseline" in " ".join(text.split()) and "\x1b" not in text

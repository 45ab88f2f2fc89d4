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


def test_gains_are_printed_in_the_form_of_table_2(runs):
    text = compare("runs/003-mtl-4", "runs/001-baseline")
    lines = [line.split() for line in text.splitlines() if line.strip()]
    heading = next(i for i, line in enumerate(lines) if line[:2] == ["gain,", "%"])
    assert lines[heading][2:] == ["US", "BR", "JP", "PL"]
    assert [line[-5] for line in lines[heading + 2 : heading + 5]] == ["60", "61", "average"]
    assert lines[heading + 2][-2] == "undefined"
    assert lines[-1][:3] == ["mtl-4", "over", "baseline:"] and "better in 3 of 3 territories" in text


def test_seeds_of_a_method_are_taken_together_with_their_spread(runs):
    text = compare("runs/*-mtl-4", "runs/*-baseline")
    assert "± spread" in text and "over 2 seeds" in text
    assert "1, 2" in text


def test_against_turns_the_question_round(runs):
    assert "mtl-4 over baseline: better in 3" in compare("runs/*-mtl-4", "runs/*-baseline")
    turned = compare("runs/*-baseline", "--against", "runs/*-mtl-4")
    assert "baseline over mtl-4: better in 0" in compare("runs/*", "--against", "runs/*-mtl-4")
    assert "baseline over mtl-4: better in 0" in turned


def test_top_all_and_min_positives_choose_the_territories(runs):
    def codes(*options):
        found = json.loads(compare("runs/003-mtl-4", "runs/001-baseline", "--json", *options))
        return [row["code"] for row in found["comparisons"][0]["territories"]]

    assert codes() == ["US", "BR", "JP", "PL"]
    assert codes("--top", "2") == ["US", "BR"]
    assert codes("--top", "2", "--all") == ["US", "BR", "JP", "PL"]
    assert codes("--min-positives", "1") == ["US", "BR", "PL"]


def test_rows_print_the_pr_auc_of_both(runs):
    text = compare("runs/003-mtl-4", "runs/001-baseline", "--rows")
    assert "PR-AUC of mtl-4 and baseline" in text
    assert "United States" in text and "day 60" not in text


def test_json_is_all_there_is_on_stdout(runs):
    found = json.loads(compare("runs/*-mtl-4", "runs/*-baseline", "--json"))
    assert [method["seeds"] for method in found["methods"]] == [[1, 2], [1, 2]]
    gains = found["comparisons"][0]
    assert gains["matched_by_seed"] is True and gains["territories_won"] == 3
    assert gains["territories"][0]["gain_by_day"].keys() == {"60", "61"}


def test_csv_holds_the_same_gains_and_the_tables_are_printed_too(runs, tmp_path):
    text = compare("runs/003-mtl-4", "runs/001-baseline", "--csv", "gains.csv")
    assert "gain, %" in text
    rows = list(csv.DictReader((tmp_path / "gains.csv").open(encoding="utf-8")))
    assert [row["code"] for row in rows] == ["US", "BR", "JP", "PL"]
    record = json.loads(compare("runs/003-mtl-4", "runs/001-baseline", "--json", "--csv", "again.csv"))
    assert float(rows[0]["gain"]) == record["comparisons"][0]["territories"][0]["gain"]
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "gains.csv").read_text()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["runs/003-mtl-4"], "only one run"),
        (["runs/absent", "runs/003-mtl-4"], "runs/absent: no such run"),
        (["runs/x*", "runs/003-mtl-4"], "no run matches"),
        (["runs/003-mtl-4", "runs/009-other"], "different test pairs"),
        (["runs/003-mtl-4", "runs/001-baseline", "--csv", "absent/x.csv"], "cannot write"),
        (["runs/003-mtl-4", "runs/001-baseline", "--min-positives", "9999"], "no territory has 9999"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(runs, arguments, message):
    make_run(runs / "009-other", label="other", digest="b" * 64)
    result = CliRunner().invoke(cli, ["compare", *arguments])
    assert result.exit_code == 2
    assert message in result.stderr and len(result.stderr.splitlines()) == 1
    assert result.stdout == ""

"""``twotower evaluate`` as it is typed, on a small dataset on disk, with made-up scores for a network's."""

import csv
import inspect
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from made_up_runs import TERRITORIES, TITLES, USERS, make_pairs, make_run, make_scores

from twotower.cli import cli
from twotower.data.dataset import Dataset
from twotower.data.dataset_writer import DatasetWriter
from twotower.data.sample import Sample, SampleWriter
from twotower.data.territories import Territories
from twotower.metrics.results import ENOUGH_POSITIVES
from twotower.serving import open_run
from twotower.training.run import RunReader

DAYS = (60, 61)


def make_dataset(path, pairs):
    """The dataset and the sample that made-up pairs could have come from."""
    unknown = np.full(len(TERRITORIES.code), np.nan)
    territories = Territories(
        code=TERRITORIES.code,
        name=TERRITORIES.name,
        latitude=unknown,
        longitude=unknown,
        users=TERRITORIES.users,
        group=np.zeros(len(TERRITORIES.code), np.int16),  # grouped anew since: the run's own groups count
    )
    n_titles = len(TITLES["title"])
    with DatasetWriter(path, kind="import", seed=0, config={}) as writer:
        writer.write_territories(territories)
        writer.write_titles(TITLES, np.ones((n_titles, len(territories)), bool), np.zeros(n_titles, int))
        writer.write_users(pairs.user_territory)
        writer.finish(train_days=60, test_days=2, has_time=True)
    with SampleWriter(Dataset.open(path), "default") as writer:
        writer.write_users(np.empty(0), np.empty(0), np.arange(USERS))
        for day in DAYS:
            rows = pairs.day == day
            writer.write_pairs("test", day, pairs.user[rows], pairs.title[rows], pairs.label[rows])
        writer.finish({})


@pytest.fixture
def titles_like_markup(monkeypatch):
    """Titles that a terminal or rich would take for commands."""
    titles = ["Face [/Off]", "[unknown]", "[bold red]Alert", "\x1b[2Jgone", "\u202etfel", "plain"]
    monkeypatch.setitem(TITLES, "title", titles)
    return titles


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run on a dataset, whose weights would score the pairs as it once did."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    pairs = make_pairs(DAYS)
    make_dataset(tmp_path / "world", pairs)
    sampled = Sample(Dataset.open("world"), "default").test_pairs()
    path = make_run("run", days=DAYS, dataset="world", digest=sampled.digest(), pairs=pairs)

    def score_pairs(run_path, dataset, pairs, progress, unknown_territory="fail"):
        called.append((run_path, len(pairs)))
        progress("scoring", len(pairs), len(pairs))
        return make_scores(make_pairs(DAYS))[np.isin(make_pairs(DAYS).day, pairs.day)]

    expected = list(inspect.signature(open_run.score_pairs).parameters)
    assert list(inspect.signature(score_pairs).parameters) == expected
    called = []
    monkeypatch.setattr(open_run, "score_pairs", score_pairs)
    return RunReader(path)


def evaluate(*arguments):
    result = CliRunner().invoke(cli, ["evaluate", "run", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_table_has_territories_macro_and_overall(run):
    lines = [line.split() for line in evaluate().splitlines() if line.strip()]
    assert [line[0] for line in lines] == [
        "code", lines[1][0], "US", "BR", "JP", "PL", "macro", "macro", "overall",
    ]  # fmt: skip
    assert lines[4][-1] == "undefined"
    assert lines[-3][-1] == f"{run.evaluation.macro():.4f}"
    assert lines[-1][-1] == f"{run.overall:.4f}"


def test_the_weights_give_what_training_saved(run):
    found = json.loads(evaluate("--json"))
    assert found["overall"] == run.overall and found["macro"] == run.evaluation.macro()
    saved = run.evaluation.territories
    assert {row["code"]: row["pr_auc"] for row in found["territories"]} == {
        saved.code[c]: (None if np.isnan(saved.pr_auc[c]) else saved.pr_auc[c]) for c in saved.largest()
    }
    assert [row["group"] for row in found["territories"]] == [0, 0, 2, 1], "the groups the run was trained with"


def test_one_day_is_evaluated_alone(run):
    found = json.loads(evaluate("--day", "61", "--json"))
    of_day = run.evaluation.days[61]
    assert found["days"] == [61] and found["pairs"] == of_day.pairs.sum() < run.evaluation.pairs
    assert found["territories"][0]["pr_auc"] == of_day.pr_auc[1]


def test_titles_instead_of_territories(run):
    text = evaluate("--by", "title")
    assert text.split()[:2] == ["title", "kind"] and "macro" not in text
    found = json.loads(evaluate("--by", "title", "--json"))
    assert "territories" not in found and len(found["titles"]) == 6
    assert found["titles"][0]["positives"] == max(row["positives"] for row in found["titles"])


def test_titles_are_printed_as_they_are(titles_like_markup, run):
    text = evaluate("--by", "title", "--all")
    printed = [line[:20].removesuffix("global").removesuffix("local").strip() for line in text.splitlines()[2:]]
    shown = ["Face [/Off]", "[unknown]", "[bold red]Alert", r"\x1b[2Jgone", r"\u202etfel", "plain"]
    assert sorted(line.split("  ")[0] for line in printed if line) == sorted(shown)
    assert not {"\x1b", "\u202e"} & set(text)


@pytest.mark.parametrize("by", ["territory", "title"])
def test_all_prints_every_row(run, monkeypatch, by):
    monkeypatch.setattr("twotower.cli.summaries.evaluation.TOP", 3)
    assert "those with the most" in evaluate("--by", by)
    assert "those with the most" not in evaluate("--by", by, "--all")


def test_few_positives_do_not_count_in_the_second_macro(run):
    least = int(np.sort(run.evaluation.territories.positives)[-2])
    assert least < ENOUGH_POSITIVES
    found = json.loads(evaluate("--min-positives", str(least), "--json"))
    assert found["macro_supported_territories"] == 2 and found["macro_territories"] == 3
    assert found["macro_supported"] == run.evaluation.macro(least)
    assert found["macro"] == run.evaluation.macro()
    assert f"{least}+" in evaluate("--min-positives", str(least))


def test_what_is_enough_is_written_once():
    options = {option.name: option.default for option in cli.get_command(None, "evaluate").params}
    assert options["min_positives"] == ENOUGH_POSITIVES


@pytest.mark.parametrize("by, key", [("territory", "territories"), ("title", "titles")])
def test_csv_holds_all_rows(run, tmp_path, by, key):
    record = json.loads(evaluate("--by", by, "--csv", "rows.csv", "--json"))
    rows = list(csv.DictReader((tmp_path / "rows.csv").open(encoding="utf-8")))
    assert [row["positives"] for row in rows] == [str(row["positives"]) for row in record[key]]


def test_progress_never_mixes_with_results(run):
    result = CliRunner().invoke(cli, ["evaluate", "run", "--json"])
    json.loads(result.stdout)
    assert "scoring" in result.stderr


def test_a_moved_dataset_is_found_where_it_is_now(run, tmp_path):
    shutil.move(tmp_path / "world", tmp_path / "moved")
    failed = CliRunner().invoke(cli, ["evaluate", "run"])
    assert failed.exit_code == 2 and "world: no such directory" in failed.stderr
    assert json.loads(evaluate("--dataset", "moved", "--json"))["overall"] == run.overall


def test_test_pairs_that_have_changed_are_refused(run, tmp_path):
    other = make_pairs(DAYS, seed=5)
    make_dataset(tmp_path / "other", other)
    result = CliRunner().invoke(cli, ["evaluate", "run", "--dataset", "other"])
    assert result.exit_code == 2
    assert "the test pairs of sample 'default' have changed since run" in result.stderr


@pytest.mark.parametrize("place", ["absent/x.csv", ".", "run/run.json/x.csv"])
def test_a_place_where_no_csv_can_be_is_told_before_the_work(run, tmp_path, monkeypatch, place):
    monkeypatch.setattr(open_run, "score_pairs", lambda *arguments: pytest.fail("too late"))
    before = sorted(path.name for path in tmp_path.iterdir())
    result = CliRunner().invoke(cli, ["evaluate", "run", "--csv", place])
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith(f"twotower: error: {place}: cannot write (")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["absent"], "absent: no such run"),
        (["run", "--day", "7"], "--day 7: expected one of the test days, 60, 61"),
        (["run", "--csv", "absent/x.csv"], "cannot write"),
        (["run", "--by", "title", "--min-positives", "3"], "--min-positives has no effect with --by title"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, arguments, message):
    result = CliRunner().invoke(cli, ["evaluate", *arguments])
    assert result.exit_code == 2
    assert message in result.stderr.splitlines()[-1]

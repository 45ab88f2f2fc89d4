"""``twotower leaks`` as it is typed."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from lab_records import from_json, frozen_record, shown_by
from tiny_runs import MTL, failing_line, train

from twotower.cli import cli
from twotower.lab.leaks import detector, tables
from twotower.lab.leaks.record import Change, LeakRecord, LeakRow
from twotower.report.table import text_of

EXAMPLE = str(Path(__file__).resolve().parents[2] / "examples" / "heads_with_their_own_batchnorm.py")
SMALL = ["--hidden", "8", "--groups", "2", "--batch-size", "64"]


@pytest.fixture(scope="module")
def run(tiny_world, tmp_path_factory) -> str:
    return str(train(tiny_world, tmp_path_factory.mktemp("runs") / "mtl", MTL).path)


def leaks(*arguments, width: int = 120, code: int = 0) -> str:
    """What a command prints when it ends with ``code``."""
    result = CliRunner().invoke(cli, ["leaks", *map(str, arguments)], env={"COLUMNS": str(width)})
    assert result.exit_code == code, result.output
    return result.stdout


def record(*arguments, code: int = 0) -> dict:
    return json.loads(leaks(*arguments, "--json", code=code))


def test_with_the_moments_of_each_group_a_head_is_sealed(tiny_world):
    said = leaks(tiny_world, *SMALL, "--batchnorm", "group").splitlines()
    lines = [line for line in said if line.rstrip().endswith(("isolated", "only"))]
    assert [line.split()[-1] for line in lines] == ["isolated", "isolated", "only"] * 2, "titles are everybody's"
    line = failing_line("leaks", tiny_world, "--baseline", "--batchnorm", "group")
    assert "--batchnorm group: expected all with one group" in line


def test_a_run_is_sealed_but_for_batch_norm(run):
    said = leaks(run)
    assert said.startswith("mtl, batch 1: 128 pairs")
    lines = [line for line in said.splitlines() if line.rstrip().endswith(("isolated", "only"))]
    assert [line.split()[-1] for line in lines] == ["isolated", "only", "only"] * 2
    assert said.splitlines()[-1].startswith("No leaks in 6 rows: 4 change it through batch-norm moments only")


def test_a_dataset_gets_a_fresh_network(tiny_world):
    found = record(tiny_world, *SMALL)
    assert found["kind"] == "leaks" and found["leaks"] == 0 and not found["subject"]["trained"]
    assert [(row["group"], row["input"]) for row in found["rows"]] == [
        (k, what) for k in range(2) for what in ("labels", "user features", "title features")
    ]


def test_a_row_has_the_numbers_of_its_disturbance(run):
    found = from_json(LeakRecord, record(run))
    found.rows = [row for row in found.rows if row.input == "user features"]
    table, change = tables.leak_table(found), found.rows[0].change
    names = [column.name.replace("\n", " ") for column in table.columns]
    texts = [text_of(cell, column) for cell, column in zip(table.rows[0].cells, table.columns, strict=True)]
    shown = dict(zip(names, texts, strict=True))
    assert shown["elements changed"] == f"{change.changed:,} of {change.elements:,}" and change.changed > 0
    assert shown["relative change"] == f"{100 * change.relative:.2g} %"


def test_the_output_is_as_approved(snapshot):
    snapshot(shown_by(tables.print_leaks, frozen_record(LeakRecord, "leaks"), 120))


def test_of_several_blocks_the_one_that_changed_most_for_its_size_is_named():
    changes = {"head.P[0]": Change(9, 9, 5.0, 0.1), "head.Q[0]": Change(9, 9, 0.5, 0.9)}
    row = LeakRow(0, "labels", 5, changes["head.Q[0]"], changes, changes["head.Q[0]"], None, "leak")
    assert tables.verdict(row) == "LEAK: labels reach head.Q[0]"


def test_a_leak_is_told_and_ends_with_1(run, monkeypatch):
    gradients = detector.Network.gradients

    def leaky(self, batch, k, frozen=()):
        parts = gradients(self, batch, k, frozen)
        return {name: value + (batch.labels.sum() if name == "head.Q[1]" else 0) for name, value in parts.items()}

    monkeypatch.setattr(detector.Network, "gradients", leaky)
    said = leaks(run, code=1)
    assert "LEAK: labels reach head.Q[1]" in " ".join(said.split())
    assert said.splitlines()[-1] == "1 of 6 rows are leaks."


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("model", [[], ["--model", f"{EXAMPLE}:gradients"]])
def test_no_terminal_is_too_narrow_for_the_verdict(run, width, model):
    said = leaks(run, *model, width=width, code=1 if model else 0)
    assert max(map(len, said.split("\n\nChange of")[0].splitlines())) <= width
    assert said.count("isolated") == (4 if model else 2) and said.count("LEAK: features") == (2 if model else 0)
    assert ("LEAK" in said) == bool(model)


def test_each_option_changes_the_record(run, tiny_world):
    plain, fresh = record(run), record(tiny_world, *SMALL)
    assert record(run, "--batch", 2)["subject"]["batch"] == 2 != plain["subject"]["batch"]
    assert record(run, "--batch-size", 40)["subject"]["pairs"] == 40 != plain["subject"]["pairs"]
    assert record(run, "--draws", 1)["rows"] != plain["rows"]
    assert record(tiny_world, *SMALL, "--seed", 9)["rows"] != fresh["rows"]
    assert record(tiny_world, *SMALL, "--head", "mmoe")["shared"] == ["experts.P", "experts.Q"]


def test_batch_norm_by_group_seals_user_features(tiny_world):
    found = {name: record(tiny_world, *SMALL, "--batchnorm", name) for name in ("all", "group")}
    changed = {name: {row["input"]: row["change"]["changed"] for row in found[name]["rows"]} for name in found}
    assert changed["group"]["user features"] == 0 < changed["all"]["user features"]
    assert changed["group"]["title features"] > 0


def test_a_model_of_ones_own_is_checked_instead(run):
    found = record(run, "--model", f"{EXAMPLE}:gradients", code=1)
    assert found["model"] == f"{EXAMPLE}:gradients" and found["leaks"] == 2
    assert record(run, "--model", f"{EXAMPLE}:gradients_fixed")["leaks"] == 0


def test_what_is_shared_and_what_was_left_out_is_said(tiny_world, tmp_path):
    assert "Shared by design: stitch.W." in leaks(tiny_world, *SMALL, "--head", "cross-stitch")
    picky = tmp_path / "picky.py"
    picky.write_text("def f(u, t, g, y, K, seed):\n    assert (y == y).all(), 'NaN'\n    return {'W': [0.0] * K}\n")
    said = leaks(tiny_world, "--groups", 2, "--batch-size", 64, "--model", f"{picky}:f")
    assert f"Not tested with NaN: {picky} line 2: AssertionError: NaN" in said


def test_a_group_that_is_absent_is_said_to_be(tiny_world):
    said = leaks(tiny_world, "--hidden", 8, "--groups", 6, "--batch-size", 4)
    assert "isolated; not in this batch" in said


def test_bad_input_is_one_line(run, tiny_world, tmp_path):
    assert "only one group" in failing_line("leaks", tiny_world, "--baseline")
    line = failing_line("leaks", tiny_world, "--head", "plain", "--model", "x.py:f")
    assert "--head has no effect with --model" in line
    assert failing_line("leaks", run, "--model", "x.py:f") == "x.py: no such file, expected FILE.py:NAME"
    assert "no function 'f'" in failing_line("leaks", run, "--model", f"{EXAMPLE}:f")
    assert "a run has its own settings" in failing_line("leaks", run, "--head", "plain")
    assert "no such directory" in failing_line("leaks", tmp_path / "nothing")

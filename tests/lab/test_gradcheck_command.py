"""``twotower gradcheck``: tables, JSON, exit codes and lessons."""

import json
import re
import shutil
from copy import deepcopy
from dataclasses import replace

import pytest
from click.testing import CliRunner
from lab_records import frozen_record, shown_by
from subjects import tiny_subject
from tiny_runs import MTL, failing_line, train

from twotower.cli import cli
from twotower.lab.gradcheck.checks import check
from twotower.lab.gradcheck.planted_bugs import PLANTED
from twotower.lab.gradcheck.record import GradcheckRecord
from twotower.lab.gradcheck.tables import notes, print_gradcheck, verdict
from twotower.model.engine import kernels

SMALL = "--hidden", "8", "--groups", "2", "--pairs", "48", "--batch-size", "128"


def gradcheck(*arguments):
    return CliRunner().invoke(cli, ["gradcheck", *map(str, arguments)])


@pytest.fixture(scope="module")
def run(tiny_world, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "trained"
    train(tiny_world, path, MTL)
    return path


def shown(record, width=120, everything=False):
    """What a record prints."""
    return shown_by(lambda record, console: print_gradcheck(record, console, everything), record, width)


def test_the_output_is_as_approved(snapshot):
    snapshot(shown(frozen_record(GradcheckRecord, "gradcheck")))


def test_a_right_network_passes_and_says_on_what(tiny_world):
    result = gradcheck(tiny_world, *SMALL)
    assert result.exit_code == 0, result.output
    assert "tiny, after one step: lowrank heads, D 8, K 2." in result.stdout
    assert "48 pairs (24, 24 by group)" in result.stdout
    assert re.search(r"All agree: 27 blocks, \d+ finite differences, 3 steps of Adam\.", result.stdout)
    for stage in ("choosing a batch", "finite differences", "steps of Adam"):
        assert stage in result.stderr


def test_a_run_is_looked_at_as_it_was_trained(run):
    result = gradcheck(run, "--pairs", 48)
    assert result.exit_code == 0, result.output
    assert f"{run.name}, as trained" in result.stdout


def test_options_that_do_nothing_for_a_run_are_refused(run):
    assert "--head" in failing_line("gradcheck", run, "--head", "plain")


@pytest.mark.parametrize("options", [("--baseline",), ("--preset", "paper", "--batch", "2")])
def test_other_networks_and_batches_pass_too(options, tiny_world):
    size = [option for option in SMALL if not ("--baseline" in options and option in ("--groups", "2"))]
    result = gradcheck(tiny_world, *size, *options)
    assert result.exit_code == 0, result.output
    assert "All agree" in result.stdout


def test_the_record_is_json_for_machines(tiny_world):
    record = json.loads(gradcheck(tiny_world, *SMALL, "--json").stdout)
    assert record["kind"] == "gradcheck" and record["agrees"] and record["bug"] is None
    assert record["subject"]["trained"] is False and record["batch"]["pairs"] == 48
    assert {block["name"] for block in record["blocks"]} >= {"user.W1", "head.P[0]", "head.P[1]", "title_bias.C[1]"}
    element = record["blocks"][0]["elements"][0]
    assert element.keys() >= {"index", "selected", "textbook", "engine", "numeric", "step"}


def test_more_pairs_are_more_pairs(tiny_world):
    for pairs in (16, 96):
        record = json.loads(gradcheck(tiny_world, *SMALL, "--pairs", pairs, "--json").stdout)
        assert record["batch"]["pairs"] == pairs


def test_all_blocks_have_rows_of_their_own_if_asked_for(tiny_world):
    folded, unfolded = (gradcheck(tiny_world, *SMALL, *options).stdout for options in ((), ("--all",)))
    rows = [[line.split(" ")[0] for line in text.splitlines()] for text in (folded, unfolded)]
    assert "head.P[0…1]" in rows[0] and "head.P[1]" not in rows[0]
    assert "head.P[0]" in rows[1] and "head.P[1]" in rows[1]


def test_a_real_bug_is_told_with_exit_code_1_and_where_to_look(tiny_world, monkeypatch):
    original = kernels.head_output

    def off(U, A, b, residual, floor):
        original(U, A, b, residual, floor)
        U *= 1.01

    monkeypatch.setattr(kernels, "head_output", off)
    result = gradcheck(tiny_world, *SMALL)
    assert result.exit_code == 1
    assert "Wrong: " in result.stdout and "the loss" in result.stdout and "All agree" not in result.stdout
    assert "compute different losses" in result.stdout


@pytest.mark.parametrize("name", ["duplicates", "adam-bias"])
def test_a_lesson_shows_the_line_the_blocks_and_why(name, tiny_world):
    result = gradcheck(tiny_world, *SMALL, "--break", name)
    assert result.exit_code == 0, result.output
    bug, text = PLANTED[name], " ".join(result.stdout.split())  # a paragraph is broken into lines, a diff is not
    assert f"Planted: {bug.sentence}" in text and f"twotower/{bug.file}, line " in text
    for right, wrong in ((bug.right, bug.wrong), bug.maths):
        assert right in result.stdout and wrong in result.stdout
    assert "Caught." in text and f"Why these: {' '.join(bug.why.split())}" in text


def test_a_bug_that_is_not_caught_is_exit_code_1(tiny_world, monkeypatch):
    """A lesson that shows nothing must not look like one that does."""
    bug = PLANTED["relu-gate"]
    monkeypatch.setitem(PLANTED, "relu-gate", replace(bug, wrong="if bound < A[i, j] else"))
    result = gradcheck(tiny_world, *SMALL, "--break", "relu-gate")
    assert result.exit_code == 1 and "NOT CAUGHT" in result.stdout


def test_the_bugs_are_listed_without_a_look_at_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = gradcheck("--break")
    assert result.exit_code == 0 and not list(tmp_path.iterdir())
    for bug in PLANTED.values():
        assert bug.name in result.stdout and bug.sentence in result.stdout


def test_what_cannot_be_is_one_line_and_exit_code_2(tiny_world, tmp_path):
    assert "--break speed: expected one of batchnorm-mean" in failing_line("gradcheck", tiny_world, "--break", "speed")
    single = "gradcheck", tiny_world, "--baseline", "--hidden", "8", "--break", "unmasked"
    assert "single group" in failing_line(*single)
    few = failing_line("gradcheck", tiny_world, "--hidden", "8", "--groups", "2", "--pairs", "3")
    assert "--pairs 3: expected at least 16" in few


# ---------------------------------------------------------------- the tables, from records alone


@pytest.fixture(scope="module")
def caught(tiny_world):
    return check(tiny_subject(tiny_world, head="residual"), 48, PLANTED["batchnorm-mean"])


def test_wrong_and_right_blocks_are_named(caught):
    text = shown(caught)
    assert "Wrong: the gradients of user.W1, user.gamma1, user.beta1, user.W2, title.W1" in text
    assert "Right: user.gamma2, user.beta2, title.gamma2" in text


def test_the_tables_fit_a_narrow_terminal(caught):
    lines = shown(caught, width=80).splitlines()
    assert not any("direction" in line for line in lines)
    diff = ("  − ", "  + ")
    assert max(len(line.rstrip()) for line in lines if not line.startswith(diff)) <= 80


def test_a_few_wrong_heads_among_many_are_named_and_the_rest_stand_together(caught):
    record = deepcopy(caught)
    template, heads = next(block for block in record.blocks if block.parameter == "head.W"), []
    for k in range(9):
        heads.append(replace(deepcopy(template), name=f"head.W[{k}]", owner=k))
        heads[k].elements[0].engine_error, heads[k].agrees = (5.0, False) if k == 6 else (0.1, True)
    record.blocks = heads
    text = shown(record)
    assert "head.W[6]" in text and "head.W, 8 more" in text and "head.W[5]" not in text


def test_kinks_and_near_kinks_are_told(caught):
    record = deepcopy(caught)
    assert notes(record) == []
    element, batch = record.blocks[0].elements[0], record.batch
    element.kinks, element.step, element.textbook_error = 2, 1e-8, None
    batch.nearest_kink, batch.tries, batch.by_group[1], batch.users_by_group[0] = 3e-7, 8, 0, 2
    record.subject.model = replace(record.subject.model, batchnorm="group")
    kinks, near, few, absent = notes(record)
    assert few.startswith("1 of 2 groups have fewer than 3 users in the batch")
    assert "cross a kink of a ReLU at every step down to 10⁻⁸:" in kinks
    assert "All 8 batches tried" in near and "3\u00a0×\u00a010⁻⁷" in near
    assert absent.startswith("No training pairs of ")
    assert "a kink" in shown(record)


def test_numbers_that_are_none_are_shown_as_wrong(caught):
    record = deepcopy(caught)
    element, step = record.blocks[0].elements[0], record.steps[0]
    element.engine, element.engine_error = float("nan"), float("inf")
    step.engine, step.error = float("nan"), float("inf")
    assert shown(record).count("NaN") == 4


def test_without_a_bug_the_reader_is_told_where_to_look(caught):
    record = replace(deepcopy(caught), bug=None)
    lines = " ".join(line for line, _ in verdict(record))
    assert "just below the lowest of the right blocks" in lines and "Why these" not in lines
    record.blocks[0].direction.textbook_error = 7.0
    lines = " ".join(line for line, _ in verdict(record))
    assert "model/reference.py has a wrong backward pass" in lines


def test_a_moved_dataset_can_be_named(run, tiny_world, tmp_path):
    moved = shutil.copytree(tiny_world, tmp_path / "elsewhere")
    assert gradcheck(run, "--pairs", 16, "--dataset", moved).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [(["--head", "mmoe", "--break"], "--head has"), (["--json", "--pairs", "9", "--break"], "--json, --pairs have")],
)
def test_options_without_effect_on_a_list_of_bugs_are_refused(arguments, flag):
    assert f"{flag} no effect with --break alone" in failing_line("gradcheck", *arguments)


def test_all_is_of_the_table(tiny_world):
    assert "--all" in failing_line("gradcheck", tiny_world, "--json", "--all")

"""``twotower inspect``: what the record holds, in tables, as JSON and as a page."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from lab_records import from_json, frozen_record, shown_by
from textbook_inspection import MODELS, Textbook, inspect, stirred
from tiny_runs import MTL, failing_line, train

from twotower.cli import cli
from twotower.core.formatting import minus
from twotower.lab.attribution import summary as words_of
from twotower.lab.attribution import tables
from twotower.lab.attribution.record import Inspection, times_text
from twotower.lab.attribution.summary import no_gradient
from twotower.lab.attribution.tables import FEW, print_inspection
from twotower.report.table import text_of
from twotower.training.checkpoint import load_model
from twotower.training.run import RunReader

SMALL = ("--hidden", "8", "--batch-size", "128", "--groups", "2")


def run(*arguments, **environment):
    result = CliRunner().invoke(cli, ["inspect", *map(str, arguments)], env=environment)
    assert result.exit_code == 0, result.stderr
    return result


def shown(record: dict, width=80) -> str:
    return shown_by(print_inspection, from_json(Inspection, record), width)


def summary(record: dict) -> list[str]:
    return words_of.summary(from_json(Inspection, record))


def cells(make, record: dict) -> list[list[str]]:
    """The rows of a table as text."""
    table = make(from_json(Inspection, record))
    return [
        ["undefined" if (text := text_of(cell, column)) is None else text
         for cell, column in zip(row.cells, table.columns, strict=True)]
        for row in table.rows
    ]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tiny_world, tmp_path_factory) -> RunReader:
    return train(tiny_world, tmp_path_factory.mktemp("runs") / "mtl", MTL)


@pytest.fixture(scope="module")
def record(tiny_world):
    return inspect(stirred(tiny_world, "low-rank"))


def test_a_dataset_is_looked_into_with_a_fresh_network(tiny_world):
    output = run(tiny_world, *SMALL).stdout
    assert "before its first step: lowrank heads, D 8, K 2. Batch 1: 128 pairs" in output


def test_json_is_the_whole_record(tiny_world):
    record = json.loads(run(tiny_world, *SMALL, "--json").stdout)
    assert record["kind"] == "inspection" and record["format"] == 1
    parts = {"subject", "groups", "blocks", "conflict", "leak", "dead", "optimiser", "summary"}
    assert parts <= record.keys()


def test_a_run_is_looked_into_with_its_weights_and_its_optimiser(finished):
    record = json.loads(run(finished.path, "--json", "--batch", "2").stdout)
    assert record["subject"]["trained"] and record["subject"]["batch"] == 2
    weights = load_model(finished.weights_path).params
    norms = {block["name"]: block["weight"] for block in record["blocks"]}
    assert norms["user.W1"] == pytest.approx(np.linalg.norm(weights["user.W1"]), rel=1e-6)
    steps = sum("loss" in json.loads(line) for line in (finished.path / "metrics.jsonl").open())
    assert record["optimiser"]["steps"] == steps and not record["optimiser"]["fresh"]
    assert f"moments after {steps} steps" in " ".join(record["summary"])


def test_a_run_without_training_state_gets_a_fresh_adam_and_is_told_so(tiny_world, tmp_path):
    path = train(tiny_world, tmp_path / "mtl", MTL, epochs=1).path
    (path / "training.safetensors").unlink()
    record = json.loads(run(path, "--json").stdout)
    assert record["optimiser"]["fresh"] and "It is Adam’s first step" in " ".join(record["summary"])


def test_inspecting_a_run_changes_no_file(finished):
    before = {path: path.read_bytes() for path in finished.path.rglob("*") if path.is_file()}
    run(finished.path)
    assert {path: path.read_bytes() for path in finished.path.rglob("*") if path.is_file()} == before


def test_the_batch_that_is_asked_for(tiny_world):
    first, second = (json.loads(run(tiny_world, *SMALL, "--json", "--batch", n).stdout) for n in (1, 2))
    assert first["blocks"] != second["blocks"]
    assert "an epoch has the batches 1 to" in failing_line("inspect", tiny_world, *SMALL, "--batch", 999)


def test_a_page_is_written_beside_the_tables(tiny_world, tmp_path):
    result = run(tiny_world, *SMALL, "--html", tmp_path / "batch.html")
    page = (tmp_path / "batch.html").read_text("utf-8")
    assert "user.W1" in page and str(tmp_path / "batch.html") in result.stderr and "user.W1" in result.stdout


def test_a_page_that_cannot_be_written_is_refused_before_the_pass(tmp_path, monkeypatch):
    from twotower.lab.attribution import inspection

    monkeypatch.setattr(inspection, "inspect", None)
    for place in (tmp_path, tmp_path / "nowhere" / "batch.html"):
        line = failing_line("inspect", tmp_path / "no-dataset", "--html", place)
        assert line.startswith(f"{place}: cannot write (")
    assert not list(tmp_path.iterdir())


def test_exact_zeros_are_told_from_small_numbers(record):
    lines = {line.split()[0]: line.split()[1:] for line in shown(record).splitlines() if line.startswith("head.")}
    block = next(block for block in record["blocks"] if block["name"] == "head.Q[1]")
    assert lines["head.Q[1]"] == [f"{block['gradient']:.3g}", "0", f"{block['by_group'][1]:.3g}"]
    tiny = {**block, "by_group": [1e-12, block["by_group"][1]]}
    changed = {**record, "blocks": [tiny if b is block else b for b in record["blocks"]]}
    assert "1e−12" in shown(changed)


@pytest.mark.parametrize("name", MODELS)
def test_every_number_of_the_matrix_is_in_the_table(tiny_world, name):
    record = inspect(stirred(tiny_world, name))
    text = shown(record)
    for block in record["blocks"]:
        line = next(line for line in text.splitlines() if line.startswith(f"{block['name']} "))
        assert line.split()[2:] == [minus(f"{value:.3g}") for value in block["by_group"]]


def test_the_output_is_as_approved(snapshot):
    record = frozen_record(Inspection, "inspection")
    record.summary = words_of.summary(record)
    snapshot(shown_by(print_inspection, record, 100))


def test_a_group_has_its_support_and_its_share(record):
    for group, row in zip(record["groups"], cells(tables.group_table, record), strict=True):
        counts = [str(group[name]) for name in ("pairs", "users", "positives")]
        share = f"{100 * group['share']:.0f} %"
        assert row == [group["name"], *counts, f"{group['base_rate']:.3f}", f"{group['loss']:.3g}", share]


def test_the_next_step_stands_beside_the_weights_that_it_moves(record):
    rows = {row[0]: row[1:] for row in cells(tables.update_table, record)}
    for block in record["blocks"]:
        if block["owner"] is None:
            assert rows[block["name"]] == [f"{block[name]:.3g}" for name in ("weight", "update", "ratio")]
    own = [block for block in record["blocks"] if block["parameter"] == "head.P"]
    assert rows["head.P[k]"][1] == " – ".join(dict.fromkeys(f"{f([b['update'] for b in own]):.3g}" for f in (min, max)))


def test_cosines_are_those_of_their_two_groups(tiny_world):
    record = inspect(stirred(tiny_world, "low-rank", groups=6))
    rows = zip(cells(tables.conflict_table, record), record["conflict"], strict=True)
    for j, (row, cosines) in enumerate((row, of["cosine"]) for row, of in rows):
        texts = ["–" if cosine is None else minus(f"{cosine:+.2f}") for cosine in cosines]
        assert row[2:] == ["1" if j == k and cosines[k] is not None else text for k, text in enumerate(texts)]
    for cosine, tone in ((-0.25, "bad"), (-0.05, "")):
        record["conflict"][0]["cosine"][1] = cosine
        assert tables.conflict_table(from_json(Inspection, record)).rows[0].cells[3].tone == tone


@pytest.mark.parametrize(("groups", "width"), [(1, 80), (4, 80), (12, 80), (12, 120)])
def test_tables_fit_the_terminal(tiny_world, width, groups):
    settings = {"groups": groups} if groups > 1 else {"groups": 1, "head": "none", "title_bias": False}
    text = shown(inspect(stirred(tiny_world, "low-rank", **settings)), width)
    assert max(map(len, text.splitlines())) <= width
    assert not [line for line in text.splitlines() if line.strip() in ("1", "2", "C[k]")], "a name was broken"


def test_of_many_groups_the_own_blocks_are_folded_unless_they_leak(tiny_world):
    record = inspect(stirred(tiny_world, "low-rank", groups=FEW + 2))
    text = shown(record)
    assert "head.P[k]" in text and "head.P[0]" not in text and "title_bias.C[k]" in text
    block = next(block for block in record["blocks"] if block["name"] == "head.P[1]")
    block["by_group"][0] = 0.5
    text = shown({**record, "summary": summary(record)})
    assert "\nhead.P[1] " in text and "\nhead.P[0] " not in text and "\nhead.P[k] " in text


def test_the_words_count_the_groups_that_have_rows(record):
    def words(*pairs: int) -> str:
        groups = [{**record["groups"][0], "pairs": n} for n in pairs]
        blocks = [{**b, "by_group": [1.0] * len(pairs)} for b in record["blocks"] if b["owner"] is None]
        return words_of.mask(from_json(Inspection, {**record, "groups": groups, "blocks": blocks}))[0]

    assert "from the rows of all 3 groups" in words(5, 5, 5)
    assert "from the rows of the 2 groups in the batch" in words(5, 0, 5)
    assert "from the rows of the one group in the batch" in words(0, 0, 5)


@pytest.mark.parametrize(("ratio", "told"), [(1, "1.0"), (0.042, "0.042"), (3.74, "3.7"), (9.96, "10"), (43.2, "43")])
def test_a_ratio_has_two_digits(record, ratio, told):
    assert times_text(ratio) == told
    leak = [{**record["leak"][0], "own": 1.0, "others": ratio, "ratio": ratio}]
    assert f" {told} ×" in shown({**record, "leak": leak})


def test_the_words_sound_the_alarm_when_something_leaks(record):
    blocks = [dict(block) for block in record["blocks"]]
    leaking = next(block for block in blocks if block["name"] == "head.Q[1]")
    leaking["by_group"] = [3e-9, leaking["by_group"][1]]
    words = " ".join(summary({**record, "blocks": blocks}))
    assert "LEAK: 1 of 6 cells" in words and "head.Q[1] gets 3.00\u00a0×\u00a010⁻⁹ from rows of group 0" in words
    assert "exactly 0" not in words
    leaking["by_group"][0] = None
    assert "head.Q[1] gets NaN" in " ".join(summary({**record, "blocks": blocks}))


def test_the_words_on_conflict_follow_the_cosines(record):
    def said(cosines: list[list[float]]) -> str:
        rows = [{"name": "", "norm": 1.0, "cosine": row} for row in cosines]
        return " ".join(summary({**record, "conflict": rows}))

    def words(cosine: float) -> str:
        return said([[1.0, cosine], [cosine, 1.0]])

    assert "conflict in 1 of 1 pairs of groups: cosine −0.40 (groups 0 and 1)" in words(-0.4)
    assert "nearly orthogonal: cosine +0.01" in words(0.01)
    three = [[1.0, -0.4, 0.0], [-0.4, 1.0, 0.0], [0.0, 0.0, 1.0]]
    assert "conflict in 1 of 3 pairs of groups: cosines from −0.40" in said(three)
    assert "No two groups’ gradients of the towers conflict: cosine +0.60" in words(0.6)


def test_the_words_on_dead_units_are_of_each_heads_own_group(record):
    layers = [
        {"layer": "user.1", "units": 8, "dead": 0, "by_group": [3, 0]},
        {"layer": "title.2", "units": 8, "dead": None, "by_group": None},
        {"layer": "head", "units": 8, "dead": 0, "by_group": [0, 5]},
    ]
    assert "0 for every row: 5 of 8 in head 1." in " ".join(summary({**record, "dead": layers}))
    assert "No dead ReLU units (user.1)." in " ".join(summary({**record, "dead": layers[:2]}))


def test_a_large_ratio_is_a_whole_number(record):
    leak = {"own": 0.002, "others": 2.5, "ratio": 1250.0, "by_group": [0.002, 2.5]}
    record = {**record, "leak": [{**record["leak"][0], **leak}]}
    assert "send a head 1,250 times the gradient" in " ".join(summary(record)) and "1,250 ×" in shown(record)


def test_a_head_that_nothing_comes_back_to_is_explained(tiny_world):
    words = json.loads(run(tiny_world, *SMALL, "--json").stdout)["summary"]
    assert any(sentence.startswith("head.P gets no gradient") for sentence in words)


def test_a_baseline_has_no_groups_to_compare(tiny_world):
    output = run(tiny_world, "--baseline", "--hidden", "8", "--batch-size", "128").stdout
    assert "without heads" in output and "Cosines" not in output and "mask" not in output


def test_what_has_no_rows_is_a_dash_that_is_explained_under_each_table(tiny_world):
    output = run(tiny_world, "--groups", "6", "--hidden", "8", "--batch-size", "8").stdout
    assert "undefined" not in output
    record = json.loads(run(tiny_world, "--groups", "6", "--hidden", "8", "--batch-size", "8", "--json").stdout)
    absent = [k for k, group in enumerate(record["groups"]) if not group["pairs"]]
    assert absent
    cosines = output.split("Cosines between")[1].split("Without the mask")[0].splitlines()
    row = next(line for line in cosines if line.startswith(f"{absent[0]} · "))
    assert row.split()[-6:] == ["–"] * 6
    assert output.count("–: no rows of this group in the batch") == 3
    assert "no rows of this group" not in run(tiny_world, *SMALL).stdout


def test_a_diverged_network_is_told_as_undefined(tiny_world):
    subject = stirred(tiny_world, "low-rank")
    subject.model.params["user.W1"][...] = np.nan
    record = inspect(subject)
    json.dumps(record, allow_nan=False)
    assert "undefined" in shown(record)


def test_the_facts_of_the_subject_are_in_the_record(tiny_world, record):
    textbook = Textbook(stirred(tiny_world, "low-rank"))
    subject = record["subject"]
    assert subject["pairs"] == len(textbook.batch.labels) == 128 and subject["widths"] == [16, 43]
    assert subject["model"]["head"] == "lowrank" and record["twotower"]


def test_a_reason_is_given_only_where_it_is_the_reason(record):
    def words(*still: str, zero: str = "") -> list[str]:
        blocks = [SimpleNamespace(parameter=name, gradient=0.0, weight=1.0) for name in still]
        return no_gradient([*blocks, SimpleNamespace(parameter=zero, gradient=1.0, weight=0.0)])

    tail = "no gradient, not even from own rows"
    assert words("head.P", zero="head.Q") == [
        f"head.P gets {tail}: it passes through head.Q, which is 0."
    ]
    assert words("experts.P", "head.G", zero="experts.Q") == [
        f"experts.P and head.G get {tail}: it passes through experts.Q, which is 0."
    ]
    assert words("user.W1", "user.W2", "head.P") == [f"user.W1, user.W2 and head.P get {tail}."]
    assert words("user.W1", "head.P", zero="head.Q")[1] == f"user.W1 gets {tail}."
    assert words() == []


def test_one_user_is_spoken_of_as_one(tiny_world):
    assert "2 pairs of 1 user and 2 titles" in run(tiny_world, *SMALL[:2], "--groups", "2", "--batch-size", "2").stdout

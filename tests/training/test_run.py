"""Runs on disk: what is written is read back, and nothing unfinished or damaged passes for a run."""

import errno
import json
import math
import shutil

import numpy as np
import pytest
from made_up_runs import make_evaluation, make_pairs, make_run, make_scores
from sealing import reseal

import twotower
from benchmarks.faults.children import killed_before
from twotower.core.errors import InputError
from twotower.core.storage import read_record
from twotower.training.run import REQUIRED, RunReader, RunWriter, next_run_path

MEANT = dict(label="mtl-4", dataset="world", sample="default", seed=3, config={}, plan={"groups": [0]})


def same_columns(a, b):
    """Whether two tables hold the same values bit for bit, undefined ones included."""
    for name, column in a.columns().items():
        np.testing.assert_array_equal(b.columns()[name], column, err_msg=name)
    return True


def test_results_come_back_as_they_were_saved(tmp_path):
    pairs = make_pairs(days=(60, 61))
    scores = make_scores(pairs)
    saved = make_evaluation(pairs, scores)
    found = RunReader(make_run(tmp_path / "run", days=(60, 61))).evaluation
    assert same_columns(saved.territories, found.territories)
    assert same_columns(saved.titles, found.titles)
    assert list(found.days) == [60, 61]
    assert all(same_columns(saved.days[day], found.days[day]) for day in (60, 61))
    assert (found.overall, found.macro()) == (saved.overall, saved.macro())
    assert np.isnan(found.territories.pr_auc[3]), "Japan has no positive"


def test_scores_come_back_in_their_order(tmp_path):
    run = RunReader(make_run(tmp_path / "run"))
    assert run.scores.dtype == np.float32
    np.testing.assert_array_equal(run.scores, make_scores(make_pairs()))


def test_a_run_says_what_it_is(tmp_path):
    run = RunReader(make_run(tmp_path / "run", label="baseline", seed=7, sample="up", digest="f" * 64))
    assert (run.label, run.seed, run.sample, run.test_digest) == ("baseline", 7, "up", "f" * 64)
    assert run.dataset.is_absolute() and run.dataset.name == "world"
    assert run.version == twotower.__version__ and run.created.endswith("+00:00")
    assert run.config == {"model": {"head": "lowrank"}, "train": {"seed": 7}}
    assert {"python", "numpy", "numba", "cpu", "cores"} <= run.environment.keys()
    assert run.weights_path.read_bytes() == b"weights"
    assert run.training_path == run.path / "training.safetensors"


def test_the_overall_figures_are_plain_json(tmp_path):
    facts = json.loads((make_run(tmp_path / "run") / "run.json").read_text())
    saved = make_evaluation(make_pairs(), make_scores(make_pairs()))
    assert facts["overall"] == saved.overall and facts["macro"] == saved.macro()
    assert facts["macro_territories"] == 3
    assert (facts["pairs"], facts["positives"]) == (saved.pairs, saved.positives)
    assert facts["base_rate"] == pytest.approx(saved.base_rate)


def test_a_run_without_a_positive_is_undefined_and_readable(tmp_path):
    pairs = make_pairs()
    pairs.label[:] = 0
    run = RunReader(make_run(tmp_path / "run", pairs=pairs))
    assert math.isnan(run.overall) and math.isnan(run.evaluation.macro())
    assert json.loads((run.path / "run.json").read_text())["overall"] is None


def test_the_log_can_be_followed_while_it_is_written(tmp_path):
    with pytest.raises(ZeroDivisionError), RunWriter(tmp_path / "run", **MEANT) as run:
        run.log({"epoch": 1, "loss": np.float32(0.5), "steps": np.int64(12)})
        line = (tmp_path / "run" / "metrics.jsonl").read_text()
        assert json.loads(line) == {"epoch": 1, "loss": 0.5, "steps": 12}
        raise ZeroDivisionError


def test_the_log_has_null_for_what_json_lacks(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(ZeroDivisionError), RunWriter(path, **MEANT) as run:
        run.log({"macro": math.nan, "loss": {"groups": np.array([0.5, np.inf])}, "best": np.True_, "n": None})
        text = (path / "metrics.jsonl").read_text()
        assert json.loads(text) == {"macro": None, "loss": {"groups": [0.5, None]}, "best": True, "n": None}
        assert "NaN" not in text
        raise ZeroDivisionError


def test_lines_of_the_log_are_read_back(tmp_path):
    assert RunReader(make_run(tmp_path / "run")).log == [{"epoch": 1, "loss": 0.5}]


def test_a_damaged_log_is_refused_by_name(tmp_path):
    path = make_run(tmp_path / "run")
    log = path / "metrics.jsonl"
    log.write_text("x" * log.stat().st_size)
    reseal(path, "run.json")
    with pytest.raises(InputError, match=r"metrics\.jsonl: not JSON lines"):
        _ = RunReader(path).log


def test_the_configuration_may_be_text_or_a_dictionary(tmp_path):
    path = make_run(tmp_path / "run", config="[model]\nhidden = 8\n")
    assert RunReader(path).config == {"model": {"hidden": 8}}


def test_facts_about_the_machine_can_be_added(tmp_path):
    with pytest.raises(ZeroDivisionError), RunWriter(tmp_path / "run", **MEANT) as run:
        run.save_environment(threads=2)
        facts = json.loads((tmp_path / "run" / "environment.json").read_text())
        assert facts["threads"] == 2 and facts["twotower"] == twotower.__version__
        raise ZeroDivisionError


def test_a_run_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), RunWriter(tmp_path / "runs" / "001-a", **MEANT) as run:
        run.log({"epoch": 1})
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "runs" / "001-b").mkdir(parents=True)
    with pytest.raises(ZeroDivisionError), RunWriter(tmp_path / "runs" / "002-a", **MEANT):
        raise ZeroDivisionError
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["001-b"]


def test_a_full_disk_is_told_with_the_place(tmp_path):
    with pytest.raises(OSError) as caught, RunWriter(tmp_path / "run", **MEANT):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "run")


@pytest.mark.parametrize("kept", ["weights.safetensors", "training.safetensors"])
def test_what_can_be_resumed_from_is_kept_but_is_no_run(tmp_path, kept):
    with pytest.raises(KeyboardInterrupt), RunWriter(tmp_path / "run", **MEANT) as run:
        (run.path / kept).write_bytes(b"precious")
        raise KeyboardInterrupt
    assert (tmp_path / "run" / kept).read_bytes() == b"precious"
    with pytest.raises(InputError, match=r"training did not finish; .* --resume \(no run.json\)"):
        RunReader(tmp_path / "run")


def test_a_resumed_run_goes_on_with_its_log(tmp_path):
    with pytest.raises(KeyboardInterrupt), RunWriter(tmp_path / "run", **MEANT) as run:
        run.training_path.write_bytes(b"state")
        run.log({"epoch": 1})
        raise KeyboardInterrupt
    pairs = make_pairs()
    scores = make_scores(pairs)
    with RunWriter(tmp_path / "run", **MEANT, resume=True) as run:
        run.log({"epoch": 2})
        run.weights_path.write_bytes(b"weights")
        run.save_results(make_evaluation(pairs, scores), scores, "d")
    assert RunReader(tmp_path / "run").log == [{"epoch": 1}, {"epoch": 2}]


def test_only_an_unfinished_run_can_be_resumed(tmp_path):
    with (
        pytest.raises(InputError, match="no run to resume"),
        RunWriter(tmp_path / "absent", **MEANT, resume=True),
    ):
        pass
    make_run(tmp_path / "run")
    with (
        pytest.raises(InputError, match="has finished"),
        RunWriter(tmp_path / "run", **MEANT, resume=True),
    ):
        pass
    assert RunReader(tmp_path / "run").seed == 0


def test_an_existing_directory_is_never_written_into(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"), RunWriter(tmp_path / "run", **MEANT):
        pass
    assert (tmp_path / "run" / "mine.txt").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="file/run: cannot write there"),
        RunWriter(tmp_path / "file/run", **MEANT),
    ):
        pass


def test_a_run_closed_before_its_results_were_saved_is_a_mistake(tmp_path):
    with pytest.raises(RuntimeError, match=r"weights\.safetensors, territories\.csv"):  # noqa: SIM117
        with RunWriter(tmp_path / "run", **MEANT):
            pass


def test_scores_of_other_pairs_are_refused(tmp_path):
    pairs = make_pairs()
    scores = make_scores(pairs)
    with pytest.raises(ValueError, match="599 scores"), RunWriter(tmp_path / "run", **MEANT) as run:
        run.save_results(make_evaluation(pairs, scores), scores[1:], "d")


@pytest.mark.parametrize("name", REQUIRED)
def test_a_run_that_lost_a_file_is_refused_by_name(tmp_path, name):
    path = make_run(tmp_path / "run")
    (path / name).unlink()
    with pytest.raises(InputError, match=f"{name}: missing"):
        RunReader(path)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_run_that_lost_a_part_of_a_file_is_refused_by_name(tmp_path, name):
    path = make_run(tmp_path / "run")
    (path / name).write_bytes((path / name).read_bytes()[:-1])
    with pytest.raises(InputError, match=rf"{name}: \d+ bytes, run.json says \d+"):
        RunReader(path)


def test_a_run_json_with_a_number_for_a_path_is_refused(tmp_path):
    path = make_run(tmp_path / "run")
    reseal(path, "run.json", dataset=5)
    with pytest.raises(InputError, match=r"run\.json: damaged"):
        RunReader(path)


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "run.json: not readable as JSON"),
        ("[]", "damaged or edited"),
        ('{"format": 1, "label": "x"}', "damaged or edited"),
    ],
)
def test_a_damaged_run_json_is_refused(tmp_path, text, message):
    path = make_run(tmp_path / "run")
    (path / "run.json").write_text(text)
    with pytest.raises(InputError, match=message):
        RunReader(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"format": 99}, "of another version, expected format 1"), ({"seed": None}, "run.json: damaged, no 'seed' in it"),
     ({"overall": []}, "damaged")],
)  # fmt: skip
def test_a_run_json_of_something_else_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        RunReader(reseal(make_run(tmp_path / "run"), "run.json", **changes))


@pytest.mark.parametrize("name", REQUIRED)
def test_a_single_flipped_bit_is_found_when_a_file_is_used(tmp_path, name):
    path = make_run(tmp_path / "run")
    content = bytearray((path / name).read_bytes())
    content[-2] ^= 1
    (path / name).write_bytes(content)
    run = RunReader(path)
    uses = lambda: (run.config, run.weights_path, run.log, run.evaluation, run.scores, run.environment)  # noqa: E731
    with pytest.raises(InputError, match=f"{name}: contents differ from the checksum in run.json"):
        uses()


def test_one_process_at_a_time_writes_a_run(tmp_path):
    with pytest.raises(KeyboardInterrupt), RunWriter(tmp_path / "run", **MEANT) as run:
        with (
            pytest.raises(InputError, match=r"run: in use by process \d+ on .* since"),
            RunWriter(tmp_path / "run", **MEANT, resume=True),
        ):
            pass
        run.training_path.write_bytes(b"state")
        raise KeyboardInterrupt
    assert sorted(path.name for path in run.path.iterdir() if path.name[0] == ".") == []


def test_interrupted_before_its_first_checkpoint_a_resumed_run_stays(tmp_path):
    with pytest.raises(KeyboardInterrupt), RunWriter(tmp_path / "run", **MEANT) as run:
        run.training_path.write_bytes(b"state")
        raise KeyboardInterrupt
    run.training_path.unlink()
    with pytest.raises(KeyboardInterrupt), RunWriter(tmp_path / "run", **MEANT, resume=True):
        raise KeyboardInterrupt
    assert (tmp_path / "run" / "plan.json").is_file()


def test_killed_before_any_operation_a_run_can_be_resumed_or_is_not_there(tmp_path):
    def begin():
        with RunWriter(tmp_path / "run", **MEANT) as run:
            run.weights_path.write_bytes(b"weights")
            run.save_results(make_evaluation(pairs, scores), scores, "d")

    pairs = make_pairs()
    scores = make_scores(pairs)
    operation, states = 0, set()
    while killed_before(operation := operation + 1, begin):
        path = tmp_path / "run"
        states.add(path.exists() + (path / "run.json").exists())
        assert not path.exists() or read_record(path / "plan.json")["groups"] == [0]
        shutil.rmtree(path, ignore_errors=True)
    assert states == {0, 1, 2} and sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="absent: no such run"):
        RunReader(tmp_path / "absent")
    with pytest.raises(InputError, match=r"not a run \(no run.json\)"):
        RunReader(tmp_path)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("positives", "positivez", "no column 'positives'"),
        ("\nPL,Poland,1,", "\nPL,Poland,x,", "column 'group'"),
    ],
)
def test_a_table_that_was_edited_badly_is_refused_by_column(tmp_path, old, new, message):
    path = make_run(tmp_path / "run")
    table = path / "territories.csv"
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new, 1))
    reseal(path, "run.json")
    with pytest.raises(InputError, match=f"territories.csv.*{message}"):
        _ = RunReader(path).evaluation


def test_runs_are_numbered_after_the_highest(tmp_path):
    root = tmp_path / "runs"
    assert next_run_path(root, "mtl-4") == root / "001-mtl-4"
    for name in ("001-baseline", "007-mtl-4", "notes", "x-9"):
        (root / name).mkdir(parents=True)
    assert next_run_path(root, "baseline") == root / "008-baseline"
    (root / "1000-mtl").mkdir()
    assert next_run_path(root, "mtl").name == "1001-mtl"


@pytest.mark.parametrize("label", ["", "../up", "a b", ".hidden", "a/b"])
def test_a_label_must_make_a_file_name(tmp_path, label):
    with pytest.raises(InputError, match="label"):
        next_run_path(tmp_path, label)

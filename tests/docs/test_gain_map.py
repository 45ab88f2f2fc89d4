"""benchmarks/gain_map.py keeps what an experiment found, and its page says what the JSON says."""

import json

import pytest

from benchmarks import gain_map, gain_map_page
from benchmarks.gain_map import COMPARED, RESULTS, USERS, cell_of
from benchmarks.gain_map_page import MAIN_COMPARISON, MARK, PAGE, PLOT, blocks, in_bin
from benchmarks.gain_map_worlds import WORLDS
from benchmarks.page import filled, names

pytest.importorskip("matplotlib")


def told(mean):
    return {"mean": mean, "low": mean - 1, "high": mean + 1, "won": 2, "evaluated": 2}


def record():
    """Three territories of which the second is too small to judge."""
    gains = [
        {"method": method, "baseline": baseline, "all": told(2.0), "overall": told(1.0), "average": [3.0, 99.0, 1.0]}
        for method, baseline in COMPARED
    ]
    territories = [
        {"code": code, "evaluated": evaluated, "train_positives": {"upsampled": positives, "random": 1}}
        for code, evaluated, positives in (("US", True, 5000), ("XX", False, 2), ("FR", True, 200))
    ]
    return {"gains": gains, "territories": territories, "methods": [{"seeds": [0, 1, 2]}]}


def test_a_cell_keeps_the_territories_that_can_be_judged():
    cell = cell_of(record(), "0.5", 60_000)
    assert cell["codes"] == ["US", "FR"] and cell["train_positives"] == [5000, 200] and cell["seeds"] == 3
    assert cell["gains"][MAIN_COMPARISON]["territories"] == [3.0, 1.0]
    assert cell["gains"][MAIN_COMPARISON]["overall"] == [1.0, 0.0, 2.0] and cell["gains"][MAIN_COMPARISON]["mean"] == [
        2.0,
        1.0,
        3.0,
    ]


def test_territories_are_put_together_by_what_they_had_to_learn_from():
    cells = [cell_of(record(), world, users) for world in ("0", "0.5") for users in (1000, 2000)]
    assert in_bin(cells, "0.5", 0, 3000).tolist() == [[200, 1.0], [200, 1.0]]
    assert in_bin(cells, "0.5", 5000, 8000).tolist() == [[5000, 3.0], [5000, 3.0]]
    assert in_bin(cells, "0.5", 8000, 1e9).tolist() == []


def test_a_world_that_was_not_run_is_shown_as_such():
    cells = [cell_of(record(), "0", 1000), cell_of(record(), "0.5", 2000)]
    rows = ["| 1,000 | +1.0 (+0.0 to +2.0) | – |", "| 2,000 | – | +1.0 (+0.0 to +2.0) |"]
    assert blocks(cells)["overall"].splitlines()[2:] == rows


def test_the_experiment_of_a_world_is_the_one_that_users_run(tmp_path, monkeypatch):
    called = []

    def pretend(*arguments):
        called.append(arguments[0])
        if arguments[0] == "experiment":
            out = arguments[arguments.index("--out") + 1]
            out.mkdir()
            (out / "experiment.json").write_text(json.dumps(record()))

    monkeypatch.setattr(gain_map, "twotower", pretend)
    assert gain_map.one_cell(tmp_path, "0.25", 500, 3) == cell_of(record(), "0.25", 500)
    assert called == ["simulate", "group", "experiment"]


def test_the_page_says_what_the_results_say():
    cells = json.loads(RESULTS.read_text("utf-8"))["cells"]
    page = PAGE.read_text("utf-8")
    assert set(names(page, MARK)) == {"overall", "parts"}
    assert filled(page, MARK, blocks(cells)) == page, "run python -m benchmarks.gain_map --page"
    wanted = {(w, int(u)) for w in WORLDS.split(",") for u in USERS.split(",")}
    assert {(cell["world"], cell["users"]) for cell in cells} == wanted


def test_the_plot_has_every_gain(tmp_path, monkeypatch):
    cells = json.loads(RESULTS.read_text("utf-8"))["cells"]
    monkeypatch.setattr(gain_map_page, "PLOT", tmp_path / "plot.svg")
    gain_map_page.draw(cells)
    drawn, kept = ((tmp_path / "plot.svg").read_text("utf-8"), PLOT.read_text("utf-8"))
    for cell in cells:
        gain = f"{cell['gains'][MAIN_COMPARISON]['overall'][0]:+.1f}".replace("-", "−")
        assert gain in drawn.replace("-", "−") and gain in kept.replace("-", "−")

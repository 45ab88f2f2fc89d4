"""docs/explanation/growth.md says what was measured."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.growth_page import MARK, PAGE, blocks, in_words, rounded
from benchmarks.page import filled, names

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "growth.json"


@pytest.fixture
def page():
    return PAGE.read_text(encoding="utf-8")


@pytest.fixture
def results():
    return json.loads(RESULTS.read_text(encoding="utf-8"))


def test_the_page_has_the_figures_of_the_committed_results(page, results):
    assert filled(page, MARK, blocks(results)) == page, "python -m benchmarks.growth --page"


def test_a_changed_figure_is_noticed(page, results):
    next(iter(results["sweeps"]["batch"]["series"].values()))["points"][0]["step_ms"]["median"] *= 1.1
    assert filled(page, MARK, blocks(results)) != page


def test_the_page_has_the_machine_the_exponents_and_the_threads(page, results):
    assert {"machine", "exponents", "threads"} <= set(names(page, MARK)) <= set(blocks(results))


def test_exponents_are_told_in_words():
    assert in_words({"exponents": [0.123, 0.914], "bend": 2911.4}) == "0.12, from 2,900 on 0.91"
    assert in_words({"exponents": [-0.001], "bend": None}) == "0.00"
    assert rounded(41.6) == "42"


def test_the_plot_is_small_and_takes_the_colour_of_the_readers_text():
    svg = PAGE.with_suffix(".svg").read_text(encoding="utf-8")
    assert len(svg) < 150_000 and "currentColor" in svg and "prefers-color-scheme: dark" in svg
    assert not re.search(r"#(000000|ffffff|010203)", svg), "black or white would vanish on one of the two"


def test_the_plot_is_drawn_anew_with_the_same_words(tmp_path, results):
    pytest.importorskip("matplotlib", reason="it draws in benchmarks only: pip install -e '.[bench]'")
    from benchmarks.growth_plot import draw

    draw(results["sweeps"], tmp_path / "growth.svg")
    drawn, kept = (path.read_text(encoding="utf-8") for path in (tmp_path / "growth.svg", PAGE.with_suffix(".svg")))
    words = re.compile(r"<text[^>]*>([^<]*[a-z]{3}[^<]*)<")  # ticks are matplotlib's to choose
    assert words.findall(drawn) == words.findall(kept), "python -m benchmarks.growth --page"

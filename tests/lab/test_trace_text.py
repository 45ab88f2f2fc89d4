"""The traced step in a terminal: aligned, 80 columns wide, rows with their user and group."""

import io
import re

import pytest
from rich.console import Console

from twotower.lab.trace.text import WIDTH, aligned, number_texts, trace_text
from twotower.lab.trace.tiny_network import HEADS
from twotower.lab.trace.trace import trace


def text_of(record, color=False, **options):
    stream = io.StringIO()
    console = Console(file=stream, width=WIDTH, force_terminal=color, color_system="standard" if color else None)
    console.print(trace_text(record, **options))
    return stream.getvalue()


@pytest.fixture(scope="module")
def record():
    return trace(seed=0)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("mask", ["on", "off"])
def test_it_is_80_columns_wide(head, mask):
    text = text_of(trace(4, head, title_bias=True), mask=mask, every_block=True)
    assert max(map(len, text.splitlines())) <= WIDTH


def test_every_step_is_shown_in_its_order(record):
    text = text_of(record, every_block=True)
    at = 0
    for step in record["runs"]["on"]["steps"]:
        head = f"\n{step['name']} {tuple(step['shape'])}  {step['maths']}\n"
        assert head in text[at:], head
        at = text.index(head, at) + 1


def test_every_number_is_shown(record):
    """A matrix with rows: each line has the user, the group and the numbers of its row, as they are."""
    lines = text_of(record).splitlines()
    (step,) = [s for s in record["runs"]["on"]["steps"] if s["name"] == "A" and s["function"] == "head" and s["group"]]
    start = lines.index(f"A (2, 4)  {step['maths']}")
    for line, row in zip(lines[start + 2 : start + 4], step["values"], strict=True):
        assert line.split()[0] == "South" and line.split()[1].startswith("Cem·")
        assert line.split()[2:] == [f"{number:.4f}".replace("-", "−") for number in row]


def test_columns_stand_under_each_other(record):
    lines = text_of(record).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Z (5, 4)"))
    assert len({len(line) for line in lines[start + 2 : start + 7]}) == 1


def test_rows_of_other_groups_are_dimmed_and_in_brackets(record):
    text = text_of(record, color=True, stages=["backward"])
    others = [line for line in text.splitlines() if "(South Cem·Comet)" in line]
    assert others and all("\x1b[2m" in line for line in others)
    own = [line for line in text.splitlines() if " South Cem·Comet " in line]
    assert own and not any("\x1b[2m" in line for line in own)


def test_what_leaks_with_the_mask_off_stands_out(record):
    text = text_of(record, color=True, mask="off", stages=["backward"])
    assert any("(South Cem·Comet)" in line and "\x1b[33m" in line for line in text.splitlines())
    assert "mask off" in text.splitlines()[0]


def test_a_stage_alone(record):
    text = text_of(record, stages=["loss"])
    headings = [line for line in text.splitlines() if line.endswith("──") and " · " in line]
    assert [line.split(" ─")[0] for line in headings] == ["Loss · head 0 (North)", "Loss · head 1 (South)"]


def test_a_group_alone_has_its_own_rows():
    text = text_of(trace(seed=0, group=1), stages=["forward", "backward"])
    steps = text[text.index("Forward") : text.index("gradient of")]
    assert "South Cem·Comet" in steps and "and 3 rows of other groups" in steps
    assert not re.search(r"^ +North ", steps, re.M) and "head 0" not in steps


def test_adam_shows_one_block_in_full_and_all_when_asked(record):
    short, full = (text_of(record, stages=["adam"], every_block=every) for every in (False, True))
    assert short.count("Adam · ") == 1 and "Adam · head.W[0]" in short
    assert "user.W1 (3, 4)  largest |g|" in short
    assert full.count("Adam · ") == 18 and "largest |g|" not in full


def test_the_end_says_what_the_mask_kept_out(record):
    lines = text_of(record, stages=["loss"]).splitlines()
    part = record["leak"][1]
    row = next(line for line in lines if line.startswith(part["parameter"]))
    assert row.split()[1:] == [f"{part['own']:.4f}", "0", f"{part['others']:.4f}"]
    on, off = (record["runs"][mask]["loss"] for mask in ("on", "off"))
    assert any(line.startswith(f"Loss: {on:.4f} with the mask, {off:.4f} without") for line in lines)


def test_zeros_small_and_whole_numbers_are_told_apart():
    assert number_texts([1.0, -2.0]) == ["1", "−2"]
    assert number_texts([0.5, 0.0, -1e-9]) == ["0.5000", "0", "−0.0000"]
    assert number_texts([1e-5, 0.0]) == ["1.0e−05", "0"]
    assert number_texts([]) == []
    assert aligned(["1", "-20", "3", "4"], 2) == ["    1  -20", "    3    4"]

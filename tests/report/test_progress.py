"""What a user sees while something runs."""

import io
import sys
import types
from importlib.machinery import ModuleSpec

import pytest

from twotower.core.formatting import duration, short
from twotower.core.progress import silent
from twotower.report.progress import Bars, Lines, count_of, show_progress


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def lines_of(calls, seconds_between=0.5):
    stream, clock = io.StringIO(), Clock()
    with show_progress(stream, clock) as progress:
        for call in calls:
            progress(*call)
            clock.now += seconds_between
    return stream.getvalue().splitlines()


def test_plain_lines_come_at_most_every_two_seconds():
    lines = lines_of([("read", done, 100) for done in range(0, 21)])  # 10 s
    assert [line.split(",")[0] for line in lines[:-1]] == [f"read: {n} of 100" for n in (4, 8, 12, 16, 20)]


def test_a_line_tells_count_rate_and_time_left():
    assert lines_of([("read", done, 100) for done in range(0, 5)])[0] == "read: 4 of 100, 2/s, 48 s left"


def test_each_stage_ends_with_one_line():
    lines = lines_of([("read", 0, 2), ("read", 1, 2), ("read", 2, 2), ("sort", 0, 3), ("sort", 3, 3)])
    assert lines == ["read: 2 of 2, 2/s, in 1.0 s", "sort: 3 of 3, 6/s, in 0.5 s"]


def test_a_stage_of_unknown_length_ends_where_the_next_begins():
    lines = lines_of([("read", 0, 0), ("read", 500, 0), ("sort", 0, 1), ("sort", 1, 1)])
    assert lines == ["read: 500, 500/s, in 1.0 s", "sort …", "sort: done in 0.5 s"]


def test_a_long_step_says_how_long_it_has_taken_so_far():
    lines = lines_of([("compile", 0, 1)] * 5 + [("compile", 1, 1)])
    assert lines == ["compile …", "compile: 2.0 s so far", "compile: done in 2.5 s"]


def test_a_stage_cut_short_says_how_far_it_came():
    stream, clock = io.StringIO(), Clock()
    with pytest.raises(KeyboardInterrupt), show_progress(stream, clock) as progress:
        progress("train", 0, 10)
        clock.now += 1
        progress("train", 3, 10)
        raise KeyboardInterrupt
    assert stream.getvalue() == "train: 3 of 10, 3/s, 2.3 s left\n"


def test_a_changing_detail_does_not_make_a_new_stage():
    lines = lines_of([(f"epoch 1 · loss {0.9 - done / 4}", done, 2) for done in range(3)])
    assert lines == ["epoch 1: 2 of 2, 2/s, in 1.0 s, loss 0.4"]


def test_the_same_stage_again_starts_from_nothing():
    assert len(lines_of([("day", 0, 2), ("day", 2, 2), ("day", 0, 2), ("day", 2, 2)])) == 2


def test_a_terminal_gets_bars_for_every_stage():
    terminal = Terminal()
    with show_progress(terminal) as progress:
        for done in range(4):
            progress(f"epoch 1 · loss {done}", 1000 * done, 3000)
        progress("read", 5, 0)
        progress("compile", 0, 1)
        progress("compile", 1, 1)
    text = terminal.getvalue()
    assert "3,000 of 3,000" in text and "loss 3" in text and "compile" in text and "━" in text
    assert text.count("\x1b[?25h") == 1  # the cursor is back


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_stage_named_like_markup_is_text(stream):
    stream = stream()
    with show_progress(stream) as progress:
        progress("Reading [/x].csv · [bold]\x1b]0;title\x07", 1, 2)
        progress("Reading [/x].csv · [bold]\x1b]0;title\x07", 2, 2)
    assert "Reading [/x].csv" in stream.getvalue() and "[bold]" in stream.getvalue()
    assert "\x1b]0;" not in stream.getvalue() and "\x07" not in stream.getvalue()


def test_by_default_it_goes_to_stderr(capsys):
    with show_progress() as progress:
        progress("read", 1, 1)
    out, err = capsys.readouterr()
    assert not out and err.startswith("read")


def test_libraries_are_silent_by_default(capsys):
    silent("read", 1, 2)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (2, "2"),
        (999, "999"),
        (1234, "1.23k"),
        (35_100, "35.1k"),
        (123_456, "123k"),
        (2.4e6, "2.40M"),
        (3e9, "3.00G"),
    ],
)
def test_numbers_are_short(number, text):
    assert short(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.4 s"),
        (12.3, "12 s"),
        (185, "3 min 05 s"),
        (3723, "1 h 02 min"),
        (59.7, "1 min 00 s"),
        (3599.7, "1 h 00 min"),
    ],
)
def test_durations_have_two_units_at_most(seconds, text):
    assert duration(seconds) == text


def test_a_count_without_a_total_stands_alone():
    assert (count_of(12000, 90000), count_of(12000, 0)) == ("12,000 of 90,000", "12,000")


def test_notebooks_have_bars_and_programs_within_them_do_not(monkeypatch):
    shell = type("ZMQInteractiveShell", (), {})
    for name in ("IPython", "ipywidgets"):
        module = types.ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["IPython"].get_ipython = shell
    with show_progress(io.StringIO()) as progress:
        assert isinstance(progress.__self__, Bars)
    sys.modules["IPython"].get_ipython = lambda: None  # a script that imports IPython
    with show_progress(io.StringIO()) as progress:
        assert isinstance(progress.__self__, Lines)

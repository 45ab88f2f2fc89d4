"""The table of a sample says all, and fits the terminal."""

from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from twotower.cli.summaries.sample import print_sample, sample_notes, sample_table
from twotower.data.countries import load_countries
from twotower.data.sampling.imbalance import SampledCounts, SampleSummary
from twotower.data.territories import look_up


def summary_of(n_territories: int, shortfall: int = 0, unavailable: int = 0) -> SampleSummary:
    rng = np.random.default_rng(0)
    users = (4e6 * 0.9 ** np.arange(n_territories)).astype(int)
    territories = replace(look_up([c.name for c in load_countries()[:n_territories]]), users=users)
    drawn = [
        SampledCounts(*(rng.permutation(users) // part for part in (share, share // 2, share // 20)))
        for share in (50, 100, 9000)
    ]
    missing = np.zeros(n_territories, int)
    missing[n_territories // 2] = shortfall
    return SampleSummary(territories, users, *drawn, 8.0, missing, np.resize([unavailable, 0], n_territories))


def printed(n_territories: int, shortfall: int = 0, width: int = 80, **options) -> str:
    console = Console(width=width, file=StringIO())
    print_sample(console, summary_of(n_territories, shortfall), **options)
    return console.file.getvalue()


def table_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def test_the_table_fits_80_columns_and_nothing_is_cut_but_names():
    lines = table_lines(printed(40).split("Ratio of")[0])
    assert max(map(len, lines)) <= 80
    assert not any("…" in line[13:] for line in lines)


def test_a_wide_terminal_shows_names_and_numbers_in_full():
    longest = max((country.name for country in load_countries()[:20]), key=len)
    narrow, wide = printed(20), printed(20, width=120)
    assert longest in wide and longest not in narrow
    negatives = f"{summary_of(20).train.negatives.sum():,}"
    assert len(negatives) > 5 and negatives in wide and negatives not in narrow


def test_the_largest_20_are_shown_and_the_others_stand_together():
    lines = table_lines(printed(40))
    assert sum(line.startswith("20 others") for line in lines) == 1
    everything = table_lines(printed(40, every_territory=True))
    assert len(everything) == len(lines) + 19 and not any("others" in line for line in everything)
    assert "others" not in printed(21), "one row for one territory is that territory"


def test_the_others_have_all_that_is_not_shown():
    summary = summary_of(40)
    table = sample_table(summary)
    counts = [row.cells[3].value for row in table.rows]
    assert len(counts) == 21 and table.totals[0].cells[3].value == sum(counts) == summary.test.users.sum()


def test_a_large_territory_without_positives_is_told():
    summary = summary_of(5)
    summary.random.positives[0] = summary.active.positives[0] = 0
    assert "∞ (one has none) with random users" in sample_notes(summary)[0]


@pytest.mark.parametrize("width", [80, 120])
def test_a_summary_as_it_is_printed(snapshot, width):
    snapshot(printed(40, shortfall=12_345, width=width))
    assert "missing" not in printed(40)


def test_positives_that_were_left_out_are_counted():
    assert "left out" not in printed(1)
    assert "1 positive (" in sample_notes(summary_of(1, unavailable=1))[-1]
    many = sample_notes(summary_of(2, unavailable=1_234))[-1]
    assert many.startswith("1,234 positives (") and "are left out" in many

"""Sentences and choices that must be the same wherever the record of an experiment is shown."""

from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]

NO_TITLE_PAIRS = "No major territory has a local and a global title with enough positives in the test to compare them."
TWO_FIGURES = (
    "Overall PR-AUC ranks the test pairs of all periods together. The gain over all pairs is the mean of the gains per "
    "period, each with its own ranking, so it is not the gain of the overall PR-AUC."
)


def has_periods(record: Record) -> bool:
    """Whether models are updated between blocks of test days."""
    return len(record["periods"]) > 1


def all_pairs(record: Record) -> str:
    """What the gain over all pairs is measured on; "overall" is the PR-AUC of all periods in one ranking."""
    return "all pairs, one ranking per period" if has_periods(record) else "all pairs in one ranking"


def as_of(record: Record) -> str:
    """The day that recommendations are computed for, when models are updated between periods; else empty."""
    if not has_periods(record):
        return ""
    return (
        f"Recommendations are computed as of day {record['panel_day']}, the first day of the last test period: titles "
        "that a user watched in earlier test periods count as watched."
    )


def main_gains(record: Record) -> list[Record]:
    """The comparisons that the experiment is about: its main method over the baselines, or the first of all."""
    gains, main = record["gains"], (record["main_method"], record["baselines"])
    return [g for g in gains if g["method"] == main[0] and g["baseline"] in main[1]] or gains[:1]


def mean_of(gains: Record) -> Record:
    """The mean over the major territories, or over all where no major one can be evaluated."""
    return gains["major"] if gains["major"]["evaluated"] else gains["all"]

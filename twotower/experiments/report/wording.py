"""Sentences and choices that must be the same wherever the record of an experiment is shown."""

from collections.abc import Mapping, Sequence
from typing import Any

from twotower.experiments.schema import Compared, ExperimentRecord, GainsRecord, MeanRecord, TerritoryMeanRecord, Value

NEGLIGIBLE = 1.0  # percent: an interval around 0 that is within it on both sides shows that there is no gain
NO_TITLE_PAIRS = "No major territory has a local and a global title with enough positives in the test to compare them."
TWO_FIGURES = (
    "Overall PR-AUC ranks the test pairs of all periods together. The gain over all pairs is the mean of the gains per "
    "period, each with its own ranking, so it is not the gain of the overall PR-AUC."
)


def values(record: Mapping[str, object], *keys: str) -> list[Any]:
    """Some values of a record, in the order of the keys."""
    return [record[key] for key in keys]


def average(column: Sequence[Value]) -> float:
    """Mean of the defined values; NaN without any."""
    known = [value for value in column if value is not None]
    return sum(known) / len(known) if known else float("nan")


def standing(mean: MeanRecord) -> str:
    """better, worse, no different or undecided by an interval; unknown without one."""
    low, high = mean["low"], mean["high"]
    if mean["mean"] is None or low is None or high is None:
        return "unknown"
    if -NEGLIGIBLE < low <= 0 <= high < NEGLIGIBLE:
        return "no different"
    return "better" if low > 0 else "worse" if high < 0 else "undecided"


def has_periods(record: Compared) -> bool:
    """Whether models are updated between blocks of test days."""
    return len(record["periods"]) > 1


def all_pairs(record: Compared) -> str:
    """What the gain over all pairs is measured on; "overall" is the PR-AUC of all periods in one ranking."""
    return "all pairs, one ranking per period" if has_periods(record) else "all pairs in one ranking"


def as_of(record: ExperimentRecord) -> str:
    """The day that recommendations are computed for, when models are updated between periods; else empty."""
    if not has_periods(record):
        return ""
    return (
        f"Recommendations are computed as of day {record['panel_day']}, the first day of the last test period: titles "
        "that a user watched in earlier test periods count as watched."
    )


def main_gains(record: ExperimentRecord) -> list[GainsRecord]:
    """The comparisons that the experiment is about: its main method over the baselines, or the first of all."""
    gains, main = record["gains"], (record["main_method"], record["baselines"])
    return [g for g in gains if g["method"] == main[0] and g["baseline"] in main[1]] or gains[:1]


def mean_of(gains: GainsRecord) -> TerritoryMeanRecord:
    """The mean over the major territories, or over all where no major one can be evaluated."""
    return gains["major"] if gains["major"]["evaluated"] else gains["all"]

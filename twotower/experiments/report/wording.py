"""What must be said in the same words wherever an experiment's record is shown: which pairs, and as of when."""

from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]

NO_TITLE_PAIRS = (
    "No major territory has a local and a global title with enough positives in the test to be set side by side."
)
TWO_FIGURES = (
    "Overall PR-AUC ranks the test pairs of all periods together. The gain over all pairs is the mean of the periods’ "
    "gains, with a ranking each, so that it is not the gain of the overall PR-AUC."
)


def has_periods(record: Record) -> bool:
    """Whether models went on learning between blocks of test days."""
    return len(record.get("periods") or ()) > 1


def all_pairs(record: Record) -> str:
    """What the gain over all pairs is a gain of: never called overall, as the PR-AUC of all periods together is."""
    return "all pairs, a ranking a period" if has_periods(record) else "all pairs in one ranking"


def as_of(record: Record) -> str:
    """When users are offered titles, for weights that have learned between periods; nothing where there are none.

    Records without ``audience_day`` are older: there it was the first test day, whatever the weights had learned since.
    """
    if not has_periods(record):
        return ""
    days = [period["days"] for period in record["periods"]]
    day = record.get("audience_day")
    if day is None:
        return (
            f"Offers are those of day {days[0][0]}, the first of the test, though the weights have learned of the days "
            f"before day {days[-1][0]}: what was launched or watched since is not counted as such."
        )
    return (
        f"Offers are those of day {day}, the first of the last period, which the weights were judged on: what users "
        "watched in earlier test periods counts as watched."
    )

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
    """The day that recommendations are computed for, when models are updated between periods; else empty."""
    if not has_periods(record) or "panel_day" not in record:
        return ""
    return (
        f"Recommendations are computed as of day {record['panel_day']}, the first day of the last test period: titles "
        "that a user watched in earlier test periods count as watched."
    )

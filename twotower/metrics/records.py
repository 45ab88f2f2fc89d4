"""Results as records for JSON; what is undefined is null there."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from twotower.metrics.results import ENOUGH_POSITIVES, Evaluation
from twotower.metrics.user_means import Level


def evaluation_record(evaluation: Evaluation, min_positives: int = ENOUGH_POSITIVES) -> dict[str, Any]:
    """The figures of the whole test set; the macro also of the territories with enough positives alone."""
    territories = evaluation.territories
    return {
        "overall": evaluation.overall,
        "macro": territories.macro(),
        "macro_territories": int(territories.counted().sum()),
        "min_positives": min_positives,
        "macro_supported": territories.macro(min_positives),
        "macro_supported_territories": int(territories.counted(min_positives).sum()),
        "pairs": evaluation.pairs,
        "positives": evaluation.positives,
        "base_rate": evaluation.base_rate,
    }


def ranking_record(levels: Mapping[str, Level]) -> dict[str, Any]:
    """Ranking metrics of all users, and the mean of the territories with enough users, each with its interval."""
    parts = ("overall", "macro")
    return {part: {name: asdict(getattr(level, part)) for name, level in levels.items()} for part in parts}

"""Results as records for JSON; what is undefined is null there."""

from typing import Any

from twotower.metrics.results import ENOUGH_POSITIVES, Evaluation


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

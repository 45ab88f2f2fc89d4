"""Results as records for JSON; what is undefined is null there."""

from typing import Any

from twotower.metrics.averages import mean_and_spread
from twotower.metrics.gains import Comparison, Gains, Method
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


def comparison_record(comparison: Comparison) -> dict[str, Any]:
    """A comparison: the figures of its methods, and the gains of those that were evaluated."""
    return {
        "test_digest": comparison.test_digest,
        "days": comparison.days,
        "methods": [method_record(method) for method in comparison.methods],
        "comparisons": [gains_record(gains, comparison) for gains in comparison.gains],
    }


def method_record(method: Method) -> dict[str, Any]:
    """The figures of one method over its runs."""
    return {
        "name": method.name,
        "runs": list(method.runs),
        "seeds": list(method.seeds),
        "overall": dict(zip(("mean", "spread"), mean_and_spread(method.overall), strict=True)),
        "macro": dict(zip(("mean", "spread"), mean_and_spread(method.macro), strict=True)),
    }


def gains_record(gains: Gains, comparison: Comparison) -> dict[str, Any]:
    """One method evaluated against another: the summary over the chosen territories, and each of them."""
    territories, rows = comparison.territories, comparison.rows
    mean, mean_spread = gains.mean(rows)
    return {
        "method": gains.method.name,
        "baseline": gains.baseline.name,
        "matches": len(gains.matches),
        "matched_by_seed": gains.same_seeds,
        "mean_gain": mean,
        "mean_gain_spread": mean_spread,
        "territories_won": gains.won(rows),
        "territories_defined": gains.defined(rows),
        "territories": [
            {
                "code": territories.code[c],
                "name": territories.name[c],
                "group": territories.group[c],
                "users": territories.users[c],
                "positives": territories.positives[c],
                "pr_auc_method": gains.method.mean_pooled[c],
                "pr_auc_baseline": gains.baseline.mean_pooled[c],
                "gain_by_day": {str(day): gains.by_day[d, c] for d, day in enumerate(comparison.days)},
                "gain": gains.average[c],
                "spread": gains.spread[c],
            }
            for c in rows
        ],
    }

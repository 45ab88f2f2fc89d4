"""Relative gains of PR-AUC of one method over another, as in the paper's Table 2.

gain = 100 · (method − baseline) / baseline      in percent, for each territory in each period
"""

from collections.abc import Sequence

import numpy as np

from twotower.metrics.averages import ratio


def relative_gain(method: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """100 · (method − baseline) / baseline, in percent; NaN where either is undefined."""
    return 100.0 * ratio(np.asarray(method) - np.asarray(baseline), np.asarray(baseline))


def match_runs(method: Sequence[int], baseline: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of positions of a method's and a baseline's runs, from their seeds.

    Runs are matched by the seeds that both have, so that what a seed decides for both cancels out; where they have none
    in common, or a seed twice, in order. Runs without a partner are left out.
    """
    common = [seed for seed in method if seed in baseline]
    unique = len(set(method)) == len(method) and len(set(baseline)) == len(baseline)
    if common and unique:
        return [(method.index(seed), baseline.index(seed)) for seed in common]
    return list(zip(range(len(method)), range(len(baseline)), strict=False))

"""Ratios, means and spreads of values that may be undefined (NaN), without warnings."""

import numpy as np


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole as float64, NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)


def mean_defined(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Mean of the values that are not NaN; NaN where there is none."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis), defined.sum(axis))


def spread(values: np.ndarray) -> np.ndarray:
    """Standard deviation (n − 1) along the first axis; NaN for a single value."""
    return values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1:], np.nan)


def mean_and_spread(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation (n − 1) of a few values, such as one per run."""
    return float(values.mean()), float(spread(values))


def lowest_and_gap(values: np.ndarray) -> tuple[float, float]:
    """The lowest of the defined values, and how far the highest is above it; NaN without any."""
    known = values[~np.isnan(values)]
    return (float(known.min()), float(np.ptp(known))) if len(known) else (float("nan"), float("nan"))

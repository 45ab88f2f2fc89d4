"""Checks of labels, scores and keys at public functions. Compiled kernels behind them check nothing.

Each raises InputError with the first row that is wrong; rows count from 0. Names: B pairs, K keys.
"""

import numpy as np

from twotower.core.errors import InputError

MAX_WEIGHT = 255  # of a pair or user; kernels hold weights as bytes


def check_pairs(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels as bool and scores as contiguous float32 or float64, both (B,).

    Errors: InputError when the shapes differ, a label is neither 0 nor 1, or scores are no numbers or NaN.
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise InputError(f"labels {labels.shape}, scores {scores.shape}: expected two columns of one length")
    positive = check_labels(labels)
    if scores.dtype.kind not in "biuf":
        raise InputError(f"scores: {scores.dtype}, expected numbers")
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float32 if scores.dtype == np.float16 else np.float64)
    if scores.size and np.isnan(scores.min()):  # a minimum hands NaN on, and allocates nothing
        bad = np.isnan(scores)
        raise InputError(f"scores: {bad.sum()} of {len(bad)} are NaN, the first in row {bad.argmax()}")
    return positive, np.ascontiguousarray(scores)


def check_labels(labels: np.ndarray) -> np.ndarray:
    """Labels (B,) as bool. Errors: InputError for another number of axes, or a label other than 0 and 1."""
    labels = np.asarray(labels)
    if labels.ndim != 1:
        raise InputError(f"labels {labels.shape}: expected one column")
    positive = labels == 1
    known = np.count_nonzero(positive) + np.count_nonzero(labels == 0)
    if known < labels.size:
        row = int(np.argmin(positive | (labels == 0)))
        raise InputError(f"labels: row {row} holds {labels[row]}, expected 0 or 1")
    return positive


def check_key(key: np.ndarray, n_keys: int, n_rows: int, what: str = "keys") -> np.ndarray:
    """Keys (B,) as contiguous int32. Errors: InputError unless they are B integers from 0 to K − 1."""
    key = np.asarray(key)
    if n_keys < 0:
        raise InputError(f"{what}: {n_keys} of them, expected at least 0")
    if key.shape != (n_rows,) or key.dtype.kind not in "iu":
        raise InputError(f"{what}: {key.dtype} {key.shape}, expected {n_rows} integers, one per row")
    if key.size and (key.min() < 0 or key.max() >= n_keys):
        row = int(np.argmax((key < 0) | (key >= n_keys)))
        raise InputError(f"{what}: row {row} holds {key[row]}, expected 0 to {n_keys - 1}")
    return np.ascontiguousarray(key, np.int32)


def check_weights(weight: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Weights as contiguous uint8. Errors: InputError unless they are integers from 0 to MAX_WEIGHT of that shape."""
    weight = np.asarray(weight)
    if weight.shape != shape or weight.dtype.kind not in "iu":
        raise InputError(f"weights: {weight.dtype} {weight.shape}, expected {shape[0]} integers")
    if weight.dtype != np.uint8 and weight.size and not 0 <= int(weight.min()) <= int(weight.max()) <= MAX_WEIGHT:
        raise InputError(f"weights: from {weight.min()} to {weight.max()}, expected 0 to {MAX_WEIGHT}")
    return np.ascontiguousarray(weight, np.uint8)


def check_column(name: str, column: np.ndarray, shape: tuple[int, ...], kinds: str = "biuf") -> np.ndarray:
    """An array of a shape, whose dtype is of one of ``kinds`` (NumPy's letters). Errors: InputError."""
    column = np.asarray(column)
    if column.shape != shape or column.dtype.kind not in kinds:
        raise InputError(f"{name}: {column.dtype} {column.shape}, expected {shape}" + (" bool" if kinds == "b" else ""))
    return column

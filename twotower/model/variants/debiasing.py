"""Tables against popularity bias and for the weight of groups: functions of counts among the training pairs."""

import numpy as np

LARGEST_WEIGHT = 10.0  # of a positive, where the mean is 1: rarer titles would drown the rest in variance


def group_weights(pairs: np.ndarray, kind: str) -> np.ndarray:
    """Weight (K,) float32 of each group's pairs: by "count", or by its "inverse"; the mean over all pairs is 1.

    ``pairs`` (K,) counts the groups' training pairs. By inverse, all groups that have any weigh the same together.
    """
    present = pairs > 0
    weight = np.where(present, pairs if kind == "count" else 1 / np.maximum(pairs, 1), 1.0)
    return (weight * pairs.sum() / (weight @ pairs)).astype(np.float32)


def inverse_propensities(positives: np.ndarray, strength: float) -> np.ndarray:
    """Weight (T,) float32 of a title's positives: 1/θ, with θ = (popularity/the largest)^strength.

    Propensities after Saito et al. 2020, who take 1/2 for the strength; clipped, and self-normalised so that the mean
    over all positives is 1 (Schnabel et al. 2016). ``positives`` (T,) counts them.
    """
    counts = np.maximum(positives, 1).astype(np.float64)
    weight = (counts / counts.max()) ** -strength
    for _ in range(2):
        weight = np.minimum(weight * positives.sum() / (weight @ positives), LARGEST_WEIGHT)
    return (weight * positives.sum() / (weight @ positives)).astype(np.float32)


def title_log_odds(positives: np.ndarray, negatives: np.ndarray, strength: float) -> np.ndarray:
    """Offset (T,) float32 of a title's logits in training: strength·log p(title)/q(title), mean 0 over all pairs.

    p and q are its shares of the positives and of the negatives (T,), with one more of each. The part −log q corrects
    for how negatives were drawn (Yi et al. 2019); the part +log p makes it as if they had been drawn by popularity.
    """
    logs = [np.log((counts + 1) / (counts.sum() + len(counts))) for counts in (positives, negatives)]
    offset, pairs = strength * (logs[0] - logs[1]), positives + negatives
    return (offset - offset @ pairs / pairs.sum()).astype(np.float32)

"""Tables against popularity bias and for the weight of groups: functions of counts among the training pairs."""

import numpy as np

from twotower.model.parameters import Floats

LARGEST_WEIGHT = 10.0  # of a positive, where the mean is 1: rarer titles would drown the rest in variance


def group_weights(pairs: np.ndarray, kind: str) -> Floats:
    """Weight (K,) float32 of each group's pairs: by "count", or by its "inverse"; the mean over all pairs is 1.

    ``pairs`` (K,) counts the groups' training pairs. By inverse, all groups that have any weigh the same together.
    """
    present = pairs > 0
    weight = np.where(present, pairs if kind == "count" else 1 / np.maximum(pairs, 1), 1.0)
    return (weight * pairs.sum() / (weight @ pairs)).astype(np.float32)


def inverse_propensities(positives: Floats, strength: float) -> Floats:
    """Weight (T,) float32 of a title's positives: c/θ, at most LARGEST_WEIGHT; θ = (popularity/largest)^strength.

    Propensities after Saito et al. 2020, who take 1/2 for the strength; c makes the mean over all positives 1
    (self-normalised, Schnabel et al. 2016), clipped weights included. ``positives`` (T,) counts them.
    """
    counts = np.maximum(positives, 1).astype(np.float64)
    weight, clipped, c = (counts / counts.max()) ** -strength, np.zeros(len(counts), bool), 0.0
    while True:  # clipping leaves more for the others, of which then some have to be clipped, too
        rest = positives.sum() - LARGEST_WEIGHT * positives[clipped].sum()
        c = rest / (weight[~clipped] @ positives[~clipped])
        if not (c * weight[~clipped] > LARGEST_WEIGHT).any():
            return np.minimum(c * weight, LARGEST_WEIGHT).astype(np.float32)
        clipped |= c * weight > LARGEST_WEIGHT


def title_log_odds(positives: Floats, negatives: Floats, strength: float) -> Floats:
    """Offset (T,) float32 of a title's logits in training: strength·log p(title)/q(title), mean 0 over all pairs.

    p and q are its shares of the positives and of the negatives (T,), with one more of each. The part −log q corrects
    for how negatives were sampled (Yi et al. 2019); +log p makes it as if they had been sampled by popularity.
    """
    logs = [np.log((counts + 1) / (counts.sum() + len(counts))) for counts in (positives, negatives)]
    offset, pairs = strength * (logs[0] - logs[1]), positives + negatives
    return (offset - offset @ pairs / pairs.sum()).astype(np.float32)

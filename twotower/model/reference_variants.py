"""The textbook of variants beside the main path: batch-norm per group, and terms that objectives add to the loss."""

from typing import Any, NamedTuple

import numpy as np


def group_sums(X, group):
    """For each row the sum over all rows of its group; a selection, so that NaN stays within its group."""
    sums = np.empty_like(X)
    for k in np.unique(group):
        sums[group == k] = X[group == k].sum(0)
    return sums  # (B, D)


def group_moments(Z, group, pairs):
    """``moments`` of each row's own group, whose pairs are ``pairs`` (B,1): batch-norm that sees no other group."""
    mean = group_sums(Z, group) / pairs
    return mean, group_sums((Z - mean) ** 2, group)  # (B, D), (B, D)


class Terms(NamedTuple):
    """What an objective adds to the masked loss, a pair at a time; the defaults change nothing."""

    weights: Any = 1.0  # (B,)
    offsets: Any = 0.0  # (B,) on top of the logits
    log_variances: Any = 0.0  # (K,) learned
    popularity: Any = 0.0  # (B,) of the pair's title
    penalty: float = 0.0


def correlation_penalty(z, y, x, strength):
    """λ Σ over the labels of the squared correlation of z and x, and its gradient for z."""
    loss, dz = 0.0, np.zeros_like(z)
    for label in (0, 1):
        mine = y == label
        if mine.sum() > 2 and np.ptp(z[mine]) > 0 and np.ptp(x[mine]) > 0:
            Z, X = z[mine] - z[mine].mean(), x[mine] - x[mine].mean()
            ZX, ZZ, XX = Z @ X, Z @ Z, X @ X
            loss += strength * ZX**2 / (ZZ * XX)
            # forward: R = λ·(Z·X)²/(Z·Z · X·X)   so: dz = 2λ·(Z·X)/(Z·Z · X·X)·(X − (Z·X)/(Z·Z)·Z); centring is free
            dz[mine] = 2 * strength * ZX / (ZZ * XX) * (X - ZX / ZZ * Z)
    return loss, dz

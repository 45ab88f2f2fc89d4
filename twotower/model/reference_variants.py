"""The textbook of parts that not every model has: gates and mixed layers of heads, batch-norm per group, terms of
objectives."""

from typing import Any, NamedTuple

import numpy as np


def softmax(L):
    """Shares (n, E) of each row's logits, which add up to 1."""
    e = np.exp(L - L.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)  # (n, E)


def softmax_backward(dg, g):
    """Gradient of ``softmax`` for its logits, given its output."""
    # forward: g_e = exp(L_e)/Σ exp(L)   so: ∂g_e/∂L_f = g_e·(1[e=f] − g_f), dL_f = g_f·(dg_f − Σ_e g_e·dg_e)
    return g * (dg - (g * dg).sum(1, keepdims=True))  # (n, E)


def stitch(alpha, W):
    """Each head's layer as a mixture of all groups': α (K,K) and W (K,D,D) → W̃ (K,D,D)."""
    return np.tensordot(alpha, W, 1)


def stitch_backward(dmixed, alpha, W):
    """Gradients of ``stitch`` for α and W: every head moves all layers that it is made of."""
    # forward: W̃_k = Σ_j α_kj W_j   so: dα_kj = <dW̃_k, W_j>, dW_j = Σ_k α_kj dW̃_k
    return np.tensordot(dmixed, W, ([1, 2], [1, 2])), np.tensordot(alpha.T, dmixed, 1)


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


def weights_of_group_means(q, group):
    """Weights (B,) of pairs that make the mean over all pairs Σ_k q_k · mean over group k; ``group`` (B,) of each pair.

    Group DRO (Sagawa et al. 2020) has q in proportion to exp(η · losses so far), CVaR 1/m for the m worst groups.
    """
    pairs = np.bincount(group, minlength=len(q))
    return (np.asarray(q) * len(group) / np.maximum(pairs, 1))[group]

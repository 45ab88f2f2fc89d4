"""A common bug, found: heads with their own batch-norm on all rows, masked only at the output.

    twotower leaks world --model examples/heads_with_their_own_batchnorm.py:gradients
    twotower leaks world --model examples/heads_with_their_own_batchnorm.py:gradients_fixed

Each group has a head on a shared layer: a matrix, batch-norm, gamma and beta. `gradients` runs each head on all rows
of the batch and masks the loss. No foreign label moves the head: the mask keeps it out. But batch-norm takes its
moments over all rows, so what a head learns depends on the rest of the batch. `gradients_fixed` selects a
group's rows first.

    B pairs · K groups · D width          dX is the gradient of the loss with respect to X
"""

import numpy as np

D, EPS = 16, 1e-5


def parameters(user_width, title_width, n_groups, seed):
    """Initial weights; gamma and beta differ from 1 and 0, so that their gradients mean something."""
    rng = np.random.default_rng(seed)
    return {
        "W": rng.standard_normal((user_width, D)) / np.sqrt(user_width),  # shared by all groups, as is V
        "V": rng.standard_normal((title_width, D)) / np.sqrt(title_width),
        "head.P": rng.standard_normal((n_groups, D, D)) / np.sqrt(D),
        "head.gamma": 1 + 0.1 * rng.standard_normal((n_groups, D)),
        "head.beta": 0.1 * rng.standard_normal((n_groups, D)),
    }


def loss_and_head_gradients(p, user_features, title_features, group, labels, select_first):
    """Mean cross-entropy of the batch, and the gradients of the parameters of each group."""
    B, K = len(labels), len(p["head.P"])
    A, V = np.maximum(user_features @ p["W"], 0), title_features @ p["V"]  # (B, D)
    grads = {name: np.zeros_like(p[name]) for name in ("head.P", "head.gamma", "head.beta")}
    loss = 0.0
    for k in range(K):
        own = group == k
        if not own.any():
            continue
        rows = own if select_first else np.full(B, True)  # the bug: a head on rows that are not its own
        counted = own[rows]  # rows that the mask lets into the loss

        Z = A[rows] @ p["head.P"][k]
        rstd = 1 / np.sqrt(Z.var(0) + EPS)
        Z_hat = (Z - Z.mean(0)) * rstd
        U = p["head.gamma"][k] * Z_hat + p["head.beta"][k]
        z = (U * V[rows]).sum(1) / np.sqrt(D)
        losses = np.maximum(z, 0) - z * labels[rows] + np.log1p(np.exp(-np.abs(z)))
        loss += losses[counted].sum() / B

        dz = np.where(counted, (1 / (1 + np.exp(-z)) - labels[rows]) / B, 0)
        dU = dz[:, None] * V[rows] / np.sqrt(D)
        grads["head.gamma"][k], grads["head.beta"][k] = (dU * Z_hat).sum(0), dU.sum(0)
        dY = dU * p["head.gamma"][k]
        dZ = rstd * (dY - dY.mean(0) - Z_hat * (dY * Z_hat).mean(0))
        grads["head.P"][k] = A[rows].T @ dZ
    return loss, grads


def gradients(user_features, title_features, group, labels, n_groups, seed):
    """Head k's batch-norm on all rows, the mask at the output: foreign features reach the head."""
    p = parameters(user_features.shape[1], title_features.shape[1], n_groups, seed)
    return loss_and_head_gradients(p, user_features, title_features, group, labels, select_first=False)[1]


def gradients_fixed(user_features, title_features, group, labels, n_groups, seed):
    """Head k on the rows of group k only: no other group reaches it."""
    p = parameters(user_features.shape[1], title_features.shape[1], n_groups, seed)
    return loss_and_head_gradients(p, user_features, title_features, group, labels, select_first=True)[1]

"""Ridge logistic regression, by Newton's method."""

import numpy as np
from scipy.special import expit
from threadpoolctl import threadpool_limits

RIDGE = 1e-3  # of the standardised weights, per pair
NEWTON_STEPS = 12


def logistic_regression(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights (F,) and bias of the ridge logistic regression of y (n,) on X (n, F), by Newton's method."""
    mean, spread = X.mean(0, dtype=np.float64), X.std(0, dtype=np.float64)
    spread[spread <= 1e-4 * np.abs(X).max(0)] = 1  # a constant has no weight, but for rounding
    Z = np.concatenate([(X - mean) / spread, np.ones((len(X), 1))], axis=1)
    w = np.zeros(Z.shape[1])
    penalty = RIDGE * len(y) * np.r_[np.ones(X.shape[1]), 0]
    with threadpool_limits(1, "blas"):  # products this thin are faster so, and the bits those of one thread
        for _ in range(NEWTON_STEPS):
            p = expit(Z @ w)
            gradient = Z.T @ (p - y) + penalty * w
            hessian = (Z * (p * (1 - p))[:, None]).T @ Z + np.diag(penalty + 1e-9)
            step = np.linalg.solve(hessian, gradient)
            w -= step
            if np.abs(step).max() < 1e-6:
                break
    weights = w[:-1] / spread
    return weights, float(w[-1] - weights @ mean)

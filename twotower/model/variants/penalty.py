"""A penalty on popularity: the squared correlation of logits with the popularity of their titles."""

import numpy as np

from twotower.model.parameters import Floats


def correlation_penalty(z: Floats, y: Floats, x: Floats, strength: float) -> tuple[float, Floats]:
    """Squared correlation of logits z and popularity x among the pairs of each label, and its gradient for z.

    After Zhu et al. 2021 (popularity-opportunity bias), who look at positives; negatives are what a user is shown next.
    A label whose logits or titles are all alike has no correlation, and no penalty.
    """
    z, total, dz = z.astype(np.float64), 0.0, np.zeros(len(z))
    for label in (0, 1):
        pairs = np.flatnonzero(y == label)
        if len(pairs) < 3:  # two points always correlate
            continue
        Z, X = z[pairs] - z[pairs].mean(), x[pairs].astype(np.float64) - x[pairs].mean(dtype=np.float64)
        Z_size, X_size = np.linalg.norm(Z), np.linalg.norm(X)
        if min(Z_size, X_size) < 1e-6:
            continue
        Z_hat, X_hat = Z / Z_size, X / X_size
        correlation = float(Z_hat @ X_hat)
        total += strength * correlation**2
        # forward: ρ = <Ẑ, X̂>, R = λρ²   so: dz = 2λρ·(X̂ − ρẐ)/‖Z‖
        dz[pairs] = 2 * strength * correlation * (X_hat - correlation * Z_hat) / Z_size
    return total, dz

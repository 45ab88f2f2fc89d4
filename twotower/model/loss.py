"""The masked binary cross-entropy of a tile's pairs."""

import numpy as np

from twotower.model.engine import kernels


class PairWork:
    """Per pair: dot product, logit, loss, and the gradients of the logit and of the dot product; (B,) float32 each."""

    def __init__(self, pairs: int):
        self.dots, self.z, self.loss, self.dz, self.ddots = np.empty((5, pairs), np.float32)
        self._double, self._whole = np.empty(pairs), np.empty(pairs, np.intp)  # NumPy would allocate them for each sum

    def total(self, values: np.ndarray) -> float:
        """Sum of at most B numbers, in float64."""
        double = self._double[: len(values)]
        double[...] = values
        return float(double.sum())

    def total_by(self, key: np.ndarray, values: np.ndarray, keys: int) -> np.ndarray:
        """Sums (keys,) float64 of at most B numbers that have the same key."""
        double, whole = self._double[: len(values)], self._whole[: len(values)]
        double[...], whole[...] = values, key
        return np.bincount(whole, weights=double, minlength=keys)


def logits(
    work: PairWork, span: slice, scale: np.ndarray, bias: np.ndarray, title_bias: np.ndarray | None, title: np.ndarray
) -> np.ndarray:
    """z = s·<U, V> + c (+ the group's bias of the title) for the pairs in ``span``; title_bias (T,) of one group."""
    z = work.z[span]
    np.multiply(work.dots[span], scale, out=z)
    np.add(z, bias, out=z)
    if title_bias is not None:
        np.add(z, title_bias[title[span]], out=z)
    return z


def masked_binary_cross_entropy(work: PairWork, span: slice, labels: np.ndarray, scale: np.ndarray, B: int) -> None:
    """Loss and gradients of the pairs in ``span``, which all belong to the group whose head made their logits.

    The one-hot mask is this span: a pair meets the head of its own group only, so that the masked sum over K heads has
    one term a pair, and it is averaged over the B rows of the batch (not over the B·K cells).
    """
    kernels.binary_cross_entropy(work.loss[span], work.dz[span], work.z[span], labels[span], B)
    np.multiply(work.dz[span], scale, out=work.ddots[span])

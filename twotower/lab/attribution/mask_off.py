"""What would leak: the same batch with the mask off, every row under every head and counted in its loss.

With the mask, head k meets the rows of group k. Without it the loss is Σ_k Σ_i BCE(z_ik, y_i) / B over all rows i, as
if each of the K columns of the one-hot mask were 1 everywhere, and head k is moved by everybody. Towers and title
embeddings don't depend on the mask, so that one forward pass serves: for all rows and each head there is only the head
to do again, forward and backward, in the textbook's own words and float32.
"""

from typing import Any, NamedTuple

import numpy as np

from twotower.model import reference
from twotower.model.engine import kernels
from twotower.model.two_tower import TwoTower
from twotower.model.variants.objective import Objective


class MaskOff(NamedTuple):
    """Gradients of what head k has to itself, by the groups of the rows that they come from."""

    blocks: dict[str, np.ndarray]  # parameter → (K heads, K groups) norms; the diagonal is what the mask lets through
    foreign: dict[str, np.ndarray]  # parameter → (K heads,) norm of what all rows off the head's own group add up to

    def of(self, prefix: str = "") -> tuple[np.ndarray, np.ndarray]:
        """Both over all parameters whose name begins so: (K heads, K groups) and (K heads,)."""
        names = [name for name in self.blocks if name.startswith(prefix)]
        return (
            np.sqrt(np.sum([self.blocks[name] ** 2 for name in names], 0)),
            np.sqrt(np.sum([self.foreign[name] ** 2 for name in names], 0)),
        )


def mask_off(model: TwoTower, batch: Any, A2: np.ndarray) -> MaskOff:
    """Gradients of every head from the rows of every group; A2 (R, D) is the user tower's output for all rows.

    The batch is the model's last one, and its workspaces hold the pass with the mask on. The objective's weights and
    offsets of pairs count as they do in training; a penalty on all logits at once is a head's own rows' alone.
    """
    K, shape, n_titles = model.config.groups, model.config, len(batch.title_counts)
    params = dict(model.params)
    if shape.head == "cross-stitch":
        params["head.W"] = reference.stitch(params["head.alpha"], params["stitch.W"])
    own = [name for name in model.params if name.startswith(("head.", "title_bias."))]
    found = MaskOff({name: np.zeros((K, K)) for name in own}, {name: np.zeros(K) for name in own})
    bounds = batch.segments
    logits = HeadPass(model, batch, params)

    def one_head(k: int) -> None:
        """The rows of every group under head k."""
        sums = {name: np.zeros(model.params.shapes[name][1:]) for name in own}
        for j in range(K):
            rows = slice(int(bounds[j]), int(bounds[j + 1]))
            if rows.start == rows.stop:
                continue
            dz, U, A = logits.forward(k, j, rows, A2)
            gradients = logits.backward(k, rows, dz, U, A)
            if shape.head == "cross-stitch":
                # forward: W̃_k = Σ_j α_kj W_j   so: dα_kj = <dW̃_k, W_j>
                gradients["head.alpha"] = np.tensordot(params["stitch.W"], gradients.pop("head.W"), 2)
            if shape.title_bias:
                span = logits.pairs_of(rows)
                by_title = np.bincount(batch.pair_title[span], dz, n_titles).astype(np.float32)
                gradients["title_bias.C"] = by_title @ batch.title_features
            for name in own:
                gradient = gradients[name].astype(np.float64)
                found.blocks[name][k, j] = np.linalg.norm(gradient)
                if j != k:
                    sums[name] += gradient
        for name in own:
            found.foreign[name][k] = np.linalg.norm(sums[name])

    if own:
        model.threads.run(one_head, range(K))
    return found


class HeadPass:
    """From the user tower's output through any head to the logits' gradients, and back to the head's."""

    def __init__(self, model: TwoTower, batch: Any, params: dict[str, np.ndarray]):
        self.model, self.batch, self.params = model, batch, params
        self.masked = model.pairs.dz[: len(batch.labels)].copy()  # (B,) of the pass with the mask on
        self.terms = model.objective.terms(batch) if isinstance(model.objective, Objective) else None

    def pairs_of(self, rows: slice) -> slice:
        """The pairs of some user rows."""
        return slice(int(self.batch.pair_start[rows.start]), int(self.batch.pair_start[rows.stop]))

    def forward(self, k: int, j: int, rows: slice, A2: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """dz of the pairs of group j's ``rows`` under head k, the head's output, and its input."""
        batch, params, shape, A = self.batch, self.params, self.model.config, A2[rows]
        U = reference.head(params, k, A, shape, territories_of(batch, rows))
        span = self.pairs_of(rows)
        if j == k:
            return self.masked[span], U, A
        title, labels = batch.pair_title[span], batch.labels[span]
        embedding = U
        if shape.territory_bias:
            territory = batch.user_territory[batch.pair_user[span]]
            embedding = U + params["territory.b"][batch.user_territory[rows]]
        z, loss, dz = np.empty((3, len(labels)), np.float32)
        start = batch.pair_start[rows.start : rows.stop + 1]
        kernels.pair_dots(z, np.ascontiguousarray(embedding), self.model.V, start, batch.pair_title)
        z *= params["logit.scale"]
        z += params["logit.bias"]
        if shape.title_bias:
            z += (batch.title_features @ params["title_bias.C"][k])[title]
        if shape.title_bias and shape.territory_bias:
            z += (params["territory.C"] @ batch.title_features.T)[territory, title]
        if self.terms is not None and self.terms.offset is not None:
            z += self.terms.offset[span]
        kernels.binary_cross_entropy(loss, dz, z, labels, len(batch.labels))
        if self.terms is not None and self.terms.weight is not None:
            dz *= self.terms.weight[span]
        return dz, U, A

    def backward(self, k: int, rows: slice, dz: np.ndarray, U: np.ndarray, A: np.ndarray) -> dict[str, np.ndarray]:
        """Gradients of head k from the pairs of ``rows``."""
        batch, model = self.batch, self.model
        dU = np.empty((len(U), model.config.hidden), np.float32)
        start = batch.pair_start[rows.start : rows.stop + 1]
        kernels.user_gradient(dU, dz * self.params["logit.scale"], model.V, start, batch.pair_title)
        found = reference.head_backward(self.params, k, dU, U, A, model.config, territories_of(batch, rows))[0]
        return {name: gradient for name, gradient in found.items() if name.startswith("head.")}


def territories_of(batch: Any, rows: slice) -> np.ndarray | None:
    """Territories (n,) of some user rows; None where the batch has none."""
    return batch.user_territory[rows] if len(batch.user_territory) else None

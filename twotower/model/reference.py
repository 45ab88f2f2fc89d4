"""The textbook: every operation of the network, forward and backward, in plain NumPy.

    B pairs in a batch · R rows · K territory groups · D hidden width · F features · r rank of a low-rank head
    dX is the gradient of the loss with respect to X, and has X's shape.

    tower      X (B,F) → Z1 = X W1 → A1 = relu(batchnorm(Z1)) → Z2 = A1 W2 → A2 = relu(batchnorm(Z2))    (B,D)
    head k     U = head_k(A2), for the rows of group k only
    score      z = s·<U, V> + c + <title features, C_k>,  p = sigmoid(z)
    loss       Σ_k Σ_i mask_ik · BCE(z_ik, y_i) / B,  mask = one-hot of the row's group

``loss_and_gradients`` is the specification: it works on expanded batches, one row a pair, and knows nothing of unique
rows, sorting or workspaces. What stands beside the loss is in ``reference_rows`` and
``reference_variants``. ``kernels`` says the same under the same names, fast: its functions take their outputs
first and then the parameters that stand here. Wherever ``floor`` appears, 0 makes a ReLU and −inf a linear layer.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from twotower.core.config import BATCHNORM_EPS, ModelConfig
from twotower.model.reference_rows import ExpandedBatch as ExpandedBatch
from twotower.model.reference_rows import expand as expand
from twotower.model.reference_rows import pair_dots as pair_dots
from twotower.model.reference_rows import sum_parts as sum_parts
from twotower.model.reference_rows import title_gradient as title_gradient
from twotower.model.reference_rows import user_gradient as user_gradient
from twotower.model.reference_variants import Terms as Terms
from twotower.model.reference_variants import correlation_penalty as correlation_penalty
from twotower.model.reference_variants import group_moments as group_moments
from twotower.model.reference_variants import group_sums as group_sums
from twotower.model.reference_variants import softmax as softmax
from twotower.model.reference_variants import softmax_backward as softmax_backward
from twotower.model.reference_variants import stitch as stitch
from twotower.model.reference_variants import stitch_backward as stitch_backward
from twotower.model.reference_variants import weights_of_group_means as weights_of_group_means

Arrays = Mapping[str, np.ndarray]


def dense(X, W):
    """Dense layer without bias, (R,F) by (F,D): batch-norm follows and would cancel the bias."""
    return X @ W  # (R, D)


def dense_backward(dZ, X, W):
    """Gradients of ``dense`` for its weights and its input."""
    # forward: Z = X W   so: dW = Xᵀ dZ, dX = dZ Wᵀ
    return X.T @ dZ, dZ @ W.T  # (F, D), (R, F)


def moments(Z, counts):
    """Mean of each column, and the sum of its squared deviations, each row counted ``counts`` times.

    Without the counts a repeated user would count once, which is a different model.
    """
    mean = counts @ Z / counts.sum()  # (D,) μ = Σᵢ zᵢ / B, each row as often as it occurs
    return mean, counts @ (Z - mean) ** 2  # (D,), (D,)


def batchnorm_relu(Z, mean, rstd, gamma, beta, floor):
    """Batch normalisation (Ioffe & Szegedy 2015) and ReLU: ``rstd`` is 1/√(variance + eps)."""
    return np.maximum(gamma * (Z - mean) * rstd + beta, floor)  # (R, D)


def relu_backward(dA, A, Z, mean, rstd, floor):
    """Gradient before the ReLU, and those of gamma and beta, which are its sums over the rows."""
    # forward: A = max(Y, floor), Y = gamma·Ẑ + beta   so: dY = dA where A > floor, dgamma = Σ dY·Ẑ, dbeta = Σ dY
    dY = np.where(floor < A, dA, 0).astype(dA.dtype)  # (R, D) dY = dA where A > floor, else 0
    return dY, (dY * ((Z - mean) * rstd)).sum(0), dY.sum(0)  # (R, D), (D,), (D,)


def batchnorm_backward(dY, Z, counts, mean, rstd, gamma, dgamma, dbeta, B):
    """Gradient of ``batchnorm_relu`` for Z, through the batch's own mean and variance.

    ``dY`` is already summed over the duplicates of a row; the row occurs ``counts`` times among the ``B`` pairs.
    """
    # forward: Ẑ = (Z − mean)·rstd, and each of a row's c copies moved the mean and the variance
    # so:      dZ = gamma·rstd·(dY − c·Σ dY/B − c·Ẑ·Σ(dY·Ẑ)/B)
    Z_hat = (Z - mean) * rstd  # Ẑ = (Z − μ) ρ
    return gamma * rstd * (dY - counts[:, None] * (dbeta + Z_hat * dgamma) / B)  # (R, D)


def head_output(U, A, b, residual, floor):
    """Finish a head: add its bias and, for residual heads, the tower's own output."""
    return np.maximum(U + residual * A + b, floor)  # (n, D)


def head_output_backward(dU, U, floor):
    """Gradient before the head's last ReLU, in place of ``dU``."""
    return np.where(floor < U, dU, 0).astype(dU.dtype)  # (n, D)


def binary_cross_entropy(z, y, B):
    """Loss of each logit, and the gradient of their sum over ``B``, without overflow for any logit."""
    # ℓ = max(z, 0) − z y + log(1 + e^−|z|)
    loss = np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))
    return loss, (sigmoid(z) - y) / B  # (n,), (n,)


def adam(P, M, V, G, lr, beta1, beta2, eps, t):
    """One step of Adam, Algorithm 1 of Kingma & Ba 2015: bias-corrected, eps added outside the root.

    ``t`` counts this block's own updates from 1: a head whose group is absent is not updated and does not count.
    """
    M = beta1 * M + (1 - beta1) * G  # m ← β₁ m + (1 − β₁) g
    V = beta2 * V + (1 - beta2) * G * G  # v ← β₂ v + (1 − β₂) g²
    M_hat, V_hat = M / (1 - beta1**t), V / (1 - beta2**t)  # m̂ = m / (1 − β₁ᵗ); v̂ = v / (1 − β₂ᵗ)
    P = P - lr * M_hat / (np.sqrt(V_hat) + eps)  # θ ← θ − lr m̂ / (√v̂ + ε)
    return P, M, V


def decay(P, lr, rate):
    """Decoupled weight decay, before the step of Adam (AdamW, Algorithm 2 of Loshchilov & Hutter 2019)."""
    return P - lr * rate * P


def sigmoid(z):
    """1/(1 + e^−z), written so that neither tail overflows."""
    e = np.exp(-np.abs(z))  # e^−|z|, which cannot overflow
    p = np.where(z >= 0, 1 / (1 + e), e / (1 + e)).astype(z.dtype)  # p = 1 / (1 + e^−z)
    return p


def score(p, s, c, k, U, V, batch, mine, model):
    """Dot products and logits of the pairs ``mine`` under head k, whose output for them is U: (n,), (n,).

    z = s·<U, V> + c + <X, C_k> + <X, C_r> + <m, w + d_k> with the title's features X, group k, the pair's territory r
    and its memory terms m; what a model does not have is left out.
    """
    dots = (U * V[mine]).sum(1)  # ⟨Uᵢ, Vᵢ⟩ = Σ over the D columns
    z = s * dots + c  # z = s ⟨U, V⟩ + c
    if model.title_bias:
        z = z + batch.title_features[mine] @ p["title_bias.C"][k]  # z ← z + ⟨Xₜ, Cₖ⟩, Xₜ the title's features
    if model.title_bias and model.territory_bias:
        z = z + (batch.title_features[mine] * p["territory.C"][batch.territory[mine]]).sum(1)  # z ← z + ⟨Xₜ, Cᵣ⟩
    if model.memory:
        z = memory_score(z, batch.memory[mine], *memory_weights(p, k))  # z ← z + ⟨m, w⟩ + ⟨h, v⟩
    return dots, z


def memory_score(z, m, w, A, v):
    """z (n,) + <m, w> + <h, v> with h = relu(m A + a), of the memory terms m (n,F) of pairs; a is the last row of A."""
    return z + m @ w + np.maximum(m @ A[:-1] + A[-1], 0) @ v


def memory_score_backward(dz, m, A, v):
    """Gradients of ``memory_score`` for w, A and v."""
    # forward: h = relu(Y), Y = m A + a   so: dw = mᵀ dz, dv = hᵀ dz, dY = dz vᵀ where Y > 0, dA = mᵀ dY, da = Σ dY
    Y = m @ A[:-1] + A[-1]  # Y = m A + a
    dY = np.where(Y > 0, np.outer(dz, v), 0).astype(dz.dtype)  # dY = dz vᵀ where Y > 0, else 0
    return m.T @ dz, np.vstack([m.T @ dY, dY.sum(0)]), np.maximum(Y, 0).T @ dz


def memory_weights(p, k):
    """w + d_k (F,), A (F+1,H) and v + e_k (H,) of group k; without units H is 0, and a single group adds nothing."""
    w, v = p["memory.w"], p.get("memory.v", np.zeros(0))
    if "memory.d" in p:
        w, v = w + p["memory.d"][k], v + p.get("memory.e", np.zeros((k + 1, 0)))[k]  # w + dₖ; v + eₖ
    return w, p.get("memory.A", np.zeros((len(w) + 1, 0))), v


def masked_logits(p, A, V, batch, model):
    """The logit of every pair under the head of its own group, from the towers' outputs A and V (B,D)."""
    z, s, c = np.zeros(len(A)), p["logit.scale"][0], p["logit.bias"][0]
    for k in range(model.groups):
        mine = batch.group == k
        territory = batch.territory[mine] if len(batch.territory) else None
        U = head(p, k, A[mine], model, territory)
        if model.territory_bias:
            U = U + p["territory.b"][territory]
        z[mine] = score(p, s, c, k, U, V, batch, mine, model)[1]
    return z  # (B,)


class TowerTape(NamedTuple):
    """What a tower's backward needs of its forward."""

    X: np.ndarray
    group: np.ndarray | None  # (B,) of each row, where each group has moments of its own
    pairs: Any  # behind a row's moments: B, or (B,1) of its group
    layers: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]]


def tower(
    p: Arrays, name: str, X: np.ndarray, floor: float, group: np.ndarray | None = None
) -> tuple[np.ndarray, TowerTape]:
    """Two dense layers, each with batch-norm and ReLU; ``floor`` belongs to the last.

    Batch-norm takes the moments of all rows or, with the ``group`` (B,) of each, those of the row's own group.
    """
    ones, A = np.ones(len(X), X.dtype), X
    pairs = len(X) if group is None else group_sums(ones[:, None], group)
    tape = TowerTape(X, group, pairs, [])
    for layer, layer_floor in (("1", 0.0), ("2", floor)):
        below = A
        Z = dense(below, p[f"{name}.W{layer}"])  # Z = X W, X the output of the layer below
        mean, squares = moments(Z, ones) if group is None else group_moments(Z, group, pairs)  # Σᵢ (zᵢ − μ)² = B σ²
        rstd = 1 / np.sqrt(squares / pairs + BATCHNORM_EPS)  # ρ = 1 / √(σ² + ε)
        # A = max(γ ρ (Z − μ) + β, floor); a linear layer has the floor −∞
        A = batchnorm_relu(Z, mean, rstd, p[f"{name}.gamma{layer}"], p[f"{name}.beta{layer}"], layer_floor)
        tape.layers.append((below, Z, mean, rstd, A, layer_floor))
    return A, tape


def tower_backward(p: Arrays, name: str, dA: np.ndarray, tape: TowerTape) -> dict[str, np.ndarray]:
    """Gradients of a tower's parameters: the forward list reversed."""
    grads: dict[str, np.ndarray] = {}
    ones = np.ones(len(tape.X), dA.dtype)
    for layer, (below, Z, mean, rstd, A, floor) in zip("21", reversed(tape.layers), strict=True):
        dY, dgamma, dbeta = relu_backward(dA, A, Z, mean, rstd, floor)  # dY; dγ = Σᵢ dyᵢ ẑᵢ; dβ = Σᵢ dyᵢ
        sums = dgamma, dbeta
        if tape.group is not None:  # gamma and beta are everybody's, but a row moved the moments of its group alone
            sums = group_sums(dY * ((Z - mean) * rstd), tape.group), group_sums(dY, tape.group)
        # dZ = γ ρ (dY − Σ dy / B − Ẑ Σ(dy ẑ) / B)
        dZ = batchnorm_backward(dY, Z, ones, mean, rstd, p[f"{name}.gamma{layer}"], *sums, tape.pairs)
        dW, dA = dense_backward(dZ, below, p[f"{name}.W{layer}"])  # dW = Xᵀ dZ; dA = dX = dZ Wᵀ
        grads |= {f"{name}.W{layer}": dW, f"{name}.gamma{layer}": dgamma, f"{name}.beta{layer}": dbeta}
    return grads


def head(p: Arrays, k: int, A: np.ndarray, model: ModelConfig, territory: Any = None) -> np.ndarray:
    """The user embedding under head ``k``; without heads the tower's output itself.

    ``territory`` is (n,), or None where it is not known: only a head with something per territory reads it.
    Cross-stitched heads are residual ones, with what ``stitch`` makes of all their layers in place of head.W.
    """
    if model.head == "none":
        return A
    if model.head == "mmoe":
        gate = np.repeat(softmax(A @ p["head.G"][k]), model.rank, axis=1)  # (n, E·r) g, in r columns an expert
        return head_output((gate * (A @ p["experts.P"])) @ p["experts.Q"], A, 0, 1, model.head_floor)
    if model.head == "market-gate":
        return head_output(A * p["territory.m"][territory], A, 0, 1, model.head_floor)
    if model.head == "lowrank":
        return head_output(A @ p["head.P"][k] @ p["head.Q"][k], A, 0, 1, model.head_floor)
    return head_output(A @ p["head.W"][k], A, p["head.b"][k], model.head != "plain", model.head_floor)


def head_backward(
    p: Arrays, k: int, dU: np.ndarray, U: np.ndarray, A: np.ndarray, model: ModelConfig,
    territory: Any = None,
) -> tuple[dict[str, np.ndarray], np.ndarray]:  # fmt: skip
    """Gradients of head ``k``'s parameters and of the tower's output, for the rows of group ``k``."""
    if model.head == "none":
        return {}, dU
    dU = head_output_backward(dU, U, model.head_floor)  # dU where U > floor, else 0
    if model.head == "mmoe":
        H, g = A @ p["experts.P"], softmax(A @ p["head.G"][k])  # H = A P; g = softmax(A Gₖ)
        gate = np.repeat(g, model.rank, axis=1)  # g, in r columns an expert
        dQ, dgated = dense_backward(dU, gate * H, p["experts.Q"])  # dQ = (g ⊗ H)ᵀ dU; S = dU Qᵀ
        dlogits = softmax_backward((dgated * H).reshape(-1, model.experts, model.rank).sum(2), g)  # dL = g(dg − Σ g dg)
        dP, dA = dense_backward(gate * dgated, A, p["experts.P"])  # dP = Aᵀ dH, dH = g ⊗ S; dA = dH Pᵀ
        dG, dA_gate = dense_backward(dlogits, A, p["head.G"][k])  # dG = Aᵀ dL; dA through the gate = dL Gₖᵀ
        return {"experts.P": dP, "experts.Q": dQ, "head.G": dG}, dU + dA + dA_gate
    if model.head == "market-gate":
        m, dm = p["territory.m"][territory], np.zeros_like(p["territory.m"])  # mᵣ of each pair
        np.add.at(dm, territory, dU * A)  # dmᵣ = Σᵢ dUᵢ ⊙ Aᵢ, over the rows of territory r
        return {"territory.m": dm}, dU * (1 + m)
    if model.head == "lowrank":
        P, Q = p["head.P"][k], p["head.Q"][k]
        dQ, dH = dense_backward(dU, A @ P, Q)  # dQ = (A P)ᵀ dU; dH = dU Qᵀ
        dP, dA = dense_backward(dH, A, P)  # dP = Aᵀ dH; dA = dH Pᵀ
        return {"head.P": dP, "head.Q": dQ}, dU + dA
    dW, dA = dense_backward(dU, A, p["head.W"][k])  # dW = Aᵀ dU; dA = dU Wᵀ
    return {"head.W": dW, "head.b": dU.sum(0)}, dA + (model.head != "plain") * dU


def loss_and_gradients(
    params: Arrays, batch: ExpandedBatch, model: ModelConfig, terms: Terms | None = None, *, masked: bool = True
) -> tuple[float, dict[str, np.ndarray]]:
    """Masked loss of a batch and its gradient for every parameter: what training means.

    The mask selects rows and never multiplies them (NaN·0 is NaN): head k's computation holds the rows of group k and
    no other, so that a foreign row cannot reach it. A group without rows has loss 0 and gradient exactly 0.
    With ``terms`` the gradients have one more name, ``group.log_variance`` (K,).

    ``masked=False`` takes the mask off, to see what it keeps out: every head sees all B rows, and the loss counts
    them under each of the K heads. (Not with a penalty, which wants one logit a pair.)
    """
    p, B = dict(params), len(batch.labels)
    if model.head == "cross-stitch":
        p["head.W"] = stitch(p["head.alpha"], p["stitch.W"])  # W̃ₖ = Σⱼ αₖⱼ Wⱼ
    of_group = batch.group if model.batchnorm == "group" else None
    A, user_tape = tower(p, "user", batch.user_features, model.tower_floor, of_group)
    V, title_tape = tower(p, "title", batch.title_features, model.output_floor)  # V = A of the title tower's layer 2
    s, c = p["logit.scale"][0], p["logit.bias"][0]  # s starts at 1 / √D; c at the log-odds of the positives' share

    grads = {name: np.zeros_like(value) for name, value in p.items()}
    dA, dV, loss = np.zeros_like(A), np.zeros_like(V), 0.0
    if terms is not None:
        weights, offsets = (np.broadcast_to(value, B) for value in terms[:2])
        log_variance, dz_penalty = np.zeros(model.groups) + terms.log_variances, np.zeros(B)
        grads["group.log_variance"] = np.zeros(model.groups)
        if terms.penalty:
            z = masked_logits(p, A, V, batch, model)
            loss, dz_penalty = correlation_penalty(z, batch.labels, terms.popularity, terms.penalty)
    for k in range(model.groups):
        mine = batch.group == k  # column k of the one-hot mask
        mine |= not masked  # the mask off: 1 for every pair
        territory = batch.territory[mine] if len(batch.territory) else None  # r, of each pair's user
        U = U_head = head(p, k, A[mine], model, territory)  # U = headₖ(A): the user embedding
        if model.territory_bias:
            U = U_head + p["territory.b"][territory]  # U ← U + bᵣ
        dots, z = score(p, s, c, k, U, V, batch, mine, model)
        z = z if terms is None else z + offsets[mine]
        losses, dz = binary_cross_entropy(z, batch.labels[mine], B)  # dz = (p − y) / B
        if terms is not None:
            weight, s_k = weights[mine] * np.exp(-log_variance[k]), log_variance[k]
            grads["group.log_variance"][k] = (0.5 - weight * losses).sum() / B
            losses, dz = weight * losses + s_k / 2, weight * dz + dz_penalty[mine]
        loss += losses.sum() / B  # L ← L + Σᵢ ℓᵢ / B

        grads["logit.scale"] += dz @ dots  # ds ← ds + Σᵢ dzᵢ ⟨Uᵢ, Vᵢ⟩
        grads["logit.bias"] += dz.sum()  # dc ← dc + Σᵢ dzᵢ
        if model.title_bias:
            grads["title_bias.C"][k] = dz @ batch.title_features[mine]  # dCₖ = Σᵢ dzᵢ Xₜ
        if model.memory:
            # dw = Σᵢ dzᵢ mᵢ; dA = mᵀ dY, below it Σ dY; dv = Σᵢ dzᵢ hᵢ
            dw, dA_memory, dv = memory_score_backward(dz, batch.memory[mine], *memory_weights(p, k)[1:])
            own = {"memory.d": dw, "memory.e": dv}
            for name, grad in {"memory.w": dw, "memory.A": dA_memory, "memory.v": dv}.items():
                if name in p:
                    grads[name] += grad  # of all groups: added up
            for name in own:
                if name in p:
                    grads[name][k] = own[name]  # of this group alone
        dV[mine] += s * dz[:, None] * U  # dVᵢ ← dVᵢ + s dzᵢ Uᵢ, in the rows with mask 1
        dU = s * dz[:, None] * V[mine]  # dUᵢ = s dzᵢ Vᵢ
        if model.territory_bias:
            np.add.at(grads["territory.b"], batch.territory[mine], dU)  # dbᵣ ← dbᵣ + Σᵢ dUᵢ
        if model.title_bias and model.territory_bias:
            # dCᵣ ← dCᵣ + Σᵢ dzᵢ Xₜ
            np.add.at(grads["territory.C"], batch.territory[mine], dz[:, None] * batch.title_features[mine])
        head_grads, dA_head = head_backward(p, k, dU, U_head, A[mine], model, territory)  # dA of the head
        dA[mine] += dA_head  # dA ← dA + dA of the head, in the rows with mask 1
        for name, grad in head_grads.items():
            if name.startswith("head."):
                grads[name][k] = grad  # of this head alone
            else:
                grads[name] += grad  # of all heads: added up

    grads |= tower_backward(p, "title", dV, title_tape)
    grads |= tower_backward(p, "user", dA, user_tape)
    if model.head == "cross-stitch":
        # dαₖⱼ = ⟨dW̃ₖ, Wⱼ⟩; dWⱼ = Σₖ αₖⱼ dW̃ₖ
        grads["head.alpha"], grads["stitch.W"] = stitch_backward(grads.pop("head.W"), p["head.alpha"], p["stitch.W"])
    if not model.learned_logit:
        grads["logit.scale"][:] = grads["logit.bias"][:] = 0
    return float(loss), grads

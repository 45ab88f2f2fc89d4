"""A formula for every step of the textbook, by function and array name.

One table, from the comments of ``model/reference.py`` and the sections of docs/explanation/maths.md. A step that it
lacks is an error, which a test checks for every kind of head, so that no line of the textbook stays unexplained.

Placeholders: ``{k}`` the group (``{n}`` in words), ``{l}`` the layer, ``{X}`` the output of the layer below, X or A₁.
"""

from typing import NamedTuple

from twotower.core.config import ModelConfig
from twotower.lab.trace.recorder import Observation

FORWARD, LOSS, BACKWARD, ADAM = STAGES = ("forward", "loss", "backward", "adam")
ALL, OWN = "all", "own"  # rows: all pairs of the batch, or those of the head
DIGITS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


class Formula(NamedTuple):
    """What a step computes, its place in the network, and its rows."""

    stage: str
    block: str  # empty: the current layer of a tower
    rows: str | None
    maths: str


def _a(block: str, rows: str | None, maths: str, stage: str = FORWARD) -> Formula:
    return Formula(stage, block, rows, maths)


def _back(block: str, rows: str | None, maths: str) -> Formula:
    return Formula(BACKWARD, block, rows, maths)


def _adam(maths: str) -> Formula:
    return Formula(ADAM, "adam", None, maths)


#: Parameters, by the last part of their name without the layer.
PARAMETERS = {
    "W": _a("", None, "W{l}: weights, without a bias, which batch-norm would cancel"),
    "gamma": _a("", None, "γ{l}: scale of each column after batch-norm"),
    "beta": _a("", None, "β{l}: shift of each column after batch-norm"),
    "head.W": _a("head", None, "W{k}: weights of head {n} alone"),
    "head.b": _a("head", None, "b{k}: bias of head {n} alone"),
    "head.P": _a("head", None, "P{k}: into the r columns of head {n} alone"),
    "head.Q": _a("head", None, "Q{k}: and out of them again"),
    "head.G": _a("head", None, "G{k}: gate of head {n} alone, a column an expert"),
    "head.alpha": _a("head", None, "α: weight of each W in each head"),
    "experts.P": _a("head", None, "P: into the experts, which all heads share"),
    "experts.Q": _a("head", None, "Q: and out of them again"),
    "stitch.W": _a("head", None, "W₀, W₁: one per group, mixed into every head"),
    "territory.m": _a("head", None, "m: a gate (a row) per territory; Ann, Bob and Cem live in 0, 1 and 2"),
    "title_bias.C": _a("score", None, "C{k}: effect of title features in group {n}"),
}

#: The product in U before bₖ is added, and the gradient dA of the head's input.
HEADS = {
    "plain": ("A W{k}", "dU W{k}ᵀ"),
    "residual": ("A W{k}", "dU W{k}ᵀ"),
    "cross-stitch": ("A W̃{k}", "dU W̃{k}ᵀ"),
    "lowrank": ("A P{k} Q{k}", "dH P{k}ᵀ"),
    "mmoe": ("(g ⊗ A P) Q", "dH Pᵀ"),
    "market-gate": ("A ⊙ m", "dU ⊙ (1 + m)"),
}

#: Function → name → formula. ``name | text`` is for lines that contain the text.
STEPS: dict[str, dict[str, Formula]] = {
    "tower": {
        "X": _a("", ALL, "X: features, one row per pair"),
        "Z": _a("", ALL, "Z{l} = {X} W{l}"),
        "squares": _a("", None, "Σᵢ (zᵢ − μ)² = B σ²"),
        "rstd": _a("", None, "ρ = 1 / √(σ² + ε)"),
        "A": _a("", ALL, "{A} = {relu}"),
    },
    "moments": {"mean": _a("", None, "μ = Σᵢ zᵢ / B, per column")},
    "loss_and_gradients": {
        'p["head.W"]': _a("head", None, "W̃ₖ = Σⱼ αₖⱼ Wⱼ"),
        "V": _a("title.2", ALL, "V = A₂ of the title tower: the title embedding"),
        "c": _a("score", None, "c: learned bias, starts at log(q / (1 − q)), q = share of positives"),
        "s": _a("score", None, "s: learned scale, starts at 1 / √D"),
        "mine": _a("head", ALL, "mᵢ{k} = 1 where pair i is of group {n}, else 0"),
        "mine | |=": _a("head", ALL, "mask off: mᵢ{k} = 1 for every pair"),
        "territory": _a("head", OWN, "r: the territory of each pair’s user"),
        "U": _a("head", OWN, "U = {head}: the user embedding under head {n}"),
        "loss": _a("loss", None, "L ← L + Σᵢ ℓᵢ / B", LOSS),
        "dz": _a("loss", OWN, "dz = (p − y) / B", LOSS),
        'grads["logit.scale"]': _back("score", None, "ds ← ds + Σᵢ dzᵢ ⟨Uᵢ, Vᵢ⟩"),
        'grads["logit.bias"]': _back("score", None, "dc ← dc + Σᵢ dzᵢ"),
        'grads["title_bias.C"]': _back("score", None, "dC{k} = Σᵢ dzᵢ Xₜ"),
        "dV": _back("score", ALL, "dVᵢ ← dVᵢ + s dzᵢ Uᵢ, in the rows with mask 1"),
        "dU": _back("score", OWN, "dUᵢ = s dzᵢ Vᵢ"),
        'head_grads["head.b"]': _back("head", None, "db{k} = Σᵢ dUᵢ"),
        "dA_head": _back("head", OWN, "dA = {dA}"),
        "dA": _back("head", ALL, "dAᵢ ← dAᵢ + dA of head {n}, in the rows with mask 1"),
        'grads["head.W"]': _back("head", None, "dW{k} is stored with those of all heads"),
        'grads["head.b"]': _back("head", None, "db{k} is stored with those of all heads"),
        'grads["head.P"]': _back("head", None, "dP{k} is stored with those of all heads"),
        'grads["head.Q"]': _back("head", None, "dQ{k} is stored with those of all heads"),
        'grads["head.G"]': _back("head", None, "dG{k} is stored with those of all heads"),
        'grads["experts.P"]': _back("head", None, "dP ← dP + dP of head {n}: all heads update the experts"),
        'grads["experts.Q"]': _back("head", None, "dQ ← dQ + dQ of head {n}: all heads update the experts"),
        'grads["territory.m"]': _back("head", None, "dm ← dm + dm of head {n}"),
        'grads["head.alpha"]': _back("head", None, "dαₖⱼ = ⟨dW̃ₖ, Wⱼ⟩"),
        'grads["stitch.W"]': _back("head", None, "dWⱼ = Σₖ αₖⱼ dW̃ₖ: all heads update it"),
    },
    "score": {
        "dots": _a("score", OWN, "⟨Uᵢ, Vᵢ⟩ = Σ over the D columns"),
        "z": _a("score", OWN, "z = s ⟨U, V⟩ + c"),
        "z | title_bias": _a("score", OWN, "z ← z + ⟨Xₜ, C{k}⟩, Xₜ the title’s features"),
    },
    "head": {
        "A": _a("head", OWN, "A = the rows of A₂ with mask 1"),
        "gate": _a("head", OWN, "g, repeated for the r columns of each expert"),
    },
    "head_output": {"U": _a("head", OWN, "{AW}")},
    "softmax": {
        "L": _a("head", OWN, "L = A G{k}: logits of the gate"),
        "e": _a("head", OWN, "e = exp(L − max L); g = e / Σ e"),
    },
    "binary_cross_entropy": {
        "y": _a("loss", OWN, "y: labels, 1 = streamed, 0 = a negative", LOSS),
        "loss": _a("loss", OWN, "ℓ = max(z, 0) − z y + log(1 + e^−|z|)", LOSS),
    },
    "sigmoid": {
        "e": _a("loss", OWN, "e^−|z|, which cannot overflow", LOSS),
        "p": _a("loss", OWN, "p = 1 / (1 + e^−z)", LOSS),
    },
    "head_backward": {
        "dU": _back("head", OWN, "{dY_head}"),
        "dW": _back("head", None, "dW{k} = Aᵀ dU"),
        "dA": _back("head", OWN, "dA = {dA_dense}"),
        "dQ": _back("head", None, "dQ{k} = (A P{k})ᵀ dU"),
        "dQ | gate": _back("head", None, "dQ = (g ⊗ H)ᵀ dU"),
        "dH": _back("head", OWN, "dH = dU Q{k}ᵀ"),
        "dm": _back("head", None, "dm_r = Σᵢ dUᵢ ⊙ Aᵢ, over the rows of territory r"),
        "dP": _back("head", None, "dP{k} = Aᵀ dH"),
        "dP | gate": _back("head", None, "dP = Aᵀ dH"),
        "H": _back("head", OWN, "H = A P"),
        "g": _back("head", OWN, "g = softmax(A G{k})"),
        "gate": _back("head", OWN, "g, repeated for the r columns of each expert"),
        "dgated": _back("head", OWN, "S = dU Qᵀ"),
        "dlogits": _back("head", OWN, "dL_f = g_f (dg_f − Σₑ gₑ dgₑ)"),
        "dG": _back("head", None, "dG{k} = Aᵀ dL"),
        "dA_gate": _back("head", OWN, "dA through the gate = dL G{k}ᵀ"),
    },
    "softmax_backward": {"dg": _back("head", OWN, "dgₑ = Σ H S, over the columns of expert e")},
    "dense_backward": {
        "X": _back("head", OWN, "H = A P{k}"),
        "X | gate": _back("head", OWN, "g ⊗ H"),
        "dZ": _back("head", OWN, "dH = g ⊗ S"),
    },
    "relu_backward": {"dY": _back("", ALL, "{dY}")},
    "tower_backward": {
        "dgamma": _back("", None, "dγ{l} = Σᵢ dyᵢ ẑᵢ"),
        "dbeta": _back("", None, "dβ{l} = Σᵢ dyᵢ"),
        "dZ": _back("", ALL, "dZ{l} = γ ρ (dY − Σ dy / B − Ẑ Σ(dy ẑ) / B)"),
        "dW": _back("", None, "dW{l} = {X}ᵀ dZ{l}"),
        "dA": _back("", ALL, "d{X} = dZ{l} W{l}ᵀ"),
    },
    "batchnorm_backward": {"Z_hat": _back("", ALL, "Ẑ{l} = (Z{l} − μ) ρ")},
    "adam": {
        "P": _adam("θ before the step"),
        "P | return": _adam("θ ← θ − lr m̂ / (√v̂ + ε)"),
        "G": _adam("g: the gradient"),
        "M": _adam("m ← β₁ m + (1 − β₁) g"),
        "V": _adam("v ← β₂ v + (1 − β₂) g²"),
        "M_hat": _adam("m̂ = m / (1 − β₁ᵗ), t = 1"),
        "V_hat": _adam("v̂ = v / (1 − β₂ᵗ), t = 1"),
    },
}


def formula(step: Observation, model: ModelConfig) -> Formula:
    """The formula of a step, with its placeholders filled. Errors: KeyError for a step without a formula."""
    result = _parameter(step) or _step(step)
    if step.backward:
        result = result._replace(stage=BACKWARD)
    maths = result.maths.format(**_placeholders(step, model))
    return result._replace(block=result.block or str(step.layer), maths=maths)


def _parameter(step: Observation) -> Formula | None:
    """The formula of a parameter, such as user.W1 or head.W[0]."""
    room, _, name = step.name.partition("[")[0].partition(".")
    if room in ("user", "title"):
        return PARAMETERS[name[:-1]]
    return PARAMETERS.get(f"{room}.{name}")


def _step(step: Observation) -> Formula:
    """The formula of a local array."""
    end = step.name.rfind("[") if step.name.endswith(tuple(f"[{k}]" for k in range(10))) else len(step.name)
    table, name = STEPS[step.function], step.name[:end]
    for key, result in table.items():
        base, _, text = key.partition(" | ")
        if text and base == name and text in step.source:
            return result
    return table[name]


def _placeholders(step: Observation, model: ModelConfig) -> dict[str, str]:
    """The values of a formula's placeholders."""
    k = "" if step.group is None else str(step.group).translate(DIGITS)
    tower, _, layer = (step.layer or "user.2").partition(".")
    last = model.tower_floor if tower == "user" else model.output_floor
    relu = layer == "1" or last == 0
    index = layer.translate(DIGITS)
    Y = f"γ ρ (Z{index} − μ) + β"
    AW, dA = (part.format(k=k) for part in HEADS.get(model.head, ("", "")))
    added = "" if model.head == "plain" else "A + "
    bias = f" + b{k}" if model.head in ("plain", "residual", "cross-stitch") else ""
    around = {"plain": "", "market-gate": "", "mmoe": " + dU + dL Gᵀ"}.get(model.head, " + dU")
    unchanged = "dA, for the layer is linear"
    return {
        "k": k,
        "n": str(step.group),
        "l": index,
        "X": "X" if layer == "1" else "A₁",
        "A": f"A{index}",
        "relu": f"max({Y}, 0)" if relu else f"{Y}, linear",
        "dY": "dY = " + (f"dA{index} where A{index} > 0, else 0" if relu else unchanged),
        "dY_head": "dU where U > 0, else 0" if model.head_floor == 0 else "dU, for the head is linear",
        "AW": AW,
        "dA_dense": dA,
        "head": f"{added}{AW}{bias}",
        "dA": f"{dA}{around}",
    }

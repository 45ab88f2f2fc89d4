"""The logit of one user and one title under every head, split into its terms.

    z = s·<U, V> + c + <X, C_k> + s·<b_r, V> + <X, C_r> + offset_r + <m, w + d_k>     of group k and territory r
        └ s·<A, V> + s·<U − A, V>: the shared tower A, and what the head adds to it (where it only adds)

Under another head the user's features stay the same and the group changes. Terms that depend on a territory are then
those of the group's largest territory: the same person, living there. Batch-norm uses its running moments, as always in
scoring. Logits are those of `recommend`; their terms are computed separately, by the textbook in float64.

K groups, C territories, T titles, D hidden units; X (F_t,) the title's features.
"""

from dataclasses import dataclass

import numpy as np

from twotower.core.config import BATCHNORM_EPS
from twotower.core.errors import InputError
from twotower.core.progress import Progress, silent
from twotower.data.dataset import Dataset
from twotower.lab.explain.memory_part import Recalled
from twotower.model import reference
from twotower.model.retrieval import Retrieval, Users
from twotower.model.score import logits
from twotower.model.two_tower import TwoTower


@dataclass(frozen=True, eq=False)
class HeadScores:
    """One user under every head, and the logits of all titles."""

    units: np.ndarray  # (K, D) float64: s·U·V of the title
    terms: list[dict[str, float]]  # of its logit under each head
    logits: np.ndarray  # (K, T) float32, as in scoring


def head_scores(
    model: TwoTower, dataset: Dataset, row: int, t: int, assumed: np.ndarray, territory_group: np.ndarray,
    progress: Progress = silent, recalled: Recalled | None = None,
) -> HeadScores:  # fmt: skip
    """Score a user under every head, living in the territory ``assumed`` (K,) for each.

    Errors: InputError where a score is not finite.
    """
    titles, K = Retrieval(model, dataset.title_vectors, progress), model.config.groups
    users = Users(dataset.user_vectors, np.full(K, row), np.arange(K), np.asarray(assumed))
    offset = titles.territory_bias(territory_group)
    if model.title_offsets is not None:
        offset = offset + model.title_offsets
    z = np.empty((K, dataset.n_titles), np.float32)

    def keep(who: np.ndarray, first: int, dots: np.ndarray) -> None:
        logits(dots, model.params["logit.scale"][0], offset, assumed[who], first)
        z[who, first : first + dots.shape[1]] = dots

    titles.scan(users, keep, progress)
    if recalled is not None:
        z += recalled.logits(row, assumed)
    if not np.isfinite(z).all():
        raise InputError(f"{dataset.path}: scores of user row {row} are not finite; see: twotower doctor DIR")
    A, U, v = textbook_embeddings(model, dataset.user_vectors[row], dataset.title_vectors[t], assumed)
    x = np.asarray(dataset.title_vectors[t], np.float64)
    terms = [terms_of(model, k, int(assumed[k]), t, A[k], U[k], v, x) for k in range(K)]
    if recalled is not None:
        for k, of_head in enumerate(terms):
            of_head["memory"] = recalled.of_pair(row, t, int(assumed[k]), k).total
    return HeadScores(float(model.params["logit.scale"][0]) * U * v, terms, z)


def textbook_embeddings(
    model: TwoTower, user: np.ndarray, title: np.ndarray, territory: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A and U of a user under every head, (K, D) each, and V (D,) of a title, by the textbook in float64.

    ``user`` (F_u,) and ``title`` (F_t,) are features, ``territory`` (K,) where the user is assumed to live.
    """
    p, config = {name: value.astype(np.float64) for name, value in model.params.items()}, model.config
    if config.head == "cross-stitch":
        p["head.W"] = reference.stitch(p["head.alpha"], p["stitch.W"])

    def in_inference(tower: str, X: np.ndarray, k: int, floor: float) -> np.ndarray:
        A = np.asarray(X, np.float64)[None]
        for layer, layer_floor in (("1", 0.0), ("2", floor)):
            moments = (np.atleast_2d(model.running[f"{tower}.{name}{layer}"]) for name in ("mean", "var"))
            mean, var = (of_all[k % len(of_all)].astype(np.float64) for of_all in moments)  # one row, or one a group
            rstd, gamma, beta = 1 / np.sqrt(var + BATCHNORM_EPS), p[f"{tower}.gamma{layer}"], p[f"{tower}.beta{layer}"]
            Z = reference.dense(A, p[f"{tower}.W{layer}"])
            A = reference.batchnorm_relu(Z, mean, rstd, gamma, beta, layer_floor)
        return A

    A = [in_inference("user", user, k, config.tower_floor) for k in range(config.groups)]
    U = [reference.head(p, k, A_k, config, territory[k : k + 1]) for k, A_k in enumerate(A)]
    return np.concatenate(A), np.concatenate(U), in_inference("title", title, 0, config.output_floor)[0]


def terms_of(
    model: TwoTower, k: int, territory: int, t: int, a: np.ndarray, u: np.ndarray, v: np.ndarray, x: np.ndarray
) -> dict[str, float]:
    """The terms of a logit by name, which add up to it; only those that the model has.

    ``tower`` and ``head`` replace ``dot``, their sum, where the head adds to the tower's output.
    """
    params, s = model.params, float(model.params["logit.scale"][0])
    adds = model.config.head not in ("none", "plain") and model.config.output == "linear"
    terms = {"tower": s * (a @ v), "head": s * ((u - a) @ v)} if adds else {"dot": s * (u @ v)}
    if model.config.learned_logit:
        terms["c"] = params["logit.bias"][0]
    if model.config.title_bias:
        terms["title_bias"] = params["title_bias.C"][k] @ x
    if model.config.territory_bias:
        terms["territory_dot"] = s * (params["territory.b"][territory] @ v)
        if "territory.C" in params:
            terms["territory_bias"] = params["territory.C"][territory] @ x
    if model.title_offsets is not None:
        terms["title_offset"] = model.title_offsets[territory, t]
    return {name: float(value) for name, value in terms.items()}


def assumed_territories(users: np.ndarray, territory_group: np.ndarray, home: int, own: int, groups: int) -> np.ndarray:
    """The territory that a user is assumed to live in under each head (K,): home, or the largest of another group.

    Home, too, where a newer dataset has no territory of the group.
    """
    if groups == 1:
        return np.array([home])
    largest = [int(np.where(territory_group == k, users, -1).argmax()) for k in range(groups)]
    return np.array([home if k == own or territory_group[c] != k else c for k, c in enumerate(largest)])

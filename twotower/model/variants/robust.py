"""Losses for the groups that fare worst: group DRO, and the conditional value at risk (CVaR)."""

import numpy as np

from twotower.model.parameters import Floats

STEP_SIZE = 0.01  # η of group DRO, as in its paper
WORST_SHARE = 0.5  # α of CVaR: the share of the groups in a batch that count


class GroupDRO:
    """Weights q (K,) of the groups' mean losses, L = Σ_k q_k·L_k, that follow the losses by exponentiated gradient.

    Online algorithm 1 of Sagawa et al. 2020: q_k ← q_k·exp(η·L_k), scaled to the sum 1. At first all are 1/K.
    """

    def __init__(self, groups: int):
        self.q = np.full(groups, 1 / groups)  # float64

    def update(self, by_group: list[float], pairs_by_group: list[int]) -> None:
        """One step, given what each group added to the loss, q_k·L_k; that of an absent group stays."""
        present = np.array(pairs_by_group) > 0
        ascent = np.where(present, STEP_SIZE * np.array(by_group) / self.q, 0)
        self.q *= np.exp(ascent)
        self.q /= self.q.sum()


def weights_of_pairs(share: Floats, pairs: np.ndarray) -> Floats:
    """Weight (K,) float32 of each group's pairs, so that a mean over all pairs is Σ_k share_k · mean over group k.

    ``share`` and ``pairs`` (K,): of a group without pairs it is 0.
    """
    return np.where(pairs > 0, share * pairs.sum() / np.maximum(pairs, 1), 0).astype(np.float32)


def worst_groups(losses: Floats, pairs: np.ndarray, share: float = WORST_SHARE) -> Floats:
    """1/m (K,) for the m groups with the largest mean losses, a ``share`` of those with pairs, and 0 for the others.

    L = Σ of these · losses is the mean of the worst groups, its CVaR (Rockafellar & Uryasev 2000).
    """
    present = np.flatnonzero(pairs)
    m = max(1, int(np.ceil(share * len(present))))
    worst = present[np.argsort(-losses[present], kind="stable")[:m]]
    weight = np.zeros(len(pairs))
    weight[worst] = 1 / m
    return weight

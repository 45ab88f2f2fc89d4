"""Groups of territories by what is watched there, instead of by location; and random groups, as a control.

A territory's profile is how its training positives differ from those of all territories:

    r_ct = log (n_ct + κ q_ct) / (n_c + κ) − log q_ct      profile_ct = √q_ct · (r_ct − Σ_t q_ct r_ct)

n_ct positives of title t in territory c, n_c all of c; q_ct the title's share of all positives among the titles that
are available in c, 0 for the others. κ shrinks the profiles of territories with few positives to 0, so that they
move no centre. √q weights titles as the variance of r does: rare titles count little.
"""

import numpy as np

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.data.territories import MAJORS, Territories, balanced_clusters

SHRINKAGE = 100.0  # κ: pseudo-positives with the shares of all territories


def viewing_profiles(positives: np.ndarray, availability: np.ndarray) -> np.ndarray:
    """Profiles (C, T), the longest of length 1, of counts of positives (C, T) and availability (T, C) bool."""
    n = np.asarray(positives, np.float64)
    available = np.asarray(availability, bool).T  # (C, T)
    share = n.sum(axis=0) / max(n.sum(), 1.0)  # (T,)
    expected = np.where(available, share, 0.0)
    expected /= np.maximum(expected.sum(axis=1, keepdims=True), 1e-300)
    smooth = (n + SHRINKAGE * expected) / (n.sum(axis=1, keepdims=True) + SHRINKAGE)
    known = (expected > 0) & (smooth > 0)
    profile = np.where(known, np.log(np.where(known, smooth, 1.0)) - np.log(np.where(known, expected, 1.0)), 0.0)
    profile = (profile - (profile * expected).sum(axis=1, keepdims=True)) * np.sqrt(expected)
    longest = np.linalg.norm(profile, axis=1).max(initial=0.0)
    return profile / longest if longest > 0 else profile


def viewing_groups(territories: Territories, positives: np.ndarray, availability: np.ndarray, k: int) -> np.ndarray:
    """Put territories into ``k`` groups of equal size with like profiles: (C,) int16, group 0 has the largest one.

    ``positives`` (C, T) count training positives, ``availability`` (T, C) is the dataset's. As in geographic groups,
    each group gets its fair share of major and of minor territories.

    Errors: InputError unless 1 ≤ k ≤ C.
    """
    order, is_major = _by_users(territories, k)
    group = balanced_clusters(viewing_profiles(positives, availability)[order], is_major, k)
    first_seen = list(dict.fromkeys(group.tolist()))
    result = np.empty(len(territories), np.int16)
    result[order] = [first_seen.index(g) for g in group.tolist()]
    return result


def random_groups(territories: Territories, k: int, rng: np.random.Generator) -> np.ndarray:
    """Put territories into ``k`` random groups, each with its fair share of majors and minors: (C,) int16.

    Errors: InputError unless 1 ≤ k ≤ C.
    """
    order, is_major = _by_users(territories, k)
    result = np.empty(len(territories), np.int16)
    for kind in (is_major, ~is_major):
        rows = rng.permutation(order[kind])
        result[rows] = np.arange(len(rows)) % k
    return result


def _by_users(territories: Territories, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of all territories, largest first, and which of them count as major: at most half, at least k."""
    n = len(territories)
    if not 1 <= k <= n:
        asked = f"{counted(k, 'group')} for {counted(n, 'territory', 'territories')}"
        raise InputError(f"{asked}: expected a number of groups from 1 to {n}")
    return territories.majors(n), np.arange(n) < max(k, min(MAJORS, n // 2))

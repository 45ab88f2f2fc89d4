"""Groups of territories, one head each: by geography, by what is watched there, at random, or from a file.

Each group gets its fair share of major and of minor territories. In viewing groups, a territory's profile is how its
training positives differ from those of all territories:

    r_ct = log (n_ct + κ q_ct) / (n_c + κ) − log q_ct      profile_ct = √q_ct · (r_ct − Σ_t q_ct r_ct)

n_ct positives of title t in territory c, n_c all of c; q_ct the title's share of all positives among the titles that
are available in c, 0 for the others. κ shrinks the profiles of territories with few positives to 0, so that they
move no centre. √q weights titles as the variance of r does: rare titles count little.
"""

from pathlib import Path

import numpy as np

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.data.small_tables import read_rows
from twotower.data.territories import MAJORS, UNGROUPED, Territories

STARTS = 16  # starting points of the clustering: the best of their local optima is kept
MAX_ROUNDS = 100  # assignments per start; each one lowers the cost, so this is never reached in practice
SHRINKAGE = 100.0  # κ: pseudo-positives with the shares of all territories


def geographic_groups(territories: Territories, k: int, majors: int = MAJORS) -> np.ndarray:
    """Put territories into ``k`` compact regions of the globe, each with its fair share of majors and minors.

    Balanced k-means on the unit sphere. With the centres fixed, the cheapest assignment that gives each group
    ⌊n/k⌋ or ⌈n/k⌉ of the n majors, and likewise of the minors, is a linear assignment problem, solved
    exactly. With the assignment fixed, the centre with the lowest cost Σ (1 − cos) is the mean direction. The
    two steps alternate until nothing changes, from several starts spread out by farthest-first traversal, and
    the cheapest end is kept. Territories without a place then go, largest first, to the group with the
    fewest users. Major are the ``majors`` territories with most users, at most half of all but at least k.

    Nothing is random and the order of the table does not matter: group 0 holds the largest territory, group 1
    the largest outside group 0, and so on.

    Returns (C,) int16. Errors: InputError unless 1 ≤ k ≤ C.
    """
    order, is_major = _by_users(territories, k, majors)  # from here on the order of the table is forgotten
    points = on_sphere(territories.latitude[order], territories.longitude[order])  # (C, 3)
    located = np.isfinite(points).all(axis=1)

    group = np.full(len(order), UNGROUPED, np.int16)  # (C,) largest first
    if located.any():
        group[located] = balanced_clusters(points[located], is_major[located], k)
    users = territories.users[order]
    for row in np.flatnonzero(~located):
        load = [(int(users[group == g].sum()), int((group == g).sum())) for g in range(k)]
        group[row] = load.index(min(load))
    return _renumbered(group, order)


def on_sphere(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Unit vectors (n, 3) of places in degrees."""
    phi, lam = np.radians(latitude), np.radians(longitude)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=1)


def balanced_clusters(points: np.ndarray, is_major: np.ndarray, k: int) -> np.ndarray:
    """The cheapest of some local optima of balanced k-means: points (n, 3), is_major (n,) → cluster (n,)."""
    best_cost, best = np.inf, np.zeros(len(points), np.int64)
    for start in range(min(STARTS, len(points))):
        centres = points[_spread_out(points, k, start)]  # (K, 3)
        cluster = np.full(len(points), -1)
        for _ in range(MAX_ROUNDS):
            cost = 1.0 - points @ centres.T  # (n, K)
            before, cluster = cluster, np.empty_like(cluster)
            for kind in (is_major, ~is_major):
                cluster[kind] = _fair_assignment(cost[kind])
            if np.array_equal(cluster, before):
                break
            centres = np.stack([_mean_direction(points[cluster == g], centres[g]) for g in range(k)])
        total = cost[np.arange(len(points)), cluster].sum()
        if total < best_cost - 1e-9:  # a difference of rounding must not decide: machines differ there
            best_cost, best = total, cluster
    return best


def _spread_out(points: np.ndarray, k: int, start: int) -> list[int]:
    """Farthest-first traversal: ``k`` rows, each the farthest from all those before it."""
    rows = [start]
    while len(rows) < k:
        nearest = (points @ points[rows].T).max(axis=1)  # cosine to the nearest row taken
        rows.append(int(np.argmin(nearest.round(12))))
    return rows


def _fair_assignment(cost: np.ndarray) -> np.ndarray:
    """Cheapest column for each row of cost (n, K), with ⌊n/K⌋ or ⌈n/K⌉ rows a column: (n,)."""
    from scipy.optimize import linear_sum_assignment  # here, because few need it and it is slow to import

    n, k = cost.shape
    must = n // k  # seats that every column has to fill; one more each is open to the n mod K rows left
    reward = 4.0 * n + 1.0  # more than all costs together (each is at most 2): no such seat stays empty
    seats = np.concatenate([np.tile(cost - reward, must), cost], axis=1)  # (n, K·must + K)
    _, seat = linear_sum_assignment(seats)
    return seat % k


def _mean_direction(points: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    total = points.sum(axis=0)
    length = np.linalg.norm(total)
    return total / length if length > 1e-9 else otherwise  # an empty or evenly scattered one points nowhere


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
    return _renumbered(balanced_clusters(viewing_profiles(positives, availability)[order], is_major, k), order)


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


def _by_users(territories: Territories, k: int, majors: int = MAJORS) -> tuple[np.ndarray, np.ndarray]:
    """Rows of all territories, largest first, and which of them count as major: at most half, at least k."""
    n = len(territories)
    if not 1 <= k <= n:
        asked = f"{counted(k, 'group')} for {counted(n, 'territory', 'territories')}"
        raise InputError(f"{asked}: expected --groups from 1 to {n}")
    return territories.majors(n), np.arange(n) < max(k, min(majors, n // 2))


def _renumbered(group: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Groups (C,) int16 of the table, of those in this order of its rows: 0 has the first, and so on."""
    first_seen = list(dict.fromkeys(group.tolist()))
    result = np.empty(len(order), np.int16)
    result[order] = [first_seen.index(g) for g in group.tolist()]
    return result


def grouping_from_file(path: str | Path, territories: Territories) -> np.ndarray:
    """Read groups from a CSV with the columns ``territory`` (code, name or alias) and ``group`` (0, …, K−1).

    Returns (C,) int16. Errors: InputError with file, line and what was expected, for a missing file or
    column, an unknown territory, one that is listed twice or not at all, and a group without territories.
    """
    group = np.full(len(territories), UNGROUPED, np.int16)
    for line, (name, number) in read_rows(Path(path), ("territory", "group")):
        try:
            row = territories.index(name)
        except InputError as error:
            raise InputError(f"{path} line {line}: {error}") from None
        if group[row] != UNGROUPED:
            raise InputError(f"{path} line {line}: territory {name!r} is listed twice, expected once")
        if not number.isdecimal() or int(number) >= len(territories):
            raise InputError(f"{path} line {line}: group {number!r}, expected a whole number 0, 1, …")
        group[row] = int(number)
    if (group == UNGROUPED).any():
        missing = [territories.code[row] for row in np.flatnonzero(group == UNGROUPED)]
        missing_rows = f"{counted(len(missing), 'territory', 'territories')} {'has' if len(missing) == 1 else 'have'}"
        raise InputError(f"{path}: {missing_rows} no line, the first is {missing[0]!r}")
    skipped = sorted(set(range(int(group.max()))) - set(group.tolist()))
    if skipped:
        raise InputError(f"{path}: group {skipped[0]} has no territory, expected all of 0 … {group.max()}")
    return group

"""Which titles are local to a territory and which are global, from training positives alone.

    n_ct     training positives of title t in territory c;  n_t = Σ_c n_ct,  n_c = Σ_t n_ct,  n = Σ_c n_c
    home     h = the territory with most positives of the title
    share    n_ht / n_t                       of its positives at home
    lift     (n_ht / n_t) / (n_h / n)         that share over the home's share of all positives
    reach    evaluated territories where the title has a positive

    local    n_t ≥ 10,  share ≥ 0.5  and  lift ≥ 3
    global   n_t ≥ 10,  reach ≥ half of the evaluated territories  and  lift < 2

A high share says that the title depends on one territory; a high lift, that this is not due to the territory's size.
Lift is the term of association rules (Brin et al. 1997, as "interest"), here of "is this title" and "is in its home
territory". Its largest value is n / n_h: a territory with more than a third of all positives has no local titles by
this rule, since there most positives of a title are in it by chance (``can_have_local``).

Names: C territories, T titles.
"""

from dataclasses import dataclass

import numpy as np

from twotower.core.errors import InputError
from twotower.metrics.averages import ratio
from twotower.metrics.checks import check_column, check_key
from twotower.metrics.results import ENOUGH_POSITIVES

MIN_POSITIVES = 10  # of a title in training; the share of fewer is chance
LOCAL_SHARE = 0.5  # least share of a local title's positives at home
LOCAL_LIFT = 3.0  # least lift of a local title
GLOBAL_REACH = 0.5  # least share of the evaluated territories where a global title has a positive
GLOBAL_LIFT = 2.0  # a global title's lift is below
NOWHERE = -1  # the home of a title without positives


@dataclass(frozen=True, eq=False)
class TitleLocality:
    """The home territory of each title, and how local the title is."""

    home_territory: np.ndarray  # (T,) int64 territory, NOWHERE without positives
    share: np.ndarray  # (T,) float64 of its positives at home, NaN without positives
    lift: np.ndarray  # (T,) float64, NaN without positives
    reach: np.ndarray  # (T,) int64 evaluated territories where it has a positive
    positives: np.ndarray  # (T,) int64 in all territories
    is_local: np.ndarray  # (T,) bool
    is_global: np.ndarray  # (T,) bool
    can_have_local: np.ndarray  # (C,) bool: holds positives, and at most 1 / LOCAL_LIFT of all

    @property
    def kind(self) -> list[str]:
        """ "local", "global" or "" of each title."""
        return np.select([self.is_local, self.is_global], ["local", "global"], "").tolist()

    @property
    def local(self) -> np.ndarray:
        """Which titles are local to which territory, (C, T) bool."""
        return self.is_local & (self.home_territory == np.arange(len(self.can_have_local))[:, None])


def count_positives(title: np.ndarray, territory: np.ndarray, n_titles: int, n_territories: int) -> np.ndarray:
    """Positives per territory and title (C, T) int64, from the title and the user's territory of each positive.

    Errors: InputError for a title or territory that does not exist.
    """
    title = check_key(title, n_titles, len(title), "titles")
    territory = check_key(territory, n_territories, len(title), "territories")
    key = territory.astype(np.int64) * n_titles + title
    return np.bincount(key, minlength=n_territories * n_titles).reshape(n_territories, n_titles)


def title_locality(positives: np.ndarray, users: np.ndarray, evaluated: np.ndarray | None = None) -> TitleLocality:
    """Home, share and lift of each title, and whether it is local or global, from training positives (C, T).

    Where several territories have most positives of a title, the one with the fewest ``users`` (C,) is its home,
    of equal ones the first. ``evaluated`` (C,) bool, by default the territories with at least ENOUGH_POSITIVES training
    positives, are those that reach is counted in: nothing reaches territories where next to nobody was seen.

    Errors: InputError when shapes do not fit or counts are negative.
    """
    positives = np.asarray(positives)
    if positives.ndim != 2 or positives.dtype.kind not in "iu" or (positives.size and positives.min() < 0):
        raise InputError(f"positives: {positives.dtype} {positives.shape}, expected counts, territories × titles")
    C, T = positives.shape
    by_territory, by_title = positives.sum(axis=1), positives.sum(axis=0)
    users = check_column("users", users, (C,))
    evaluated = (
        by_territory >= ENOUGH_POSITIVES if evaluated is None else check_column("evaluated", evaluated, (C,), "b")
    )

    if not positives.size:
        home = np.full(T, NOWHERE)
    else:
        smallest_first = np.argsort(users, kind="stable")
        home = np.where(by_title > 0, smallest_first[positives[smallest_first].argmax(axis=0)], NOWHERE)
    at_home = positives[home, np.arange(T)] if C else np.zeros(T, np.int64)
    share = ratio(at_home, by_title)
    # (n_ht / n_t) / (n_h / n) with one division, so that a lift of exactly 3 is 3
    expected = by_title * by_territory[home] if C else np.zeros(T, np.int64)
    lift = ratio(at_home * by_territory.sum(), np.where(by_title > 0, expected, 0))
    reach = np.count_nonzero(positives[evaluated] > 0, axis=0)

    enough = by_title >= MIN_POSITIVES
    return TitleLocality(
        home_territory=home.astype(np.int64),
        share=share,
        lift=lift,
        reach=reach,
        positives=by_title,
        is_local=enough & (share >= LOCAL_SHARE) & (lift >= LOCAL_LIFT),
        is_global=enough & (reach >= GLOBAL_REACH * evaluated.sum()) & (reach > 0) & (lift < GLOBAL_LIFT),
        can_have_local=(by_territory > 0) & (by_territory * LOCAL_LIFT <= by_territory.sum()),
    )

"""How far the countries of origin of recommended titles are from those of what a user watched.

    miscalibration = JS(p, q) = H((p + q) / 2) − (H(p) + H(q)) / 2, in bits: 0 where shares are equal, 1 without overlap

p are the shares of countries in a user's history, q those in the recommended list (calibrated recommendations: Steck
2018, there with KL; the Jensen–Shannon divergence of Lin 1991 is finite and symmetric). A title from several countries
counts in parts. Names: n users, T titles, O countries.
"""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from scipy.spatial.distance import jensenshannon

from twotower.metrics.averages import ratio
from twotower.metrics.checks import check_key
from twotower.metrics.recommended import RANKING_METRICS

MISCALIBRATION = "miscalibration"  # its name among the figures of users
FIGURES = {**RANKING_METRICS, MISCALIBRATION: "JS origin"}  # of recommended titles
SEPARATOR = "|"  # between several countries of a title


def origin_shares(labels: Sequence[str]) -> np.ndarray:
    """The share of each country in each title, (T, O) float64, from texts such as ``FR`` or ``FR|DE``; "": unknown."""
    parts = [[part for part in label.split(SEPARATOR) if part] for label in labels]
    country = {name: i for i, name in enumerate(sorted({name for of_title in parts for name in of_title}))}
    shares = np.zeros((len(labels), len(country)))
    for row, of_title in zip(shares, parts, strict=True):
        for name in of_title:
            row[country[name]] += 1 / len(of_title)
    return shares


def origin_profiles(user: np.ndarray, title: np.ndarray, n: int, shares: np.ndarray) -> np.ndarray:
    """Mean of ``shares`` (T, O) over the titles of each of n users (n, O); NaN for whom none has a known origin.

    Errors: InputError for a user or title that does not exist.
    """
    cells = check_key(user, n, len(title), "users"), check_key(title, len(shares), len(user), "titles")
    counts = sp.csr_array((np.ones(len(user)), cells), shape=(n, len(shares))) @ shares
    return ratio(counts, np.broadcast_to(counts.sum(axis=1, keepdims=True), counts.shape))


def miscalibration(top: np.ndarray, profiles: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """JS in bits between the ``profiles`` (n, O) of users and their lists ``top`` (n, k), (n,); NaN where undefined."""
    user, rank = np.nonzero(top >= 0)
    recommended = origin_profiles(user, top[user, rank], len(top), shares)
    return np.asarray(jensenshannon(profiles, recommended, base=2, axis=1) ** 2, np.float64)

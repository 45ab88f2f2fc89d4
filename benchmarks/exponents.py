"""How a cost grows: exponents as slopes in a log-log plot, one, or two with a bend between them.

cost ≈ factor · size^exponent is a straight line of log cost over log size. Two regimes are a broken line that
is continuous at its bend: log cost = a + b·x + c·max(0, x − bend), x = log size. For each bend on a fine grid the other
three are a linear least-squares problem, so the best is found by looking at all of them (Muggeo 2003 calls
this the segmented model). A bend is kept only if it matters and explains: slopes that differ by BEND or more, and
a root mean square residual that falls to at most half.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

BEND = 0.2  # least difference of two exponents
EXPLAINS = 0.5  # most that is left of the residual
GRID = 200  # candidate bends
SIDE = 2  # points that must lie on either side of a bend, at least


@dataclass(frozen=True)
class Growth:
    """cost ≈ factor · size^exponents[0], up to ``bend``, and on from there with exponents[1]."""

    factor: float
    exponents: tuple[float, ...]  # one or two
    bend: float | None  # a size; None: one regime
    residual: float  # largest deviation of a point, as a share of its cost

    def at(self, sizes: np.ndarray) -> np.ndarray:
        """The cost that is fitted."""
        cost = self.factor * np.asarray(sizes, float) ** self.exponents[0]
        if self.bend is None:
            return cost
        return cost * np.maximum(1, np.asarray(sizes, float) / self.bend) ** (self.exponents[1] - self.exponents[0])

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"exponents": list(self.exponents)}


def fit(sizes: list[float], costs: list[float]) -> Growth:
    """The exponents of costs over sizes; two where a bend explains the points much better.

    Errors: ValueError for fewer than two different sizes, and for sizes or costs that are not positive.
    """
    if len(sizes) != len(costs) or len(set(sizes)) < 2 or min(*sizes, *costs) <= 0:
        raise ValueError(f"sizes {sizes} and costs {costs}: expected two or more, all positive")
    x, y = np.log(sizes), np.log(costs)
    line, left = _solve(x, y, None)
    straight = _growth(line, None, x, y)
    if len(x) < 2 * SIDE + 1:
        return straight
    inner = np.sort(x)[SIDE - 1], np.sort(x)[-SIDE]
    tries = [(_solve(x, y, bend), bend) for bend in np.linspace(*inner, GRID)]
    (broken, left_broken), bend = min(tries, key=lambda found: found[0][1])
    if abs(broken[2]) < BEND or left_broken > EXPLAINS * left:
        return straight
    return _growth(broken, bend, x, y)


def _solve(x: np.ndarray, y: np.ndarray, bend: float | None) -> tuple[np.ndarray, float]:
    """Coefficients (a, b) or (a, b, c), and the root mean square residual."""
    A = _design(x, bend)
    coefficients = np.linalg.lstsq(A, y, rcond=None)[0]
    return coefficients, float(np.sqrt(np.mean((A @ coefficients - y) ** 2)))


def _design(x: np.ndarray, bend: float | None) -> np.ndarray:
    columns = [np.ones_like(x), x]
    return np.stack(columns if bend is None else [*columns, np.maximum(0, x - bend)], axis=1)


def _growth(coefficients: np.ndarray, bend: float | None, x: np.ndarray, y: np.ndarray) -> Growth:
    fitted = _design(x, bend) @ coefficients
    slopes = np.cumsum(coefficients[1:])
    return Growth(
        factor=float(np.exp(coefficients[0])),
        exponents=tuple(round(float(slope), 3) for slope in slopes),
        bend=None if bend is None else float(np.exp(bend)),
        residual=round(float(np.max(np.abs(np.exp(fitted - y) - 1))), 4),
    )

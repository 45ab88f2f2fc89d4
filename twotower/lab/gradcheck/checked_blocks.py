"""One block under test: which of its elements are looked at, and whether three gradients agree there."""

from typing import Any

import numpy as np

from twotower.lab.attribution.gradient_matrix import Block
from twotower.lab.gradcheck.finite_differences import Difference, Way

LARGEST, RANDOM = 1, 2  # elements of a block, beside the one where the engine is furthest off

#: Textbook against a difference: of the larger of the two, or along a direction of the gradient's norm, beside what
#: rounding may do to the difference. Both are float64; measured at D 512: 1e-7 along directions, 1e-8 of elements.
#: A gradient that is wrong by 0.1 % is wrong by a thousand times as much.
NUMERIC_TOLERANCE = 1e-6
#: Engine against textbook: of the block's largest number, or along a direction of the gradient's norm. Each is a sum of
#: some hundred products in float32, whose unit is 6e-8; measured at D 512: 4e-6.
ENGINE_TOLERANCE = 1e-4
#: The same for what is one sum over all pairs, s and c of the logit: of the sum of its terms' sizes. Terms of both
#: signs may cancel to nearly nothing, and leave float32's rounding of each.
TERMS_TOLERANCE = 1e-6


class CheckedBlock:
    """A block with its gradient by textbook and by engine, and the places where differences are taken."""

    def __init__(
        self, block: Block, places: np.ndarray, gradient: np.ndarray, engine: np.ndarray, rng: np.random.Generator,
        terms: float = 0.0,
    ):  # fmt: skip
        """``gradient`` is the textbook's, of the whole parameter, ``places`` (n,) where the block lies in it.

        ``engine`` (n,) is the engine's, of the block; ``terms`` the sizes of what it is the sum of, added up, if known.
        """
        self.block, self.places, self.shape, self.engine = block, places, gradient.shape, engine
        self.textbook = gradient.reshape(-1)[places]  # (n,)
        errors = np.nan_to_num(np.abs(self.engine - self.textbook), nan=np.inf)
        self.furthest = float(errors.max())
        self.largest = float(np.abs(self.textbook).max())
        self.scale = max(self.largest, TERMS_TOLERANCE / ENGINE_TOLERANCE * terms)
        by_size = np.argsort(-np.abs(self.textbook), kind="stable")
        chosen = {int(errors.argmax()): "furthest"}
        for n in by_size[: LARGEST + 1].tolist():
            if len(chosen) <= LARGEST:
                chosen.setdefault(n, "largest")
        for n in rng.integers(0, len(self.places), RANDOM).tolist():
            chosen.setdefault(n, "random")
        self.chosen = chosen
        self.norm = float(np.linalg.norm(self.textbook))
        self.along = rng.standard_normal(len(self.places))

    def ways(self) -> list[Way]:
        """What to take differences along: the elements, then a direction."""
        direction, name = np.zeros(self.shape), self.block.parameter
        direction.reshape(-1)[self.places] = self.along
        ways = [
            Way(name, self.index(n), float(self.textbook[n]), NUMERIC_TOLERANCE * abs(float(self.textbook[n])))
            for n in self.chosen
        ]
        return [*ways, Way(name, direction, float(self.textbook @ self.along), NUMERIC_TOLERANCE * self.norm)]

    def index(self, n: int) -> tuple[int, ...]:
        """Index into the parameter of the block's n-th number."""
        return tuple(int(i) for i in np.unravel_index(self.places[n], self.shape))

    def record(self, differences: list[Difference]) -> dict[str, Any]:
        """Three gradients side by side in each of the places, the worst first."""
        elements = [
            {"index": list(self.index(n)), "chosen": why}
            | compared(self.textbook[n], self.engine[n], difference, abs(self.textbook[n]), self.scale)
            for (n, why), difference in zip(self.chosen.items(), differences[:-1], strict=True)
        ]
        elements.sort(key=lambda element: -max(element["textbook_error"] or 0.0, element["engine_error"]))
        along = float(self.textbook @ self.along), float(self.engine @ self.along)
        direction = compared(*along, differences[-1], self.norm, max(self.norm, self.scale))
        return {
            "name": self.block.name,
            "parameter": self.block.parameter,
            "owner": self.block.owner,
            "part": self.block.part,
            "layer": self.block.layer,
            "shape": list(self.block.shape),
            "size": len(self.places),
            "norm": self.norm,
            "largest": self.largest,
            "furthest": self.furthest,
            "elements": elements,
            "direction": direction,
            "agrees": all(part["agrees"] for part in (*elements, direction)),
        }


def compared(
    textbook: float, engine: float, difference: Difference, numeric_scale: float, engine_scale: float
) -> dict[str, Any]:
    """One number by all three, and how far they are apart in units of what is tolerated.

    A difference between whose points a ReLU turns is no witness: its error is None, and it neither agrees nor not.
    """
    numeric = difference.value
    allowed = NUMERIC_TOLERANCE * max(numeric_scale, abs(numeric)) + difference.noise
    textbook_error = None if difference.turned else in_units(abs(textbook - numeric), allowed)
    engine_error = in_units(abs(engine - textbook), ENGINE_TOLERANCE * engine_scale)
    return {
        "textbook": float(textbook),
        "engine": float(engine),
        "numeric": numeric,
        "step": difference.step,
        "turned": difference.turned,
        "extrapolated": difference.extrapolated,
        "textbook_error": textbook_error,
        "engine_error": engine_error,
        "agrees": not max(textbook_error or 0.0, engine_error) > 1,
    }


def in_units(error: float, allowed: float) -> float:
    """Error over what is allowed; infinite for NaN, and for any error where none is allowed."""
    if error == 0:
        return 0.0
    return float(error / allowed) if allowed > 0 and error / allowed < np.inf else np.inf

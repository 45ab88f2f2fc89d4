"""One block under test: which of its elements are compared, and whether the three gradients agree there."""

import numpy as np

from twotower.lab.attribution.blocks import Block
from twotower.lab.gradcheck.finite_differences import Difference, Direction
from twotower.lab.gradcheck.record import BlockCheck, Comparison, ElementComparison

LARGEST, RANDOM = 1, 2  # elements of a block, beside the one where engine and textbook are furthest apart

#: Textbook against a difference: of the larger of the two, or along a direction of the gradient's norm, beside the
#: rounding of the difference. Both are float64; measured at D 512: 1e-7 along directions, 1e-8 of elements.
#: A gradient that is wrong by 0.1 % exceeds it a thousand times.
NUMERIC_TOLERANCE = 1e-6
#: Engine against textbook: of the block's largest element, or along a direction of the gradient's norm. Each is a sum
#: of some hundred products in float32, whose unit is 6e-8; measured at D 512: 4e-6.
ENGINE_TOLERANCE = 1e-4
#: The same for sums over all pairs, s and c of the logit: of the sum of the terms' sizes. Terms of both signs may
#: cancel to nearly nothing and leave float32's rounding of each.
TERMS_TOLERANCE = 1e-6


class CheckedBlock:
    """A block with its gradient by textbook and by engine, and the elements where differences are taken."""

    def __init__(
        self, block: Block, places: np.ndarray, gradient: np.ndarray, engine: np.ndarray, rng: np.random.Generator,
        terms: float = 0.0,
    ):  # fmt: skip
        """``gradient`` is the textbook's of the whole parameter, ``places`` (n,) are the block's positions in it.

        ``engine`` (n,) is the engine's gradient of the block; ``terms`` is the sum of the sizes of its terms, if known.
        """
        self.block, self.places, self.shape, self.engine = block, places, gradient.shape, engine
        self.textbook = gradient.reshape(-1)[places]  # (n,)
        errors = np.nan_to_num(np.abs(self.engine - self.textbook), nan=np.inf)
        self.furthest = float(errors.max())
        self.largest = float(np.abs(self.textbook).max())
        self.scale = max(self.largest, TERMS_TOLERANCE / ENGINE_TOLERANCE * terms)
        by_size = np.argsort(-np.abs(self.textbook), kind="stable")
        self.selected = {int(errors.argmax()): "furthest"}
        for n in by_size[: LARGEST + 1].tolist():
            if len(self.selected) <= LARGEST:
                self.selected.setdefault(n, "largest")
        for n in rng.integers(0, len(self.places), RANDOM).tolist():
            self.selected.setdefault(n, "random")
        self.norm = float(np.linalg.norm(self.textbook))
        self.along = rng.standard_normal(len(self.places))

    def directions(self) -> list[Direction]:
        """Directions of the differences: each selected element, then a random direction of the block."""
        direction, name = np.zeros(self.shape), self.block.parameter
        direction.reshape(-1)[self.places] = self.along
        elements = [
            Direction(name, self.index(n), float(self.textbook[n]), NUMERIC_TOLERANCE * abs(float(self.textbook[n])))
            for n in self.selected
        ]
        return [*elements, Direction(name, direction, float(self.textbook @ self.along), NUMERIC_TOLERANCE * self.norm)]

    def index(self, n: int) -> tuple[int, ...]:
        """Index into the parameter of the block's n-th element."""
        return tuple(int(i) for i in np.unravel_index(self.places[n], self.shape))

    def record(self, differences: list[Difference]) -> BlockCheck:
        """The three gradients side by side at each element, the worst first, and along the random direction."""
        elements: list[ElementComparison] = [
            {
                "index": list(self.index(n)),
                "selected": why,
                **compare(self.textbook[n], self.engine[n], difference, abs(self.textbook[n]), self.scale),
            }
            for (n, why), difference in zip(self.selected.items(), differences[:-1], strict=True)
        ]
        elements.sort(key=lambda element: -max(element["textbook_error"] or 0.0, element["engine_error"]))
        along = float(self.textbook @ self.along), float(self.engine @ self.along)
        direction = compare(*along, differences[-1], self.norm, max(self.norm, self.scale))
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
            "agrees": direction["agrees"] and all(element["agrees"] for element in elements),
        }


def compare(
    textbook: float, engine: float, difference: Difference, numeric_scale: float, engine_scale: float
) -> Comparison:
    """One derivative by all three. A difference across a kink of a ReLU proves nothing: its error is None."""
    numeric = difference.value
    allowed = NUMERIC_TOLERANCE * max(numeric_scale, abs(numeric)) + difference.noise
    textbook_error = None if difference.kinks else relative_to(abs(textbook - numeric), allowed)
    engine_error = relative_to(abs(engine - textbook), ENGINE_TOLERANCE * engine_scale)
    return {
        "textbook": float(textbook),
        "engine": float(engine),
        "numeric": numeric,
        "step": difference.step,
        "kinks": difference.kinks,
        "extrapolated": difference.extrapolated,
        "textbook_error": textbook_error,
        "engine_error": engine_error,
        "agrees": not max(textbook_error or 0.0, engine_error) > 1,
    }


def relative_to(error: float, allowed: float) -> float:
    """Error over what is allowed; infinite for NaN, and for any error where none is allowed."""
    if error == 0:
        return 0.0
    return float(error / allowed) if allowed > 0 and error / allowed < np.inf else np.inf

"""One block under test: which of its elements are compared, and whether the three gradients agree there."""

import numpy as np

from twotower.lab.attribution.blocks import Block
from twotower.lab.gradcheck.finite_differences import Difference, Direction
from twotower.lab.gradcheck.record import BlockCheck, Comparison

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
        self.largest = float(np.abs(self.textbook).max())
        self.scale = max(self.largest, TERMS_TOLERANCE / ENGINE_TOLERANCE * terms)
        by_size = np.argsort(-np.abs(self.textbook), kind="stable")
        self.selected = {int(errors.argmax()): "furthest"}
        for n in by_size[: LARGEST + 1].tolist():
            if len(self.selected) <= LARGEST:
                self.selected.setdefault(n, "largest")
        for n in rng.integers(0, len(places), RANDOM).tolist():
            self.selected.setdefault(n, "random")
        self.norm = float(np.linalg.norm(self.textbook))
        self.along = rng.standard_normal(len(places))

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
        elements = [
            compare(list(self.index(n)), why, self.textbook[n], self.engine[n], difference, abs(self.textbook[n]),
                    self.scale)
            for (n, why), difference in zip(self.selected.items(), differences[:-1], strict=True)
        ]  # fmt: skip
        along = float(self.textbook @ self.along), float(self.engine @ self.along)
        return BlockCheck(
            **self.block.identity(), size=len(self.places), norm=self.norm, largest=self.largest,
            elements=sorted(elements, key=lambda element: -element.worst),
            direction=compare(None, "direction", *along, differences[-1], self.norm, max(self.norm, self.scale)),
        )  # fmt: skip


def compare(
    index: list[int] | None, selected: str, textbook: float, engine: float, difference: Difference,
    numeric_scale: float, engine_scale: float,
) -> Comparison:  # fmt: skip
    """One derivative by all three. A difference across a kink of a ReLU proves nothing: its error is None."""
    allowed = NUMERIC_TOLERANCE * max(numeric_scale, abs(difference.value)) + difference.noise
    textbook_error = None if difference.kinks else relative_to(abs(textbook - difference.value), allowed)
    engine_error = relative_to(abs(engine - textbook), ENGINE_TOLERANCE * engine_scale)
    return Comparison(index, selected, float(textbook), float(engine), difference.value, difference.step,
                      difference.kinks, difference.extrapolated, textbook_error, engine_error)  # fmt: skip


def relative_to(error: float, allowed: float) -> float:
    """Error over what is allowed; infinite for NaN, and for any error where none is allowed."""
    if error == 0:
        return 0.0
    return float(error / allowed) if allowed > 0 and error / allowed < np.inf else np.inf

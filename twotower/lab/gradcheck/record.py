"""The record of a gradient check: what ``gradcheck --json`` prints and what its tables show."""

import math
from dataclasses import dataclass

from twotower.core.version import __version__
from twotower.lab.attribution.blocks import BlockName
from twotower.lab.subject import SubjectFacts


@dataclass
class Comparison:
    """One derivative by all three, with errors in units of what is tolerated."""

    index: list[int] | None  # of the element in the parameter; None: along a random direction of the block
    selected: str  # "furthest", "largest", "random" or "direction"
    textbook: float
    engine: float
    numeric: float
    step: float  # of the finite difference
    kinks: int  # ReLUs that switch between the two points of the difference; with any, it is no derivative
    extrapolated: bool
    textbook_error: float | None  # textbook against difference; None with kinks
    engine_error: float  # engine against textbook

    @property
    def worst(self) -> float:
        return max(self.textbook_error or 0.0, self.engine_error)


@dataclass(kw_only=True)
class BlockCheck(BlockName):
    """One block of parameters."""

    size: int
    norm: float  # of the textbook's gradient
    largest: float  # element of it
    elements: list[Comparison]  # worst first
    direction: Comparison
    agrees: bool = False

    def __post_init__(self) -> None:
        self.agrees = self.worst <= 1

    @property
    def comparisons(self) -> list[Comparison]:
        return [*self.elements, self.direction]

    @property
    def worst(self) -> float:
        """The largest error, in units of what is tolerated."""
        return max(math.inf if math.isnan(part.worst) else part.worst for part in self.comparisons)


@dataclass
class StepCheck:
    """One step of Adam: the worst weight of all, and whether absent groups kept theirs."""

    step: int
    absent: list[int]  # groups without pairs
    unchanged: bool  # their weights and moments, bit for bit
    block: str
    index: list[int]
    t: int  # updates of the block so far
    gradient: float
    textbook: float
    engine: float
    error: float  # in units of what is tolerated
    wrong: list[str]  # blocks
    agrees: bool


@dataclass
class LossCheck:
    """The loss of the batch."""

    textbook: float
    engine: float
    agrees: bool


@dataclass
class BatchFacts:
    """The batch of the check."""

    pairs: int
    users: int
    titles: int
    positives: int
    by_group: list[int]
    users_by_group: list[int]
    most_of_a_user: int
    most_of_a_title: int
    nearest_kink: float
    tries: int


@dataclass
class BugFacts:
    """A planted bug."""

    name: str
    sentence: str
    file: str
    function: str
    line: int
    right: str
    wrong: str
    maths: list[str]
    why: str


@dataclass(kw_only=True)
class GradcheckRecord:
    """The whole check."""

    subject: SubjectFacts
    groups: list[str]
    batch: BatchFacts
    bug: BugFacts | None
    loss: LossCheck
    blocks: list[BlockCheck]
    steps: list[StepCheck]
    agrees: bool
    kind: str = "gradcheck"
    format: int = 1
    twotower: str = __version__

"""The record of a gradient check: what ``gradcheck --json`` prints and what its tables show."""

from typing import TypedDict

from twotower.lab.subject import SubjectFacts


class Comparison(TypedDict):
    """One derivative by all three, with errors in units of what is tolerated."""

    textbook: float
    engine: float
    numeric: float
    step: float  # of the finite difference
    kinks: int  # ReLUs that switch between the two points of the difference; with any, it is no derivative
    extrapolated: bool
    textbook_error: float | None  # textbook against difference; None with kinks
    engine_error: float  # engine against textbook
    agrees: bool


class ElementComparison(Comparison):
    """A single element of a block."""

    index: list[int]  # in the parameter
    selected: str  # "furthest", "largest" or "random"


class BlockCheck(TypedDict):
    """One block of parameters."""

    name: str
    parameter: str
    owner: int | None
    part: str
    layer: int | None
    shape: list[int]
    size: int
    norm: float  # of the textbook's gradient
    largest: float  # element of it
    furthest: float  # largest difference of engine and textbook
    elements: list[ElementComparison]  # worst first
    direction: Comparison  # along a random direction of the block
    agrees: bool


class MaskCheck(TypedDict):
    """The largest element of the gradient of what a group owns."""

    group: int
    own: float  # from the whole batch
    others: float  # from the pairs of other groups, in the engine
    absent: float  # in a batch without the group, in the engine
    textbook: float  # in a batch without the group, in the textbook
    agrees: bool


class BlockStep(TypedDict, total=False):
    """Adam's step on one block; the last six keys only where the block is updated."""

    name: str
    owner: int | None
    present: bool
    unchanged: bool  # whatever is absent keeps its weights and moments bit for bit
    error: float  # in units of what is tolerated
    agrees: bool
    index: list[int]
    t: int  # updates of the block so far
    gradient: float
    textbook: float
    engine: float


class StepCheck(TypedDict):
    """One step of Adam."""

    step: int
    blocks: list[BlockStep]
    agrees: bool


class LossCheck(TypedDict):
    """The loss of the batch."""

    textbook: float
    engine: float
    agrees: bool


class BatchFacts(TypedDict):
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


class BugFacts(TypedDict):
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


class GradcheckRecord(TypedDict):
    """The whole check."""

    format: int
    kind: str
    twotower: str
    subject: SubjectFacts
    groups: list[str]
    batch: BatchFacts
    tolerances: dict[str, float]
    bug: BugFacts | None
    loss: LossCheck
    blocks: list[BlockCheck]
    masked: list[MaskCheck]
    steps: list[StepCheck]
    agrees: bool



"""The record of a traced training step: what ``trace --json`` prints and what its text and its page show."""

from typing import Any, TypedDict


class StepFacts(TypedDict):
    """An array as a line of the textbook left it."""

    number: int  # from 1
    stage: str  # "forward", "loss", "backward" or "adam"
    function: str
    block: str
    group: int | None
    source: str  # the line
    line: int
    maths: str
    name: str
    shape: list[int]
    values: Any  # nested lists
    rows: list[str] | None  # users, where rows are pairs of the batch
    pairs: list[int] | None  # which pairs
    note: str | None


class Step(StepFacts, total=False):
    """A step, and the parameter that it updates if it is Adam's."""

    parameter: str


class Run(TypedDict):
    """One training step, with or without the mask."""

    loss: float
    steps: list[Step]


class TraceLeak(TypedDict):
    """Norms for one block that a group owns."""

    parameter: str
    group: int
    own: float  # of its gradient
    others: float  # of what rows of other groups add to it without the mask
    flipped: float  # of its change when all labels of other groups are flipped, with the mask


class Entity(TypedDict, total=False):
    """A user or a title."""

    name: str
    group: int
    features: list[float]


class PairFacts(TypedDict):
    """A pair of the batch."""

    user: str
    title: str
    group: int
    label: int


class NetworkFacts(TypedDict):
    """The batch, the network and its optimiser."""

    users: list[Entity]
    titles: list[Entity]
    groups: list[str]
    pairs: list[PairFacts]
    model: dict[str, Any]
    train: dict[str, float]
    parameters: dict[str, Any]


class Trace(TypedDict):
    """The whole record."""

    format: int
    kind: str
    twotower: str
    seed: int
    group: int | None
    network: NetworkFacts
    runs: dict[str, Run]  # "on" and "off": with and without the mask
    leak: list[TraceLeak]

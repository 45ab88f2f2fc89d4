"""The record of the leak detector: what ``leaks --json`` prints and what its table shows."""

from typing import Literal, TypedDict

from twotower.lab.subject import SubjectFacts

Input = Literal["labels", "user features", "title features"]
LABELS: Input = "labels"
USERS: Input = "user features"
TITLES: Input = "title features"
INPUTS: tuple[Input, ...] = (LABELS, USERS, TITLES)


class Change(TypedDict):
    """How one gradient differs from another."""

    changed: int  # elements
    elements: int
    largest: float  # absolute; infinite where a number became NaN
    relative: float  # norm of the difference over the norm of the gradient before


class BlockChange(Change):
    """The change of one block."""

    block: str


class LeakRow(Change):
    """What perturbing one input of all other groups' rows changes in a group's gradient: the largest of all draws."""

    group: int
    input: Input
    perturbed: int  # pairs, users or titles
    blocks: list[BlockChange]
    parts: dict[str, float] | None  # relative change of the head, title bias and territory offsets
    through_moments: dict[str, float] | None  # relative change through the batch-norm moments of either tower alone
    direct: Change  # with all moments frozen through which this input may act
    nan: Change | None  # with NaN as the input
    verdict: Literal["none", "isolated", "batch-norm", "leak"]


class GroupPairs(TypedDict):
    """A group and its pairs in the batch."""

    name: str
    pairs: int


class LeakRecord(TypedDict):
    """All groups, all inputs."""

    format: int
    kind: str
    twotower: str
    subject: SubjectFacts
    model: str | None  # FILE.py:NAME of a user's model
    batchnorm: str | None
    shared: list[str]  # parameters of heads that all groups share by design
    draws: int
    groups: list[GroupPairs]
    rows: list[LeakRow]
    leaks: int
    notes: list[str]

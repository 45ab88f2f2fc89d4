"""The record of the leak detector: what ``leaks --json`` prints and what its table shows."""

from dataclasses import dataclass
from typing import Literal

from twotower.core.version import __version__
from twotower.lab.subject import SubjectFacts

Input = Literal["labels", "user features", "title features"]
LABELS: Input = "labels"
USERS: Input = "user features"
TITLES: Input = "title features"
INPUTS: tuple[Input, ...] = (LABELS, USERS, TITLES)


@dataclass
class Change:
    """How one gradient differs from another."""

    changed: int  # elements
    elements: int
    largest: float  # absolute; infinite where a number became NaN
    relative: float  # norm of the difference over the norm of the gradient before


@dataclass
class LeakRow:
    """What perturbing one input of all other groups' rows changes in a group's gradient."""

    group: int
    input: Input
    perturbed: int  # pairs, users or titles
    change: Change  # the largest of all draws
    blocks: dict[str, Change]
    direct: Change  # with all moments frozen through which this input may act
    nan: Change | None  # with NaN as the input
    verdict: Literal["none", "isolated", "batch-norm", "leak"]


@dataclass
class GroupPairs:
    """A group and its pairs in the batch."""

    name: str
    pairs: int


@dataclass(kw_only=True)
class LeakRecord:
    """All groups, all inputs."""

    subject: SubjectFacts
    model: str | None = None  # FILE.py:NAME of a user's model
    shared: list[str]  # parameters of heads that all groups share by design
    draws: int
    groups: list[GroupPairs]
    rows: list[LeakRow]
    leaks: int
    notes: list[str]
    kind: str = "leaks"
    format: int = 1
    twotower: str = __version__

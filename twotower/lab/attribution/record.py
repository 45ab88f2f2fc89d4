"""The record of an inspected batch: what ``inspect --json`` prints, and what its tables and its page show.

Undefined numbers are None. K groups; docs/reference/inspect.md explains each key.
"""

from typing import TypedDict

from twotower.lab.subject import SubjectFacts


class GroupFacts(TypedDict):
    """A group's rows in the batch."""

    name: str
    pairs: int
    users: int
    positives: int
    base_rate: float | None
    loss: float | None  # mean over the group's pairs


class BlockGradient(TypedDict):
    """A block of parameters and the norms of its gradient."""

    name: str
    parameter: str
    owner: int | None  # the group that owns the block; None: shared
    part: str
    layer: int | None
    shape: list[int]
    weight: float
    gradient: float | None
    by_group: list[float | None]  # K norms
    share: list[float | None]  # K, which sum to 1
    remainder: float | None
    unmasked: list[float | None] | None  # as by_group, without the mask
    update: float | None  # norm of Adam's next step
    ratio: float | None  # update / weight


class ConflictFacts(TypedDict):
    """How the groups' gradients of both towers relate."""

    cosine: list[list[float | None]]  # K × K
    norm: list[float | None]
    share: list[float | None]
    blocks: list[str]


class LeakNorms(TypedDict):
    """Gradient norms without the mask."""

    own: float | None
    others: float | None  # of the sum over all other groups' rows
    by_group: list[float | None]


class Leak(LeakNorms):
    """What a head would get without the mask."""

    head: int
    parts: dict[str, LeakNorms]


class DeadUnits(TypedDict):
    """Dead units of one layer."""

    layer: str  # "user.1", "user.2", "title.1", "title.2" or "head"
    units: int
    dead: int | None  # for all rows of the batch; None: no ReLU
    by_group: list[int | None] | None  # for all rows of each group; None for absent groups, and for titles


class PairFacts(TypedDict):
    """One pair of a user."""

    title: str
    label: int
    probability: float | None
    dz: float | None


class UserRow(TypedDict):
    """One user of the batch, and the norms of the row's gradient from the head down to the first layer."""

    user: str
    group: int
    territory: str
    pairs_in_batch: int
    pairs: list[PairFacts]
    gradient: dict[str, float | None]  # U, A2, Z2, Z1


class OptimiserFacts(TypedDict):
    """The optimiser before its next step."""

    steps: int
    fresh: bool
    learning_rate: float


class Inspection(TypedDict):
    """Everything about one batch."""

    format: int
    kind: str
    twotower: str
    subject: SubjectFacts
    loss: float | None
    optimiser: OptimiserFacts
    groups: list[GroupFacts]
    blocks: list[BlockGradient]
    conflict: ConflictFacts
    leak: list[Leak]
    dead: list[DeadUnits]
    rows_rule: str
    rows: list[UserRow]
    summary: list[str]

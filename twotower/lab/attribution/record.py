"""The record of an inspected batch: what ``inspect --json`` prints, and what its tables and its page show.

Undefined numbers are None. K groups; docs/reference/inspect.md explains each key.
"""

from dataclasses import dataclass

from twotower.core.formatting import minus, percent, significant
from twotower.core.version import __version__
from twotower.lab.attribution.blocks import BlockName
from twotower.lab.subject import SubjectFacts
from twotower.report.record_table import shown
from twotower.report.table import COUNT, TEXT, Kind, Tone, decimal


def quiet_zero(value: float | None) -> Tone:
    """The tone of a norm: an exact 0 is dimmed."""
    return "quiet" if value == 0 else ""


def times_text(ratio: float) -> str:
    """Two significant digits; a large ratio as a whole number."""
    return f"{ratio:#.2g}" if ratio < 9.95 else f"{ratio:,.0f}"


NUMBER = Kind(significant)
TIMES = Kind(lambda ratio: f"{times_text(ratio)} ×")
COSINE = Kind(lambda value: minus(f"{value:+.2f}"))


@dataclass
class GroupFacts:
    """A group's rows in the batch."""

    name: str = shown("group", TEXT)
    pairs: int = shown("pairs", COUNT)
    users: int = shown("users", COUNT)
    positives: int = shown("positives", COUNT)
    base_rate: float | None = shown("base rate", decimal(3))
    loss: float | None = shown("loss", NUMBER)  # mean over the group's pairs
    share: float | None = shown("of towers’ gradient", Kind(lambda share: percent(share, 0)))  # <g_k, g> / <g, g>


@dataclass(kw_only=True)
class BlockGradient(BlockName):
    """A block of parameters and the norms of its gradient."""

    weight: float
    gradient: float | None = shown("whole", NUMBER, quiet_zero)
    by_group: list[float | None] = shown("", NUMBER, across=True)  # K norms
    share: list[float | None]  # K, which sum to 1
    remainder: float | None  # norm of what the groups' parts leave of the gradient
    unmasked: list[float | None] | None  # as by_group, without the mask
    update: float | None  # norm of Adam's next step
    ratio: float | None  # update / weight


@dataclass
class Conflict:
    """How a group's gradient of both towers relates to the other groups'."""

    name: str = shown("group", TEXT)
    norm: float | None = shown("norm", NUMBER, quiet_zero)
    cosine: list[float | None] = shown("", COSINE, across=True)  # K; None: no gradient


@dataclass
class Leak:
    """Gradient norms of what a group owns in a part of the network, without the mask."""

    head: int
    part: str = shown("to", TEXT)
    own: float | None = shown("own", NUMBER, lambda _: "strong")
    others: float | None = shown("others", NUMBER, quiet_zero)  # of the sum over all other groups' rows
    ratio: float | None = shown("others / own", TIMES)
    by_group: list[float | None] = shown("", NUMBER, across=True)


@dataclass
class DeadUnits:
    """Dead units of one layer."""

    layer: str = shown("layer", TEXT)  # "user.1", "user.2", "title.1", "title.2" or "head"
    units: int = shown("units", COUNT)
    dead: int | None = shown("batch", COUNT)  # for all rows of the batch; None: no ReLU
    by_group: list[int | None] | None = shown("", COUNT, across=True)  # None for absent groups, and for titles


@dataclass
class OptimiserFacts:
    """The optimiser before its next step."""

    steps: int
    fresh: bool
    learning_rate: float


@dataclass(kw_only=True)
class Inspection:
    """Everything about one batch."""

    subject: SubjectFacts
    loss: float | None
    optimiser: OptimiserFacts
    groups: list[GroupFacts]
    blocks: list[BlockGradient]
    conflict: list[Conflict]
    leak: list[Leak]  # empty where groups own no parameters
    dead: list[DeadUnits]
    kind: str = "inspection"
    format: int = 1
    twotower: str = __version__
    summary: list[str]

    def named(self) -> str:
        return self.subject.name

    def sizes(self) -> list[str]:
        subject = self.subject
        counts = [f"{getattr(subject, name):,} {name}" for name in ("pairs", "users", "titles")]
        return ["trained" if subject.trained else "untrained", f"batch {subject.batch}", *counts]

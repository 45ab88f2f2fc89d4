"""The record of a traced training step: what ``trace --json`` prints and what its text and its page show."""

from dataclasses import dataclass

import numpy as np

from twotower.core.config import ModelConfig
from twotower.core.version import __version__
from twotower.lab.trace.numbers import number_text
from twotower.report.record_table import shown
from twotower.report.table import TEXT, Kind

NORM = Kind(number_text)


@dataclass
class Step:
    """An array as a line of the textbook left it."""

    stage: str  # "forward", "loss", "backward" or "adam"
    function: str
    block: str  # of the network: "user.1", "head", "score", "loss", "adam"
    group: int | None
    source: str  # the line
    line: int
    maths: str
    name: str
    shape: list[int]
    values: np.ndarray
    rows: list[str] | None  # users, where rows are pairs of the batch
    pairs: list[int] | None  # which pairs
    note: str | None = None
    parameter: str | None = None  # that Adam updates
    number: int = 0  # from 1


@dataclass
class Run:
    """One training step, with or without the mask."""

    loss: float
    steps: list[Step]


@dataclass
class TraceLeak:
    """Norms for one block that a group owns."""

    group: int
    parameter: str = shown("gradient of", TEXT)
    own: float = shown("own\nrows", NORM)  # of its gradient
    flipped: float = shown("other groups’\nlabels flipped", NORM)  # of its change then, with the mask
    others: float = shown("other groups’\nrows, mask off", NORM)  # of what these add to it without the mask


@dataclass
class Entity:
    """A user or a title."""

    name: str
    features: np.ndarray
    group: int | None = None


@dataclass
class Pair:
    """A pair of the batch."""

    user: str
    title: str
    group: int
    label: int


@dataclass
class NetworkFacts:
    """The batch, the network and its optimiser."""

    users: list[Entity]
    titles: list[Entity]
    groups: list[str]
    pairs: list[Pair]
    model: ModelConfig
    train: dict[str, float]
    parameters: dict[str, np.ndarray]


@dataclass
class Trace:
    """The whole record."""

    seed: int
    group: int | None
    network: NetworkFacts
    runs: dict[str, Run]  # "on" and "off": with and without the mask
    leak: list[TraceLeak]
    kind: str = "trace"
    format: int = 1
    twotower: str = __version__

    def named(self) -> str:
        return "a tiny network"

    def sizes(self) -> list[str]:
        network = self.network
        users, titles, groups = len(network.users), len(network.titles), len(network.groups)
        return [f"{users} users", f"{titles} titles", f"{groups} groups", f"seed {self.seed}"]

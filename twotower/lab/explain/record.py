"""The record of an explained score: what ``explain --json`` prints and what its tables show."""

from dataclasses import dataclass

from twotower.core.formatting import decimal, minus
from twotower.core.version import __version__
from twotower.report.record_table import shown
from twotower.report.table import COUNT, TEXT, Kind

TERM = Kind(lambda value: minus(f"{value:+.4f}"))
PROBABILITY = Kind(lambda value: decimal(value, 4))


@dataclass
class UserFacts:
    """The user."""

    id: str
    row: int
    territory: str
    territory_name: str
    group: int | None  # None: a model without groups
    watched: int  # titles
    part: str | None  # of the run's sample: "training", "test" or neither


@dataclass
class TitleFacts:
    """A title, and whether it is local or global by the training positives; None where these are not available."""

    id: str
    name: str
    row: int
    kind: str | None  # "local", "global" or "" (neither)
    home: str | None  # the territory with most positives
    share: float | None
    lift: float | None
    positives: int | None

    def kind_text(self) -> str:
        """Local, global or neither."""
        if self.kind is None:
            return "unknown"
        return f"local to {self.home}" if self.kind == "local" else self.kind or "neither"


@dataclass
class MovedTitle:
    """A title whose logit another head changes."""

    group: int = shown("head", Kind(str, numeric=False))
    title: TitleFacts = shown("title", Kind(lambda title: title.name, numeric=False))
    locality: str = shown("kind", TEXT)
    own_logit: float = shown("own logit", TERM)
    logit: float = shown("logit", TERM)
    change: float = shown("change", TERM, lambda change: "good" if change > 0 else "bad")
    own_rank: int = shown("own rank", COUNT)
    rank: int = shown("rank", COUNT)


@dataclass
class BaseRate:
    """Positives among training pairs."""

    of: str  # "all", "title" or "title_in_territory"
    positives: int
    pairs: int
    rate: float | None


@dataclass
class MemoryTerm:
    """One memory term of the pair."""

    term: str = shown("memory term", TEXT)
    value: float = shown("value", TERM)  # in standard deviations from its mean over the training pairs
    weight: float = shown("weight", TERM)  # that all groups share, the active units of the ReLU layer included
    deviation: float = shown("of the group", TERM)
    contribution: float = shown("contribution", TERM)  # to the logit


@dataclass
class WatchedTitle:
    """A title of the user's history, and what it brings the explained one."""

    id: str
    row: int
    name: str = shown("watched before", TEXT)
    cosine: float = shown("cosine", TERM)  # of the two titles' viewers
    factors: float = shown("factors", TERM)  # the product of the two titles' factors
    contribution: float = shown("contribution", TERM)  # its part of the terms that are sums over the history


@dataclass
class MemoryPart:
    """What memory adds under the own head, by term and by title of the history."""

    terms: list[MemoryTerm]
    history: int  # titles
    related: int  # of them, neighbours of the explained title
    titles: list[WatchedTitle]  # with the largest contributions


@dataclass
class HiddenUnits:
    """s·<U, V> by hidden unit."""

    positive: int  # units with contributions above 0
    positive_sum: float
    negative: int
    negative_sum: float
    half: int  # units that hold half of all magnitude
    effective: float  # (Σ|x|)²/Σx²: D where all are equal, 1 for a single unit


@dataclass
class HeadScore:
    """The score under one head."""

    group: int
    own: bool
    territories: int
    largest: list[str]  # codes of the group's largest territories
    territory: str  # where the user is assumed to live
    terms: dict[str, float]
    logit: float
    probability: float
    rank: int


@dataclass(kw_only=True)
class Explanation:
    """Why one user gets one title with this score."""

    run: str
    dataset: str
    sample: str | None
    head: str
    user: UserFacts
    title: TitleFacts
    available: bool  # the title, in the user's territory
    watched: bool
    own: HeadScore
    memory: MemoryPart | None  # None: a model without memory
    base_rates: list[BaseRate]
    hidden: HiddenUnits
    titles: int  # that the user may be recommended
    heads: list[HeadScore]
    moved: list[MovedTitle]
    kind: str = "explanation"
    format: int = 1
    twotower: str = __version__

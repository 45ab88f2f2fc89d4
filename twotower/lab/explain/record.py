"""The record of an explained score: what ``explain --json`` prints and what its tables show."""

from typing import TypedDict


class UserFacts(TypedDict):
    """The user."""

    id: str
    row: int
    territory: str
    territory_name: str
    group: int | None  # None: a model without groups
    watched: int  # titles
    part: str | None  # of the run's sample: "training", "test" or neither


class TitleKind(TypedDict):
    """A title, and whether it is local or global by the training positives; None where these are not available."""

    id: str
    name: str
    row: int
    kind: str | None  # "local", "global" or "" (neither)
    home: str | None  # the territory with most positives
    share: float | None
    lift: float | None
    positives: int | None


class TitleFacts(TitleKind):
    """The explained title."""

    available: bool  # in the user's territory
    watched: bool
    allowed: bool  # available and not watched


class MovedTitle(TitleKind):
    """A title whose logit another head changes."""

    own_logit: float
    logit: float
    own_rank: int
    rank: int


class HiddenUnit(TypedDict):
    """One hidden unit's part of s·<U, V>."""

    unit: int
    u: float
    v: float
    contribution: float


class UnitsOfSign(TypedDict):
    """The units with contributions of one sign."""

    units: int
    sum: float
    largest: list[HiddenUnit]


class HiddenUnits(TypedDict):
    """s·<U, V> by hidden unit."""

    units: int
    half: int  # units that hold half of all magnitude
    effective: float  # (Σ|x|)²/Σx²: D where all are equal, 1 for a single unit
    positive: UnitsOfSign
    negative: UnitsOfSign


class BaseRate(TypedDict):
    """Positives among training pairs."""

    of: str  # "all", "title" or "title_in_territory"
    positives: int
    pairs: int
    rate: float | None


class MemoryTerm(TypedDict):
    """One memory term of the pair."""

    term: str
    value: float  # in standard deviations from its mean over the training pairs
    weight: float  # that all groups share, the active units of the ReLU layer included
    deviation: float  # of the group
    contribution: float  # to the logit


class WatchedTitle(TypedDict):
    """A title of the user's history, and what it brings the explained one."""

    id: str
    name: str
    row: int
    cosine: float  # of the two titles' viewers
    ease: float
    contribution: float  # to the logit: its part of the terms that are sums over the history


class MemoryPart(TypedDict):
    """What memory adds under the own head, by term and by title of the history."""

    terms: list[MemoryTerm]
    history: int  # titles
    related: int  # of them, with a cosine or an EASE weight to the explained title
    titles: list[WatchedTitle]  # with the largest contributions


class HeadScore(TypedDict):
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


class MovedTitles(TypedDict):
    """The titles that a head moves most."""

    group: int
    titles: list[MovedTitle]


class Explanation(TypedDict):
    """Why one user gets one title with this score."""

    format: int
    kind: str
    twotower: str
    run: str
    dataset: str
    sample: str | None
    head: str
    user: UserFacts
    title: TitleFacts
    terms: dict[str, float]
    logit: float
    probability: float
    memory: MemoryPart | None  # None: a model without memory
    base_rates: list[BaseRate]
    hidden: HiddenUnits
    titles: int  # that the user may be recommended
    heads: list[HeadScore]
    moved: list[MovedTitles]

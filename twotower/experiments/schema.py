"""The structure of ``experiment.json``, and of what ``twotower compare --json`` prints.

Undefined values are None. [C] has a value per territory in the order of ``territories`` (most users first), [N] per
period, [M] per bin, [S] per seed.
"""

from typing import Any, TypedDict

Value = float | None
Column = list[Value]


class MeanRecord(TypedDict):
    """A mean gain in percent with the ends of its 95 % interval."""

    mean: Value
    low: Value
    high: Value


class TerritoryMeanRecord(MeanRecord):
    """The mean over evaluated territories."""

    won: int  # territories with a gain above 0
    evaluated: int
    better: int  # by their verdicts
    worse: int
    sign_p: Value


class GainsRecord(TypedDict):
    """Relative gains of PR-AUC of one method over another, in percent."""

    method: str
    baseline: str
    by_period: list[Column]  # [N][C]
    average: Column  # [C]
    spread: Column  # [C] standard deviation over seeds
    low: Column
    high: Column
    p: Column
    p_adjusted: Column
    verdict: list[str]  # [C] better, worse, undecided, too small
    major: TerritoryMeanRecord
    all: TerritoryMeanRecord
    overall: MeanRecord


class TerritoryRecord(TypedDict):
    """A territory with its support."""

    code: str
    name: str
    group: int
    users: int  # in the whole dataset
    test_users: int
    test_pairs: int
    test_positives: int
    base_rate: Value
    major: bool
    evaluated: bool  # enough support for a verdict


class TrainedTerritoryRecord(TerritoryRecord):
    """The same in an experiment."""

    train_positives: dict[str, int]  # by sample


class PeriodRecord(TypedDict):
    """A block of test days."""

    name: str
    days: list[int]


class ScoresRecord(TypedDict):
    """PR-AUC, the mean over seeds."""

    average: Column  # [C]
    by_period: list[Column]  # [N][C]


class RunsRecord(TypedDict):
    """A method of a comparison."""

    name: str
    runs: list[str]
    seeds: list[int]
    overall: Column  # [S] PR-AUC
    macro: Column  # [S]


class MethodRecord(TypedDict):
    """A method of an experiment."""

    name: str
    about: str
    sample: str
    rival: bool
    settings: dict[str, dict[str, Any]]  # sections model and train of its configuration
    grouping: str
    seeds: list[int]
    overall: Column  # [S] PR-AUC
    macro: Column  # [S] the mean of all territories with a test positive
    macro_evaluated: Column  # [S] of the evaluated ones
    title_offsets: list[dict[str, Any] | None]  # [S] level and priors
    seconds: list[float]  # [S]


class DatasetRecord(TypedDict):
    """The dataset."""

    path: str
    users: int
    titles: int
    territories: int
    train_days: int
    test_days: int
    has_time: bool
    vectors: list[int]  # widths of user and title vectors
    about: Any  # where the data come from


class TitleRecord(TypedDict):
    """A title."""

    id: str
    name: str
    kind: str  # local, global or empty
    home_territory: str | None
    share: Value  # of its positives in the home territory
    lift: Value
    train_positives: int
    test_positives: int
    pr_auc: dict[str, Value]  # by method


TitleGains = TypedDict("TitleGains", {"local": Value, "global": Value})
TitlePairRecord = TypedDict(
    "TitlePairRecord",
    {
        "territory": str,
        "local": str,  # ids
        "global": str,
        "local_positives": int,  # in training, in the territory
        "global_positives": int,
        "gains": dict[str, TitleGains],  # by baseline
    },
)


class KindRecord(TypedDict):
    """Gains of the main method over all titles of a kind."""

    method: str
    baseline: str
    kind: str
    titles: int
    ahead: int  # titles with a gain above 0
    lower_quartile: Value
    median: Value
    upper_quartile: Value


class BiasRecord(TypedDict):
    """Measures of popularity bias by name."""

    overall: dict[str, list[Value]]  # mean and spread over seeds
    territories: dict[str, Column]
    territory_spreads: dict[str, Column]


class CalibrationRecord(TypedDict):
    """The reliability curve of the pairs of all seeds."""

    edges: list[float]  # [M + 1]
    predicted: Column  # [M]
    observed: Column  # [M]
    pairs: list[int]  # [M]
    ece: Value
    excess: Value
    territories: dict[str, Column]  # ece and excess
    territory_spreads: dict[str, Column]


class DistanceRecord(TypedDict):
    """How far apart the probabilities of two methods are distributed."""

    method: str
    baseline: str
    kind: str  # of titles
    territory: str | None  # None: all
    ks: Value
    wasserstein: Value
    shift: Value


class HistogramRecord(TypedDict):
    """Users by the probability of a title."""

    edges: list[float]
    methods: list[str]
    territories: list[str]
    titles: dict[str, list[str]]  # by territory
    counts: dict[str, dict[str, list[list[int]]]]  # by territory and title, for each method


class ComparisonRecord(TypedDict):
    """Runs compared; the parts of ``ExperimentRecord`` that gains need."""

    test_digest: str
    note: str  # why there are no intervals, or empty
    methods: list[RunsRecord]
    periods: list[PeriodRecord]
    min_positives: int
    territories: list[TerritoryRecord]
    pr_auc: dict[str, ScoresRecord]
    gains: list[GainsRecord]


class ExperimentRecord(TypedDict):
    """``experiment.json``."""

    format: int
    created: str
    twotower: str  # version
    name: str
    main_method: str
    baselines: list[str]
    summary: list[str]
    dataset: DatasetRecord
    samples: dict[str, dict[str, Any]]
    environment: dict[str, Any]
    seconds: float
    methods: list[MethodRecord]
    periods: list[PeriodRecord]
    territories: list[TrainedTerritoryRecord]
    min_positives: int
    replicates: int
    panel_users: int
    panel_day: int
    pr_auc: dict[str, ScoresRecord]
    gains: list[GainsRecord]
    titles: list[TitleRecord]
    title_pairs: list[TitlePairRecord]
    title_kinds: list[KindRecord]
    bias: dict[str, BiasRecord]
    measures: dict[str, dict[str, str]]
    calibration: dict[str, CalibrationRecord]
    distances: list[DistanceRecord]
    histograms: HistogramRecord

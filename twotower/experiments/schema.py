"""The structure of ``experiment.json``, and of what ``twotower compare --json`` prints.

Undefined values are None. [C] has a value per territory in the order of ``territories`` (most users first), [N] per
period, [M] per bin, [S] per seed.
"""

from typing import Any, TypedDict

from twotower.core.settings import Sections
from twotower.training.records import OffsetFacts

Value = float | None
Column = list[Value]


class MeanRecord(TypedDict):
    """A mean, such as a gain in percent, with the ends of its 95 % interval."""

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
    """Relative gains of a metric of one method over another, in percent."""

    metric: str  # pr_auc, or a ranking metric
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


class FiguresRecord(TypedDict):
    """PR-AUC of the runs of a method."""

    overall: Column  # [S] of all test pairs in one ranking
    macro: Column  # [S] the mean of all territories with a test positive
    macro_evaluated: Column  # [S] of the evaluated ones
    worst: Column  # [S] the lowest of an evaluated territory
    gap: Column  # [S] the highest of an evaluated territory minus the lowest
    worst_territory: str | None  # the lowest on average over seeds


class RunsRecord(FiguresRecord):
    """A method of a comparison."""

    name: str
    seeds: list[int]
    runs: list[str]


class MethodRecord(FiguresRecord):
    """A method of an experiment."""

    name: str
    seeds: list[int]
    about: str
    sample: str
    rival: bool
    settings: Sections  # sections model and train of its configuration
    grouping: str
    title_offsets: list[OffsetFacts | None]  # [S] level and priors
    seconds: list[float]  # [S]


class IntervalColumns(TypedDict):
    """Means per territory with the ends of their 95 % intervals."""

    mean: Column  # [C]
    low: Column
    high: Column


class RankingRecord(TypedDict):
    """Ranking metrics of the ten titles recommended to each user with something to find, by name of the metric."""

    overall: dict[str, MeanRecord]  # of all users
    macro: dict[str, MeanRecord]  # of the territories with enough such users
    territories: dict[str, IntervalColumns]


class PartRecord(TypedDict):
    """What one part of the main method brings: the gain of a method that has it over one that is otherwise alike."""

    part: str
    method: str
    baseline: str
    overall: MeanRecord  # gain over all pairs, percent
    mean: TerritoryMeanRecord
    share: Value  # of the difference in overall PR-AUC between the main method and the one without any part


class ChangeRecord(TypedDict):
    """How much a measure of popularity bias differs between two methods."""

    method: str
    baseline: str
    measure: str
    mean: Value  # method minus baseline
    low: Value  # ends of the 95 % interval
    high: Value
    direction: str  # more, less, undecided or unknown
    over: str  # what the interval covers: users and seeds, or seeds alone


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


class SeedBias(TypedDict):
    """Measures of popularity bias of one run, by name."""

    overall: dict[str, Value]
    territories: dict[str, Column]  # in the order of the dataset


class SeedCalibration(TypedDict):
    """The reliability curve of one run."""

    edges: list[float]  # [M + 1]
    predicted: Column  # [M]
    observed: Column  # [M]
    pairs: list[int]  # [M]
    ece: Value
    excess: Value
    territories: dict[str, Column]  # ece and excess, in the order of the dataset


class MeasuresRecord(TypedDict):
    """What is kept of one run beside it, ``measures/METHOD-SEED.json``."""

    origin: dict[str, str | int]
    bias: SeedBias
    calibration: SeedCalibration


class BiasRecord(TypedDict):
    """Measures of popularity bias by name."""

    overall: dict[str, list[Value]]  # mean and spread over seeds
    territories: dict[str, Column]
    territory_spreads: dict[str, Column]


class CalibrationRecord(SeedCalibration):
    """The reliability curve of the pairs of all seeds; means over seeds per territory."""

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


class ComparedRankings(TypedDict):
    """Ranking metrics of methods, and what one gains over another."""

    ranking_users: list[int]  # [C] with something to find
    rankings: dict[str, RankingRecord]
    ranking_gains: list[GainsRecord]


class ComparisonRecord(ComparedRankings):
    """Runs compared; the parts of ``ExperimentRecord`` that gains need."""

    test_digest: str
    notes: list[str]  # why something is missing or not to be trusted
    k: int  # titles per user in ranking metrics
    methods: list[RunsRecord]
    periods: list[PeriodRecord]
    min_positives: int
    territories: list[TerritoryRecord]
    pr_auc: dict[str, ScoresRecord]
    gains: list[GainsRecord]


class ExperimentRecord(ComparedRankings):
    """``experiment.json``; rankings are those of the panel, their gains the main method's over baselines and rivals."""

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
    parts: list[PartRecord]
    k: int  # titles per user in ranking metrics
    titles: list[TitleRecord]
    title_pairs: list[TitlePairRecord]
    title_kinds: list[KindRecord]
    bias: dict[str, BiasRecord]
    bias_changes: list[ChangeRecord]  # of the main method against its baselines
    measures: dict[str, dict[str, str]]
    calibration: dict[str, CalibrationRecord]
    distances: list[DistanceRecord]
    histograms: HistogramRecord


Compared = ComparisonRecord | ExperimentRecord  # what tables of gains and rankings need

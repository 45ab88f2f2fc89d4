"""The records of a run: what callbacks are told, which the lines of ``metrics.jsonl`` follow, and ``plan.json``."""

from dataclasses import dataclass
from typing import Literal, TypedDict


@dataclass(frozen=True)
class StepRecord:
    """One training step, or one step of an update with later days, which has no epoch."""

    epoch: int | None  # from 1
    step: int  # of the epoch or update, from 1
    steps: int  # so far, over all epochs and updates
    loss: float
    loss_by_group: list[float]
    pairs_by_group: list[int]
    pairs_per_second: float
    seen: int  # pairs of the epoch or update so far
    pairs: int  # of the whole epoch or update
    days: tuple[int, int] | None = None  # first and last, of an update

    def line(self) -> "StepLine":
        return {
            "step": self.step,
            "loss": self.loss,
            "loss_by_group": self.loss_by_group,
            "pairs_by_group": self.pairs_by_group,
            "pairs_per_second": self.pairs_per_second,
        }


@dataclass(frozen=True)
class EpochRecord:
    """An epoch is over, or training stopped early in it."""

    epoch: int  # from 1
    steps: int  # so far
    loss: float  # mean over its pairs; of a resumed epoch over those since
    seconds: float  # validation included


@dataclass(frozen=True)
class EvaluationRecord:
    """PR-AUC on validation users, or of the finished model on test users; NaN where it is undefined."""

    users: Literal["validation", "test"]
    steps: int  # so far
    macro: float  # mean over territories; of validation users over those with enough positives
    overall: float
    best: bool  # no validation before was better: these weights are kept


class StepLine(TypedDict):
    """What the log says of a step."""

    step: int
    loss: float
    loss_by_group: list[float]
    pairs_by_group: list[int]
    pairs_per_second: float


class OffsetFacts(TypedDict, total=False):
    """How title offsets were fitted."""

    level: str
    prior: float
    group_prior: float  # of levels below "title"; infinity where groups add nothing


class Plan(TypedDict):
    """``plan.json``: what a run needs to be resumed."""

    dataset: str
    sample: str
    label: str
    fingerprint: str  # of dataset and sample
    groups: list[int]  # group of each territory
    shuffled: bool  # whether users go through the heads of others: a control

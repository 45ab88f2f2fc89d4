"""The records of a run: the lines of ``metrics.jsonl``, and ``plan.json``."""

from typing import TypedDict

from twotower.training.loop import Step, Validation


class StepFigures(TypedDict):
    """One training step."""

    step: int  # of the epoch, from 1
    loss: float
    loss_by_group: list[float]
    pairs_by_group: list[int]
    pairs_per_second: float


class StepRecord(StepFigures):
    """A line of the log per training step."""

    epoch: int  # from 1


class UpdateFigures(StepFigures):
    """One step of an update with later days."""

    days: list[int]  # first and last


class UpdateRecord(TypedDict):
    """A line of the log per step of an update: it has no epoch."""

    update: UpdateFigures


class ValidationScores(TypedDict):
    """PR-AUC on the validation users, NaN where it is undefined."""

    macro: float
    overall: float


class ValidationRecord(TypedDict):
    """A line of the log per validation."""

    validation: ValidationScores
    steps: int  # so far, over all epochs
    best: bool


class OffsetFacts(TypedDict, total=False):
    """How title offsets were fitted."""

    level: str
    prior: float
    group_prior: float  # of levels below "title"; infinity where groups add nothing


class OffsetRecord(TypedDict):
    """A line of the log each time title offsets are fitted."""

    title_offsets: OffsetFacts


class Plan(TypedDict):
    """``plan.json``: what a run needs to be resumed."""

    dataset: str
    sample: str
    label: str
    fingerprint: str  # of dataset and sample
    groups: list[int]  # group of each territory
    shuffled: bool  # whether users go through the heads of others: a control


LogRecord = StepRecord | UpdateRecord | ValidationRecord | OffsetRecord


def step_figures(event: Step, seconds: float) -> StepFigures:
    losses = event.losses
    return {
        "step": event.step,
        "loss": losses.total,
        "loss_by_group": losses.by_group,
        "pairs_by_group": losses.pairs_by_group,
        "pairs_per_second": sum(losses.pairs_by_group) / seconds,
    }


def validation_record(event: Validation) -> ValidationRecord:
    scores: ValidationScores = {"macro": event.scores.macro, "overall": event.scores.overall}
    return {"validation": scores, "steps": event.steps, "best": event.best}

"""What programs are told while a model trains; the log and the progress display are told in the same way."""

from twotower.core.progress import DETAIL, Progress
from twotower.training.records import EpochRecord, EvaluationRecord, StepRecord
from twotower.training.run import RunWriter


class Callback:
    """Override what you need. It runs between two steps; what it raises ends the training."""

    def on_step(self, record: StepRecord) -> None:
        """After each step, those of updates included."""

    def on_epoch(self, record: EpochRecord) -> None:
        """After each epoch."""

    def on_evaluation(self, record: EvaluationRecord) -> None:
        """After each validation, and once on test users when the model is finished."""


class Callbacks(Callback):
    """Several as one, told in their order."""

    def __init__(self, *members: Callback):
        self.members = members

    def on_step(self, record: StepRecord) -> None:
        for member in self.members:
            member.on_step(record)

    def on_epoch(self, record: EpochRecord) -> None:
        for member in self.members:
            member.on_epoch(record)

    def on_evaluation(self, record: EvaluationRecord) -> None:
        for member in self.members:
            member.on_evaluation(record)


class LogLines(Callback):
    """Writes ``metrics.jsonl``: a line per step and one per validation."""

    def __init__(self, writer: RunWriter):
        self.writer = writer

    def on_step(self, record: StepRecord) -> None:
        if record.days is None:
            self.writer.log({"epoch": record.epoch, **record.line()})
        else:
            self.writer.log({"update": {"days": record.days, **record.line()}})

    def on_evaluation(self, record: EvaluationRecord) -> None:
        if record.users == "validation":
            scores = {"macro": record.macro, "overall": record.overall}
            self.writer.log({"validation": scores, "steps": record.steps, "best": record.best})


class StepProgress(Callback):
    """Reports the pairs of an epoch, with the loss and the last validation."""

    def __init__(self, progress: Progress, epochs: int):
        self.progress, self.epochs, self.ending = progress, epochs, ""

    def on_step(self, record: StepRecord) -> None:
        stage = f"epoch {record.epoch}/{self.epochs}"
        if record.days is not None:
            first, last = record.days
            stage = f"learning from {f'day {first}' if first == last else f'days {first}–{last}'}"
        self.progress(f"{stage}{DETAIL}loss {record.loss:.4f}{self.ending}", record.seen, record.pairs)

    def on_evaluation(self, record: EvaluationRecord) -> None:
        self.ending = f", validation PR-AUC {record.overall:.4f}"

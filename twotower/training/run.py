"""A run on disk: what was trained and what it is worth. This is the only file that knows the layout.

    run.json                   label, seed, dataset, sample, overall figures, digest of the test pairs, every file
    config.toml                the effective configuration
    weights.safetensors        the parameters kept (written by whoever trains; here only named)
    training.safetensors       what the next epoch depends on, for resuming (optional)
    metrics.jsonl              a line of JSON a step, and one a validation
    territories.csv            code, name, group, users, test_users, pairs, positives, base_rate, pr_auc
    territories_by_day.csv     the same for each test day alone, with a first column day
    titles.csv                 title, kind, pairs, positives, base_rate, pr_auc
    predictions/scores.npy     (B,) float32, in the order of the sample's test pairs
    environment.json           machine and versions
    plan.json                  dataset, sample, label and groups, for resuming; the configuration's checksum
    group-0/ …                 in place of weights: a run a group of territories, where each has a model to itself

A directory appears with its plan. ``run.json`` is written last: a run without it has not finished, and is not read. In
the tables an empty cell is an undefined value.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import IO, Any, TypedDict, TypeVar

import numpy as np

from twotower.core.config import load_toml
from twotower.core.environment import environment_facts
from twotower.core.errors import InputError
from twotower.core.locks import create_held, discard, locked, remove, sweep
from twotower.core.manifest import Files, describe
from twotower.core.serialisation import plain
from twotower.core.staging import clear_leftovers, flush_all
from twotower.core.storage import (
    missing_parents,
    name_place,
    read_record,
    remove_if_empty,
    write_csv,
    write_file,
    write_json,
    write_record,
)
from twotower.core.version import __version__
from twotower.metrics.results import Evaluation, TerritoryResults, TitleResults

FORMAT_VERSION = 1
RUN = "run.json"
PLAN = "plan.json"  # what a run needs to be resumed
CONFIG = "config.toml"
WEIGHTS = "weights.safetensors"
TRAINING = "training.safetensors"
LOG = "metrics.jsonl"
TERRITORIES = "territories.csv"
DAYS = "territories_by_day.csv"
TITLES = "titles.csv"
SCORES = "predictions/scores.npy"
MEMORY = "memory.npz"  # of a model with memory
ENVIRONMENT = "environment.json"
REQUIRED = (CONFIG, WEIGHTS, LOG, TERRITORIES, DAYS, TITLES, SCORES, ENVIRONMENT)
TEXT_COLUMNS = {"code", "name", "title", "kind"}  # of the tables; the others hold numbers

Results = TypeVar("Results", TerritoryResults, TitleResults)


def required_files(has_weights: bool) -> list[str]:
    """What a run must have; one that consists of others, or that only counts, has no weights."""
    return [name for name in REQUIRED if name != WEIGHTS or has_weights]


class Origin(TypedDict):
    """What a run is of: what it was trained on, and its method. Runs that differ in their seed alone are one method."""

    label: str
    dataset: Path
    sample: str
    seed: int


class RunWriter:
    """Write a run piece by piece, as a context manager; ``run.json`` makes it one when the body has ended.

    When the body raises, nothing remains, unless something can be resumed from: then the directory stays, not
    readable as a run, and a writer with ``resume`` goes on in it and adds to its log. Nobody else may write meanwhile.

    ``config`` is the effective configuration and ``plan`` what else is needed to resume; both are there from the start.
    The other words are an ``Origin``. ``parts`` are runs within this one, whose models it consists of;
    ``rival`` names a method without a network.

    Errors: InputError when ``path`` exists (or, to resume, does not), cannot be written, or is written by another
    process.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        label: str,
        dataset: str | Path,
        sample: str,
        seed: int,
        config: str | Mapping[str, Any] | None = None,
        plan: Mapping[str, Any] | None = None,
        resume: bool = False,
        parts: Sequence[str] = (),
        rival: str = "",
    ):
        self.path = Path(path)
        self.resume, self.config, self.plan = resume, config, plan
        self.required = required_files(not parts and not rival)
        self.kept = [self.path / name for name in (WEIGHTS, TRAINING, *parts)]  # what can be gone on from
        self.made: list[Path] = []  # directories above it that were not there
        self.facts: dict[str, Any] = {
            "format": FORMAT_VERSION,
            "label": label,
            "seed": int(seed),
            "dataset": str(Path(dataset).resolve()),
            "sample": sample,
            "twotower": __version__,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        if parts:
            self.facts["parts"] = list(parts)
        if rival:
            self.facts["rival"] = rival

    def __enter__(self) -> "RunWriter":
        if self.resume:
            self._check_unfinished()
        else:
            self._begin()
        with ExitStack() as stack:
            stack.enter_context(locked(self.path))
            self._log: IO[str] = stack.enter_context(open(self.path / LOG, "a", encoding="utf-8"))
            self.stack = stack.pop_all()
        return self

    def __exit__(self, error_type: type[BaseException] | None, error: object, trace: object) -> None:
        with self.stack:
            if error_type is None:
                self._log.flush()
                self._finish()
            elif not (self.resume or any(path.exists() for path in self.kept)):
                discard(self.path)
                remove_if_empty(self.made)
        name_place(error, self.path)

    def _begin(self) -> None:
        """Make the directory with all that a run begins with, and give it its name."""
        self.made, path = missing_parents(self.path), self.path
        if path.exists():
            again = f"; or go on with it: twotower train --resume {path}" if (path / PLAN).is_file() else ""
            raise InputError(f"{path}: exists already; give another directory{again}")
        beginning = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            sweep(path)
            beginning, handle = create_held(path, directory=True)
            self._write_beginning(beginning)
            flush_all(beginning)
            beginning.rename(path)
        except OSError as error:
            remove_if_empty(self.made)
            reason = "exists already" if path.is_dir() else f"cannot write there ({error.strerror})"
            raise InputError(f"{path}: {reason}; give another directory") from None
        finally:
            if beginning is not None:
                os.close(handle)
                remove(beginning)

    def _write_beginning(self, folder: Path) -> None:
        (folder / LOG).touch()
        write_json(folder / ENVIRONMENT, environment_facts())
        if self.config is not None:
            write_file(folder / CONFIG, toml_text(self.config))
        if self.plan is not None:
            write_record(folder / PLAN, {**self.plan, "files": {CONFIG: describe(folder)[CONFIG]}})

    def _finish(self) -> None:
        missing = [name for name in self.required if not (self.path / name).is_file()]
        if missing:
            raise RuntimeError(f"{self.path}: closed before {', '.join(missing)} was written")
        flush_all(self.path)
        write_record(self.path / RUN, self.facts | {"files": describe(self.path)})

    def _check_unfinished(self) -> None:
        if not (self.path / LOG).is_file():
            raise InputError(f"{self.path}: no run to resume")
        if (self.path / RUN).is_file():
            raise InputError(f"{self.path}: this run has finished; there is nothing to resume")

    @property
    def weights_path(self) -> Path:
        return self.path / WEIGHTS

    @property
    def training_path(self) -> Path:
        return self.path / TRAINING

    def log(self, record: Mapping[str, Any]) -> None:
        """Add a line to ``metrics.jsonl``, readable at once by whoever follows the file."""
        self._log.write(json.dumps(plain(record), allow_nan=False) + "\n")
        self._log.flush()

    def save_environment(self, **facts: Any) -> None:
        """Add facts to ``environment.json``, such as the threads and the kernels in use."""
        write_json(self.path / ENVIRONMENT, environment_facts() | facts)

    def save_results(self, evaluation: Evaluation, scores: np.ndarray, test_digest: str) -> None:
        """What the test pairs gave: their evaluation, their scores (B,), and the digest that names them."""
        if len(scores) != evaluation.pairs:
            raise ValueError(f"{len(scores)} scores for the evaluation of {evaluation.pairs} pairs")
        (self.path / SCORES).parent.mkdir(exist_ok=True)
        np.save(self.path / SCORES, np.ascontiguousarray(scores, np.float32))
        write_csv(self.path / TERRITORIES, evaluation.territories.columns())
        write_csv(self.path / TITLES, evaluation.titles.columns())
        by_day: dict[str, list[Any]] = {"day": []}
        for day, results in evaluation.days.items():
            by_day["day"] += [day] * len(results.code)
            for name, column in results.columns().items():
                by_day.setdefault(name, []).extend(column)
        write_csv(self.path / DAYS, by_day)
        self.facts |= {"test_digest": test_digest, **evaluation.record()}


class RunReader:
    """A finished run, opened for reading.

    Errors: InputError when the directory is no run, has not finished, or lost a file or a part of one.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_dir():
            raise InputError(f"{self.path}: no such run, expected a directory that twotower train wrote")
        if not (self.path / RUN).is_file():
            begun = (self.path / LOG).is_file()
            found = "training did not finish; continue with twotower train --resume" if begun else "not a run"
            hint = "" if begun else ", expected a directory that twotower train wrote"
            raise InputError(f"{self.path}: {found} (no {RUN}){hint}")
        clear_leftovers(self.path)
        facts = read_record(self.path / RUN)
        if facts.get("format") != FORMAT_VERSION:
            raise InputError(f"{self.path / RUN}: of another version, expected format {FORMAT_VERSION}; train again")
        self.facts, self.files = facts, Files(self.path, facts, RUN, "train again")
        try:
            self.label: str = facts["label"]
            self.seed: int = facts["seed"]
            self.dataset = Path(facts["dataset"])
            self.sample: str = facts["sample"]
            self.test_digest: str = facts["test_digest"]
            self.version: str = facts["twotower"]
            self.created: str = facts["created"]
            self.vectors: str | None = facts.get("vectors")  # digests of what the weights are made for, where known
            self.titles: str | None = facts.get("titles")
            overall = facts["overall"]
            self.overall = float("nan") if overall is None else float(overall)
            self.parts = [self.path / name for name in facts.get("parts", ())]
            self.rival: str = facts.get("rival", "")
        except KeyError as error:
            raise InputError(f"{self.path / RUN}: damaged, no {error} in it; train again") from None
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.path / RUN}: damaged ({error}); train again") from None
        self.files.check_sizes(required_files(not self.parts and not self.rival))

    @property
    def weights_path(self) -> Path:
        """Errors: InputError when the run consists of others, which have the weights, or has none."""
        if self.rival:
            raise InputError(f"{self.path}: {self.rival} is a simple rival without a network; expected a trained run")
        if self.parts:
            models = f"consists of {len(self.parts)} models without common weights"
            raise InputError(f"{self.path}: {models}; expected one of them, such as {self.parts[0]}")
        return self.files.path(WEIGHTS)

    @property
    def training_path(self) -> Path:
        return self.path / TRAINING

    @cached_property
    def config(self) -> dict[str, Any]:
        return load_toml(self.files.path(CONFIG))

    @cached_property
    def environment(self) -> dict[str, Any]:
        facts: dict[str, Any] = self.files.json(ENVIRONMENT)
        return facts

    @cached_property
    def scores(self) -> np.ndarray:
        """The scores (B,) float32 of the test pairs, in their order, memory-mapped."""
        return self.files.array(SCORES, np.float32, (None,))

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``."""
        path = self.files.path(LOG)
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise InputError(f"{path}: not JSON lines ({error})") from None

    @cached_property
    def evaluation(self) -> Evaluation:
        """The results as they were saved."""
        by_day = self.files.csv(DAYS)
        day = _column(self.path / DAYS, by_day, "day")
        days = {}
        for number in np.unique(day):
            rows = np.flatnonzero(day == number)
            of_day = {name: [column[i] for i in rows] for name, column in by_day.items()}
            days[int(number)] = _results(TerritoryResults, self.path / DAYS, of_day)
        territories = _results(TerritoryResults, self.path / TERRITORIES, self.files.csv(TERRITORIES))
        titles = _results(TitleResults, self.path / TITLES, self.files.csv(TITLES))
        return Evaluation(self.overall, territories, titles, days)


def toml_text(config: str | Mapping[str, Any]) -> str:
    import tomli_w

    return config if isinstance(config, str) else tomli_w.dumps(config)


def can_resume(path: Path, plan: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether an unfinished run at ``path`` was begun with this plan and configuration."""
    try:
        kept = read_record(path / PLAN)
        same = all(kept.get(name) == value for name, value in plain(plan).items())
        return same and Files(path, kept, PLAN).path(CONFIG).read_text(encoding="utf-8") == toml_text(config)
    except (InputError, OSError, ValueError):
        return False


def next_run_path(root: str | Path, label: str) -> Path:
    """``root/001-label``, or the number after the highest there is; ask for it right before the run begins.

    Errors: InputError when the label would not make a plain file name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", label):
        raise InputError(f"--label {label!r}: expected letters, digits, '_', '-', '+' and '.'")
    found = [re.match(r"(\d{3,})-", path.name) for path in Path(root).glob("*-*")]
    return Path(root) / f"{max((int(match[1]) for match in found if match), default=0) + 1:03d}-{label}"


def _results(kind: type[Results], path: Path, columns: Mapping[str, list[str]]) -> Results:
    """A table of results from its columns of text. Errors: InputError that names file and column."""
    return kind(**{field.name: _column(path, columns, field.name) for field in fields(kind)})


def _column(path: Path, columns: Mapping[str, list[str]], name: str) -> Any:
    """One column: words, or numbers, among which an empty cell is NaN."""
    if name not in columns:
        raise InputError(f"{path}: no column {name!r}")
    if name in TEXT_COLUMNS:
        return columns[name]
    try:
        if name == "pr_auc":
            return np.array([float(cell or "nan") for cell in columns[name]])
        return np.array([int(cell) for cell in columns[name]], np.int64)
    except ValueError as error:
        raise InputError(f"{path}, column {name!r}: {error}") from None

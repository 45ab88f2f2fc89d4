"""What an experiment is to do, and the file that keeps it the same when it is resumed.

experiments/NAME/plan.json                settings, samples, methods, seeds
experiments/NAME/runs/METHOD-SEED/        ordinary run directories
experiments/NAME/measures/METHOD-SEED.*   measures of each run (JSON, and samples of probabilities)
experiments/NAME/measures/A-over-B.json   one method's gains over another
experiments/NAME/experiment.json          the record
experiments/NAME/tables/*.csv             its tables
experiments/NAME/report.html              one page to read
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from twotower.core.config import Config
from twotower.core.errors import InputError
from twotower.core.serialisation import flat
from twotower.core.settings import Sections
from twotower.core.storage import read_record, write_record
from twotower.data.sampling.sample_config import SampleConfig
from twotower.experiments.methods import Method, choose_roles

FORMAT_VERSION = 2
PLAN, RECORD, REPORT = "plan.json", "experiment.json", "report.html"
RUNS, MEASURES, TABLES = "runs", "measures", "tables"
EXPERIMENTS = Path("experiments")  # default directory of experiments
NOT_COMPARED = {"seed", "threads"}  # settings that may change between two calls


@dataclass(frozen=True)
class Plan:
    """All that ``twotower experiment`` was asked for."""

    dataset: Path
    path: Path  # of the experiment
    name: str
    methods: tuple[Method, ...]
    seeds: int
    groups: int
    periods: int
    preset: str
    settings: Mapping[str, Mapping[str, Any]]  # of the model and of training, shared by all methods
    sample: SampleConfig  # as upsampled
    min_positives: int
    replicates: int

    @property
    def main_method(self) -> str:
        return choose_roles([method.name for method in self.methods])[0]

    @property
    def baselines(self) -> list[str]:
        return choose_roles([method.name for method in self.methods])[1]

    def method(self, name: str) -> Method:
        return next(method for method in self.methods if method.name == name)

    def config(self, method: Method, seed: int) -> Config:
        """The effective configuration of a run. Errors: InputError for settings that cannot be."""
        incremental = {"train": {"incremental_periods": self.periods, **self.settings.get("train", {})}}
        return method.config(self.preset, {**self.settings, **incremental}, self.groups, seed)

    def run_path(self, method: str, seed: int) -> Path:
        return self.path / RUNS / f"{method}-{seed}"

    def measures_path(self, method: str, seed: int) -> Path:
        return self.path / MEASURES / f"{method}-{seed}.json"

    def runs(self) -> list[tuple[Method, int]]:
        """Every run, seed by seed: an experiment that is stopped can compare the methods with the seeds it has."""
        return [(method, seed) for seed in range(self.seeds) for method in self.methods]

    def facts(self, fingerprints: Mapping[str, str]) -> dict[str, Any]:
        """What must be the same when the experiment is taken up again; ``fingerprints`` are of the samples."""
        return {
            "settings": {
                "groups": self.groups,
                "periods": self.periods,
                "preset": self.preset,
                "sample": asdict(self.sample),
            },
            "methods": {
                method.name: {
                    "sample": method.sample,
                    "grouping": method.grouping,
                    **without_seed(self.config(method, 0).to_dict()),
                }
                for method in self.methods
            },
            "samples": dict(fingerprints),
        }


def without_seed(config: Sections) -> Sections:
    """A configuration without what differs between the runs of a method."""
    return {
        section: {key: value for key, value in values.items() if key not in NOT_COMPARED}
        for section, values in config.items()
    }


def begin(plan: Plan, fingerprints: Mapping[str, str]) -> str:
    """Write ``plan.json``, or check that an existing one has the same settings; when the experiment was begun.

    More methods and more seeds may be asked for. Errors: InputError with the first setting that differs.
    """
    file, new = plan.path / PLAN, plan.facts(fingerprints)
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    if file.is_file():
        old = read_record(file)
        if old.get("format") != FORMAT_VERSION:
            raise InputError(f"{file}: not the plan of an experiment in format {FORMAT_VERSION}")
        check_same(file, old, new)
        created = old["created"]
        for part in ("methods", "samples"):
            new[part] = {**old[part], **new[part]}
    elif plan.path.exists() and any(path.name[0] != "." for path in plan.path.iterdir()):
        raise InputError(f"{plan.path}: exists and is no experiment (no {PLAN}); give another --name or --out")
    try:
        plan.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{plan.path}: cannot write there ({error.strerror})") from None
    dataset = str(plan.dataset.resolve())
    write_record(file, {"format": FORMAT_VERSION, "created": created, "name": plan.name, "dataset": dataset, **new})
    return created


def check_same(file: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Errors: InputError with the first setting that an experiment was begun with and that is another now."""
    before, now = flat(old), flat(new)
    for key in now:
        if key in before and before[key] != now[key]:
            what = key.replace("settings.", "", 1)
            if key.startswith("samples."):
                raise InputError(f"{file}: sample or vectors of {what} are no longer those that it was begun with")
            raise InputError(f"{file}: begun with {what} = {before[key]!r}, now {now[key]!r}; give another --name")


def period_name(days: tuple[int, ...]) -> str:
    """A block of test days, as records call it."""
    return f"day {days[0]}" if len(days) == 1 else f"days {days[0]}–{days[-1]}"

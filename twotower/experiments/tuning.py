"""``twotower tune``: search for settings on development users, who are neither training nor test users.

tuning/NAME/journal.log        every trial: Optuna's journal, which several processes share
tuning/NAME/runs/trial-0007/   a run per trial, while it trains; those of the defaults and of the best are kept
tuning/NAME/best.toml          the best settings, for --config

A trial is one run with one seed. Its worth is overall PR-AUC on the development users; after each validation, by the
training users that every run holds out, a trial that is worse than the median of the others ends (Optuna's
MedianPruner). The first trial has the default settings.
"""

import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from twotower.core.config import ModelConfig
from twotower.core.errors import InputError
from twotower.core.progress import Progress
from twotower.core.settings import Sections, Setting
from twotower.core.storage import write_file, write_json
from twotower.data.sampling.sample_config import SampleConfig
from twotower.experiments.comparison import compare_runs
from twotower.experiments.journal_lock import JournalLock, searching
from twotower.experiments.methods import METHODS, Method
from twotower.experiments.plan import Plan
from twotower.experiments.runs import as_detail
from twotower.experiments.schema import MeanRecord
from twotower.experiments.setup import Setup
from twotower.training.callbacks import Callback
from twotower.training.periods import train_and_score
from twotower.training.records import EvaluationRecord
from twotower.training.run import RunWriter
from twotower.training.trainer import Trainer
from twotower.training.warm_up import compile_kernels

TUNING = Path("tuning")
JOURNAL, BEST = "journal.log", "best.toml"
STUDY = "twotower"
FEWEST_TRIALS = 5  # before any is cut short

Settings = Mapping[str, Setting]  # of a trial, by name


@dataclass(frozen=True)
class Choice:
    """A setting to search: a range, on a logarithmic scale where it is one, or some values."""

    section: str
    name: str
    low: float = 0.0
    high: float = 0.0
    values: tuple[float | int, ...] = ()

    def suggest(self, trial: Any) -> float | int:
        if self.values:
            return trial.suggest_categorical(self.name, self.values)
        return trial.suggest_float(self.name, self.low, self.high, log=True)


#: What is searched, unless the settings that are given name it: the second tuple only for methods with heads.
SPACE = (
    Choice("train", "learning_rate", 1e-4, 1e-2),
    Choice("train", "epochs", values=(1, 2, 3, 4, 6)),
    Choice("train", "tower_decay", values=(0.0, 0.1, 1.0, 10.0)),
    Choice("model", "hidden", values=(64, 128, 256, 512)),
)
SPACE_OF_HEADS = (
    Choice("model", "rank", values=(8, 16, 32, 64)),
    Choice("train", "head_decay", values=(0.0, 1.0, 3.0, 10.0, 30.0)),
    Choice("train", "bias_decay", values=(0.0, 3.0, 10.0, 30.0)),
)


@dataclass(frozen=True)
class TuningConfig:
    """All that ``twotower tune`` was asked for."""

    dataset: Path
    path: Path
    method: Method
    trials: int
    timeout: float | None  # seconds
    groups: int
    preset: str
    settings: Mapping[str, Mapping[str, Any]]  # fixed
    sample: SampleConfig
    replicates: int = 1000

    def __post_init__(self) -> None:
        if self.method.rival or self.method.separate:
            networks = [name for name, method in METHODS.items() if not (method.rival or method.separate)]
            raise InputError(f"--method {self.method.name}: expected one of {', '.join(networks)}")
        if not self.sample.dev_users:
            raise InputError("tuning on test users would make them useless as a test: dev_users must be set")

    @property
    def space(self) -> list[Choice]:
        """The settings that are searched. Errors: InputError when none is left."""
        shared = (*SPACE, *SPACE_OF_HEADS) if self.method.multi_task else SPACE
        fixed = {**self.settings.get("model", {}), **self.settings.get("train", {})}
        own = {**self.method.model, **self.method.train}
        left = [choice for choice in shared if choice.name not in {**fixed, **own}]
        if not left:
            raise InputError("nothing to search: the settings that are given fix everything")
        return left


@dataclass(frozen=True)
class TuningSummary:
    """What a search found."""

    path: Path
    best: int  # number of the trial
    settings: Sections
    value: float  # overall PR-AUC on the development users
    default: float
    gain: MeanRecord  # of the best over the default: mean, low and high, in %
    importances: dict[str, float]  # share of each setting, by PED-ANOVA
    trials: dict[str, int]  # by state


class Pruned(Exception):
    """A trial is worse than most at the same validation."""


class Pruning(Callback):
    """Ends a trial after a validation where Optuna says so, unless it is one that must be finished."""

    def __init__(self, trial: Any, must_finish: bool):
        self.trial, self.must_finish = trial, must_finish

    def on_evaluation(self, record: EvaluationRecord) -> None:
        if record.users == "validation" and np.isfinite(record.overall):
            self.trial.report(record.overall, record.steps)
            if self.trial.should_prune() and not self.must_finish:
                raise Pruned


def tune(config: TuningConfig, progress: Progress) -> TuningSummary:
    """Search until there are so many trials or the time is over, and write the best settings.

    Repeat the command to go on; start it several times to search with several processes at once.

    Errors: InputError where Optuna is missing, and for a dataset or settings that cannot be.
    """
    import_optuna()  # a missing package is reported before the work
    plan = Plan(
        config.dataset, config.path, config.path.name, (config.method,), 1, config.groups, 0, config.preset,
        config.settings, config.sample, min_positives=1, replicates=config.replicates,
    )  # fmt: skip
    setup = Setup(plan, progress)
    setup.check_support()
    defaults = config.method.config(config.preset, config.settings, config.groups, 0).to_dict()
    config.path.mkdir(parents=True, exist_ok=True)
    compile_kernels(progress)
    with searching(config.path) as alone:
        return search(config, setup, defaults, alone, progress)


def search(
    config: TuningConfig, setup: Setup, defaults: dict[str, Any], alone: bool, progress: Progress
) -> TuningSummary:
    """As ``tune``; a process that is ``alone`` removes what killed ones left."""
    optuna, space = import_optuna(), config.space
    journal = config.path / JOURNAL
    backend = optuna.storages.journal.JournalFileBackend(str(journal), JournalLock(journal))
    # Each process has its own random numbers: with equal ones, two would try the same settings.
    sampler = optuna.samplers.TPESampler(multivariate=True, constant_liar=True)
    study = optuna.create_study(
        study_name=STUDY, storage=optuna.storages.JournalStorage(backend), direction="maximize", load_if_exists=True,
        sampler=sampler, pruner=optuna.pruners.MedianPruner(n_startup_trials=FEWEST_TRIALS),
    )  # fmt: skip
    facts = {"dataset": str(config.dataset.resolve()), "vectors": setup.dataset.identity["vectors"],
             "method": config.method.name, "settings": {k: dict(v) for k, v in config.settings.items()},
             "preset": config.preset, "groups": config.groups, "sample": setup.fingerprints}  # fmt: skip
    standard = {choice.name: defaults[choice.section][choice.name] for choice in space}
    if not study.trials:
        study.set_user_attr("facts", facts)
    elif study.user_attrs.get("facts") != facts:
        raise InputError(f"{config.path}: searched another dataset, method or settings; give another --name")
    if alone:
        for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            shutil.rmtree(run_path(config, trial.number), ignore_errors=True)
        keep_best(config, study, standard)
    if find_default(study, standard) is None:  # none yet, or the process that tried it was killed
        study.enqueue_trial(standard)

    def objective(trial: Any) -> float:
        finished = min(len(study.get_trials(deepcopy=False, states=done)), config.trials)
        detail = as_detail(progress, f"trials · trial {trial.number}", finished, config.trials)
        return try_settings(config, setup, trial, space, standard, detail)

    done = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    stop = optuna.study.MaxTrialsCallback(config.trials, states=done)
    def sweep(study: Any, _: Any) -> None:
        keep_best(config, study, standard)

    if len(study.get_trials(deepcopy=False, states=done)) < config.trials:
        study.optimize(objective, timeout=config.timeout, callbacks=[stop, sweep])
    return summarised(config, study, space, standard, progress)


def import_optuna() -> Any:
    """Optuna, quiet. Errors: InputError where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise InputError("tuning needs optuna: pip install 'twotower[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def try_settings(
    config: TuningConfig, setup: Setup, trial: Any, space: list[Choice], standard: Settings, progress: Progress
) -> float:
    """Overall PR-AUC on the development users with the settings that a trial suggests."""
    optuna = import_optuna()
    params = {choice.name: choice.suggest(trial) for choice in space}
    run = config.method.config(config.preset, settings_of(config, space, params), config.groups, 0)
    sampled = setup.samples[config.method.sample]
    dataset, groups = setup.heads(config.method, 0)
    path = run_path(config, trial.number)
    shutil.rmtree(path, ignore_errors=True)

    try:
        trainer = Trainer(dataset, sampled, groups, run, progress, Pruning(trial, trial.params == standard))
        label, sample = f"trial-{trial.number}", sampled.name
        with RunWriter(path, label=label, dataset=dataset.path, sample=sample, seed=0, config=run.to_dict()) as writer:
            value = float(train_and_score(trainer, sampled, len(setup.periods), writer, progress).overall)
            writer.training_path.unlink(missing_ok=True)
    except Pruned:
        shutil.rmtree(path, ignore_errors=True)
        raise optuna.TrialPruned from None
    except InputError:  # training diverged
        shutil.rmtree(path, ignore_errors=True)
        if trial.params == standard:
            raise
        raise optuna.TrialPruned from None
    return value


def settings_of(config: TuningConfig, space: list[Choice], params: Settings) -> Sections:
    """The settings of a trial, by section, with the fixed ones; a rank beyond the width means the width."""
    settings = {section: dict(config.settings.get(section, {})) for section in ("model", "train")}
    for choice in space:
        settings[choice.section][choice.name] = params[choice.name]
    model = settings["model"]
    if "rank" in params:
        model["rank"] = min(params["rank"], model.get("hidden", ModelConfig().hidden))
    return settings


def run_path(config: TuningConfig, number: int) -> Path:
    return config.path / "runs" / f"trial-{number:04d}"


def find_default(study: Any, standard: Settings) -> Any | None:
    """The first finished trial with the default settings."""
    finished = sorted(ranked(study), key=lambda trial: trial.number)
    return next((trial for trial in finished if trial.params == standard), None)


def keep_best(config: TuningConfig, study: Any, standard: Settings) -> None:
    """Remove the runs of finished trials but those of the defaults and of the best."""
    default = find_default(study, standard)
    kept = [trial.number for trial in [*ranked(study)[:1], *([default] if default else [])]]
    for trial in ranked(study):
        if trial.number not in kept:
            shutil.rmtree(run_path(config, trial.number), ignore_errors=True)


def ranked(study: Any) -> list[Any]:
    """The finished trials, best first; of equal ones the earlier."""
    finished = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    return sorted(finished, key=lambda trial: (-trial.value, trial.number))


def summarised(
    config: TuningConfig, study: Any, space: list[Choice], standard: Settings, progress: Progress
) -> TuningSummary:
    """Write the best settings; what they gain over the defaults, with an interval.

    Errors: InputError when no trial has finished.
    """
    optuna, finished, default = import_optuna(), ranked(study), find_default(study, standard)
    if default is None:
        raise InputError(f"{config.path}: the trial with the default settings has not finished; repeat the command")
    best = finished[0]
    settings = settings_of(config, space, best.params)
    gain: MeanRecord = {"mean": 0.0, "low": 0.0, "high": 0.0}
    if best.number != default.number:
        paths = [str(run_path(config, trial.number)) for trial in (best, default)]
        record = compare_runs(paths, paths[1], progress, replicates=config.replicates)
        gain = record["gains"][0]["overall"]
    importances: dict[str, float] = {}
    if len(finished) > FEWEST_TRIALS and len({trial.value for trial in finished}) > 1:
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
        importances = {name: float(share) for name, share in found.items()}
    states = [trial.state.name.lower() for trial in study.get_trials(deepcopy=False)]
    words = {"complete": "complete", "pruned": "pruned", "fail": "failed"}
    trials = {words[state]: states.count(state) for state in words if state in states}
    write_file(config.path / BEST, tomli_w.dumps({k: v for k, v in settings.items() if v}))
    summary = TuningSummary(
        config.path, best.number, settings, best.value, default.value, gain, importances, trials
    )
    write_json(config.path / "tuning.json", {**vars(summary), "path": str(config.path)})
    return summary

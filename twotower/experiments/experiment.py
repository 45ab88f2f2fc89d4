"""Run an experiment: from what was asked for to the files of its directory, training only what is missing."""

import json
from pathlib import Path

from twotower.core.locks import locked
from twotower.core.progress import Progress
from twotower.core.storage import read_json, write_file
from twotower.experiments.measures import measure_missing
from twotower.experiments.plan import RECORD, REPORT, TABLES, Plan, begin
from twotower.experiments.record import make_record
from twotower.experiments.report.tables import experiment_tables
from twotower.experiments.runs import train_missing
from twotower.experiments.schema import ExperimentRecord
from twotower.experiments.setup import Setup
from twotower.training.warm_up import compile_kernels


def run_experiment(plan: Plan, progress: Progress) -> ExperimentRecord:
    """Train and measure what is missing; the record, which is saved as ``experiment.json`` with its tables.

    Errors: InputError for settings that cannot be, and when something else was begun under this name, or is
    being made by another process.
    """
    for method in plan.methods:
        plan.config(method, 0)  # now, rather than after minutes of work
    setup = Setup(plan, progress)
    setup.check_support()
    created = begin(setup.plan, setup.fingerprints)
    with locked(plan.path):
        compile_kernels(progress)
        train_missing(setup, progress)
        panel = measure_missing(setup, progress)
        record = make_record(setup, panel, created, progress)
        write_file(plan.path / RECORD, json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        tables = plan.path / TABLES
        tables.mkdir(exist_ok=True)
        for name, text in experiment_tables(record).items():
            write_file(tables / f"{name}.csv", text)
        return record


def write_report(path: Path) -> Path:
    """Make ``report.html`` from the record of an experiment at ``path``; its path.

    Errors: InputError when a package is missing that the report needs.
    """
    from twotower.experiments.report.html.page import write_report as write  # here: what it needs may be missing

    write(read_json(path / RECORD), path / REPORT)
    return path / REPORT

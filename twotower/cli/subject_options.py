"""The subject of ``inspect``, ``leaks`` and ``gradcheck``: the argument RUN or DIR, and its options."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from twotower.cli.config_options import config_from_options
from twotower.cli.lab_output import refuse_options
from twotower.core.config import BATCHNORMS, HEADS
from twotower.core.presets import PRESETS
from twotower.core.progress import Progress

if TYPE_CHECKING:
    from twotower.lab.subject import Subject

Command = TypeVar("Command", bound=Callable[..., Any])

OPTIONS = {
    "source": click.argument("source", default="world", type=click.Path(path_type=Path), metavar="[RUN|DIR]"),
    "number": click.option("--batch", "number", type=click.IntRange(1), default=1, show_default=True, metavar="N",
                           help="Which batch of the first epoch."),
    "batch_size": click.option("--batch-size", type=click.IntRange(2), metavar="N",
                               help="Pairs in the batch.  [default: as in training]"),
    "dataset": click.option("--dataset", type=click.Path(path_type=Path), metavar="DIR",
                            help="RUN: where its dataset is now, if it has moved."),
    "mtl": click.option("--mtl/--baseline", default=True, help="DIR: with or without heads.  [default: mtl]"),
    "groups": click.option("--groups", type=int, help="DIR: territory groups K.  [default: the dataset's, or 4]"),
    "head": click.option("--head", type=click.Choice(HEADS), help="DIR: heads on the user tower."),
    "batchnorm": click.option("--batchnorm", type=click.Choice(BATCHNORMS),
                              help="DIR: batch-norm statistics in the user tower: whole batch, or per group."
                                   "  [default: all]"),
    "hidden": click.option("--hidden", type=int, help="DIR: width D of every layer."),
    "preset": click.option("--preset", type=click.Choice(list(PRESETS)), default="default", show_default=True,
                           help="DIR: shape of the network."),
    "config_file": click.option("--config", "config_file", type=click.Path(path_type=Path), metavar="FILE",
                                help="DIR: settings from a TOML file."),
    "sample_name": click.option("--sample", "sample_name", default="default", show_default=True, metavar="NAME",
                                help="DIR: sample of training pairs."),
    "grouping": click.option("--grouping", type=click.Path(path_type=Path), metavar="FILE",
                             help="DIR: groups of territories from a CSV (territory,group)."),
    "seed": click.option("--seed", type=int, help="DIR: seed of the weights and the order of the pairs."),
}  # fmt: skip
OF_RUN = {"dataset"}  # options that only a run has; all further ones belong to a dataset
OF_DATASET = OPTIONS.keys() - OF_RUN - {"source", "number", "batch_size"}


def subject_options(command: Command) -> Command:
    """Give the command one argument ``subject``: a function of a progress display that opens RUN or DIR."""

    @wraps(command)
    def with_subject(**options: Any) -> Any:
        values = {name: options.pop(name) for name in OPTIONS}
        return command(subject=lambda progress: open_subject(values, progress), **options)

    for option in reversed(OPTIONS.values()):
        with_subject = option(with_subject)
    return with_subject  # type: ignore[return-value]


def open_subject(values: dict[str, Any], progress: Progress) -> "Subject":
    """Open a run or a dataset. Errors: InputError for options without effect."""
    from twotower.lab import subject
    from twotower.training.job import known_groups

    source, mtl, grouping = values["source"], values["mtl"], values["grouping"]
    batch = {"number": values["number"], "batch_size": values["batch_size"]}
    if subject.is_run(source):
        refuse_options(OF_DATASET, f"on {source}: a run has its own settings")
        return subject.subject_of_run(source, values["dataset"], **batch, progress=progress)
    refuse_options(OF_RUN, f"on {source}, which is not a run")
    known = known_groups(source, grouping) if mtl else None
    options = {name: values[name] for name in ("groups", "head", "batchnorm", "hidden", "seed")}
    config = config_from_options(values["preset"], values["config_file"], mtl, options, known)
    return subject.subject_of_dataset(
        source, config, values["sample_name"], grouping, **batch, progress=progress
    )

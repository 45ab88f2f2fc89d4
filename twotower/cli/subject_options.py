"""What ``inspect``, ``leaks`` and ``gradcheck`` look into: the argument RUN or DIR, and the options around it."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from twotower.cli.config_options import config_from_options
from twotower.core.config import BATCHNORMS, HEADS
from twotower.core.errors import InputError
from twotower.core.presets import PRESETS
from twotower.core.progress import Progress

if TYPE_CHECKING:
    from twotower.lab.subject import Subject

Command = TypeVar("Command", bound=Callable[..., Any])

OF_BOTH = {"source", "number", "batch_size"}
OF_RUN = {"dataset"}

OPTIONS = [
    click.argument("source", default="world", type=click.Path(path_type=Path), metavar="[RUN|DIR]"),
    click.option("--batch", "number", type=click.IntRange(1), default=1, show_default=True, metavar="N",
                 help="Which batch of the first epoch."),
    click.option("--batch-size", type=click.IntRange(2), help="Pairs in the batch.  [default: as in training]"),
    click.option("--dataset", type=click.Path(path_type=Path), metavar="DIR",
                 help="RUN: where its dataset is now, if it was moved."),
    click.option("--mtl/--baseline", default=True, help="DIR: with heads, or without.  [default: mtl]"),
    click.option("--groups", type=int, help="DIR: territory groups K.  [default: the dataset's, or 4]"),
    click.option("--head", type=click.Choice(HEADS), help="DIR: heads on the user tower."),
    click.option("--batchnorm", type=click.Choice(BATCHNORMS),
                 help="DIR: moments of the user tower's batch-norm: of all rows, or of each group.  [default: all]"),
    click.option("--hidden", type=int, help="DIR: width D of every layer."),
    click.option("--preset", type=click.Choice(list(PRESETS)), default="default", show_default=True,
                 help="DIR: shape of the network."),
    click.option("--config", "config_file", type=click.Path(path_type=Path), metavar="FILE",
                 help="DIR: settings from a TOML file."),
    click.option("--sample", "sample_name", default="default", show_default=True, metavar="NAME",
                 help="DIR: which pairs."),
    click.option("--grouping", type=click.Path(path_type=Path), metavar="FILE",
                 help="DIR: groups of territories from a CSV (territory,group)."),
    click.option("--seed", type=int, help="DIR: of the weights and the order of the pairs."),
]  # fmt: skip


def subject_options(command: Command) -> Command:
    """The command gets one argument ``subject``, a function of a progress display that opens what was asked for."""

    @wraps(command)
    def with_subject(**options: Any) -> Any:
        values = {name: options.pop(name) for name in NAMES}
        context = click.get_current_context()
        given = {name for name in NAMES if context.get_parameter_source(name) != ParameterSource.DEFAULT}
        return command(subject=opener(values, given, context), **options)

    for option in reversed(OPTIONS):
        with_subject = option(with_subject)
    return with_subject  # type: ignore[return-value]


NAMES = ("source", "number", "batch_size", "dataset", "mtl", "groups", "head", "batchnorm", "hidden", "preset",
         "config_file", "sample_name", "grouping", "seed")  # fmt: skip


def opener(values: dict[str, Any], given: set[str], context: click.Context) -> Callable[[Progress], "Subject"]:
    """A function that opens a run or a dataset. Errors: InputError for options that would do nothing."""
    source, shown = values["source"], {str(p.name): p.opts[0] for p in context.command.params}
    place = {name: values[name] for name in ("number", "batch_size")}

    def open_subject(progress: Progress) -> "Subject":
        from twotower.lab import subject
        from twotower.training.job import known_groups

        if subject.is_run(source):
            refuse(given - OF_BOTH - OF_RUN, shown, f"{source} is a run: its own settings are used")
            return subject.subject_of_run(source, values["dataset"], **place, progress=progress)
        refuse(given & OF_RUN, shown, f"{source} is not a run")
        mtl, grouping = values["mtl"], values["grouping"]
        known = known_groups(source, grouping) if mtl else None
        options = {name: values[name] for name in ("groups", "head", "batchnorm", "hidden", "seed")}
        config = config_from_options(values["preset"], values["config_file"], mtl, options, known)
        where = source, config, values["sample_name"], grouping
        return subject.subject_of_dataset(*where, **place, progress=progress)

    return open_subject


def refuse(names: set[str], shown: dict[str, str], why: str) -> None:
    if names:
        raise InputError(f"{', '.join(sorted(shown[name] for name in names))}: {why}")

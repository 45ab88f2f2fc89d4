"""``twotower train``"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from twotower.core.config import (
    BATCHINGS,
    BATCHNORMS,
    DEBIASES,
    HEADS,
    MTL_HEADS,
    OFFSETS,
    OUTPUTS,
    PRESET_TRAINING,
    PRESETS,
    RANKED,
    TASK_WEIGHTS,
    Config,
    ModelConfig,
    TrainConfig,
    kind_of,
    load_toml,
    mtl_training,
)
from twotower.core.errors import InputError

DEFAULT_GROUPS = 4  # of --mtl, as in the paper
DEFAULT_PERIODS = 3  # of --incremental: the paper has three test days
CHOICES = {
    "head": HEADS, "output": OUTPUTS, "title_offsets": OFFSETS, "batching": BATCHINGS,
    "batchnorm": BATCHNORMS, "task_weights": TASK_WEIGHTS, "debias": DEBIASES,
}  # fmt: skip
NAMES = {"incremental_periods": "periods"}  # where the option is not called as its setting
TYPES = {"int": int, "float": float, "str": str}

Command = TypeVar("Command", bound=Callable[..., Any])


def config_options(command: Command) -> Command:
    """An option for every setting of the configuration; one that is not given keeps the setting's value."""
    for section in (TrainConfig, ModelConfig):
        for item in reversed(fields(section)):
            kind, name = kind_of(item), NAMES.get(item.name, item.name).replace("_", "-")
            flag = f"--{name}/--no-{name}" if kind == "bool" else f"--{name}"
            default = "yes" if item.default is True else "no" if item.default is False else item.default
            choice = click.Choice(CHOICES[item.name]) if item.name in CHOICES else TYPES.get(kind)
            text = f"{item.metadata['help']}  [default: {default}]"
            command = click.option(flag, item.name, type=choice, default=None, help=text)(command)
    return command


def effective_config(
    preset: str, file: Path | None, mtl: bool, options: dict[str, Any], known_groups: int | None = None
) -> Config:
    """Preset, then the file, then --mtl, then single options: each overrides what stands before it.

    ``known_groups`` is what --mtl means where nobody says how many. Errors: InputError for values that cannot
    be, and for options that would do nothing.
    """
    shape = {"model": PRESETS[preset], "train": PRESET_TRAINING[preset]}
    layers: list[tuple[str, dict[str, Any]]] = [(f"preset {preset}", shape)]
    if file is not None:
        layers.append((str(file), load_toml(file)))
    given = {name: value for name, value in options.items() if value is not None}
    if mtl:
        heads = multi_task_settings(preset, layers, known_groups)
        ours = "head" in heads and "head" not in given
        bias = (heads | model_settings(layers) | given).get("title_bias", False)
        training = mtl_training(preset, file_settings(layers) | given, bias) if ours else {}
        layers.append(("--mtl", {"model": heads, "train": training}))
    sections = {"model": ModelConfig, "train": TrainConfig}
    of_section = {key: [item.name for item in fields(section)] for key, section in sections.items()}
    chosen = {key: {n: given[n] for n in names if n in given} for key, names in of_section.items()}
    config = Config.from_layers(*layers, ("options", chosen))
    if "offset_prior" in given and config.model.title_offsets == "none":
        raise InputError(f"--offset-prior {given['offset_prior']}: there are no title offsets (see --title-offsets)")
    head = config.model.head
    if "rank" in given and head not in RANKED:
        raise InputError(f"--rank {given['rank']}: only low-rank heads have one, and the head is {head}")
    if "experts" in given and head != "mmoe":
        raise InputError(f"--experts {given['experts']}: only mmoe heads have some, and the head is {head}")
    if "debias_strength" in given and config.train.debias == "none":
        raise InputError(f"--debias-strength {given['debias_strength']}: there is nothing to strengthen, see --debias")
    for name in ("patience", "validations_per_epoch"):
        if name in given and config.train.validation == 0:
            raise InputError(f"--{name} {given[name]}: there is no validation, its share is 0")
    return config


def file_settings(layers: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """The training settings that the last layer names, which --mtl leaves alone."""
    settings = layers[-1][1].get("train")
    return settings if isinstance(settings, dict) else {}


def model_settings(layers: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """The settings of the model in all layers so far."""
    found: dict[str, Any] = {}
    for _, layer in layers:
        found |= layer.get("model", {}) if isinstance(layer.get("model"), dict) else {}
    return found


def multi_task_settings(
    preset: str, layers: list[tuple[str, dict[str, Any]]], known_groups: int | None
) -> dict[str, Any]:
    """What --mtl stands for: groups, and heads where the layers before it have none."""
    before = model_settings(layers)
    heads = MTL_HEADS[preset] if before.get("head", "none") == "none" else {}
    if before.get("groups", 1) != 1:
        return heads
    return {"groups": known_groups if known_groups and known_groups > 1 else DEFAULT_GROUPS, **heads}


def asked_periods(incremental: bool | None, periods: int | None, test_days: int) -> int | None:
    """What --incremental, --no-incremental and --periods mean together; None where none of them is given.

    Errors: InputError when they contradict each other, and for a single period, which leaves nothing to learn between.
    """
    if periods == 1:
        raise InputError("--periods 1: training goes on between periods; expected at least 2, or 0 for none of it")
    if incremental is None:
        return periods
    if periods is not None and incremental != (periods > 0):
        flag = "--incremental" if incremental else "--no-incremental"
        raise InputError(f"{flag} --periods {periods}: expected one of the two")
    most = test_days if test_days > 1 else DEFAULT_PERIODS  # without two of them it is refused
    return (periods or min(DEFAULT_PERIODS, most)) if incremental else 0


@click.command()
@click.argument("directory", default="world", type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--mtl", is_flag=True, help="Multi-task: a head on the user tower for each territory group.")
@click.option("--preset", type=click.Choice(list(PRESETS)), default="default", show_default=True,
              help="Shape of the network: what works by evidence, or the paper to the letter.")  # fmt: skip
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Settings from a TOML file.")
@click.option("--sample", "sample_name", default="default", show_default=True, metavar="NAME",
              help="Which pairs to learn from.")  # fmt: skip
@click.option("--grouping", type=click.Path(path_type=Path), metavar="FILE",
              help="Groups of territories from a CSV (territory,group) for this run.")  # fmt: skip
@click.option("--run", "run_path", type=click.Path(path_type=Path), metavar="RUN",
              help="Directory of the run.  [default: the next number under runs/]")  # fmt: skip
@click.option("--label", help="Name of the method; runs that differ only in their seed share it.")
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN",
              help="Go on with an interrupted run; its own settings are used.")  # fmt: skip
@click.option("--incremental/--no-incremental", default=None,
              help=f"Learn from each period of test days before the next: --periods {DEFAULT_PERIODS}, or as many as "
              "there are days, or 0.  "
              "[default: no]")  # fmt: skip
@config_options
@click.pass_context
def train(
    context: click.Context,
    directory: Path,
    mtl: bool,
    incremental: bool | None,
    preset: str,
    config_file: Path | None,
    resume: Path | None,
    sample_name: str,
    grouping: Path | None,
    run_path: Path | None,
    label: str | None,
    **options: Any,
) -> None:
    """Train a model and evaluate it on unseen users and days.

    DIR is a dataset. Without one the built-in world is made first, in ./world. Territories are grouped
    (see twotower group) and pairs are drawn (see twotower sample) where that has not been done.

    \b
    Example:
      twotower train --mtl --groups 4
      twotower train lastfm --mtl --head residual --epochs 5 --seed 1
      twotower train lastfm --config settings.toml --preset paper
      twotower train world --mtl --incremental --periods 3
    """
    given = [p for p in context.params if context.get_parameter_source(p) != ParameterSource.DEFAULT]
    if resume is not None and (others := set(given) - {"resume", "directory"}):
        raise InputError(f"--resume: the run's own settings are used; leave out {', '.join(sorted(others))}")

    from twotower.report.evaluation import TOP, territory_table
    from twotower.report.progress import show_progress
    from twotower.report.terminal import print_table, stdout_console
    from twotower.training import job

    work: Callable[..., tuple[Path, Any]]
    if resume is not None:
        work = partial(job.resume, resume, directory=directory if "directory" in given else None)
    else:
        options["incremental_periods"] = asked_periods(
            incremental, options["incremental_periods"], job.known_test_days(directory)
        )
        known = job.known_groups(directory, grouping) if mtl else None
        config = effective_config(preset, config_file, mtl, options, known)
        work = job.TrainingJob(directory, config, sample_name, grouping, run_path, label).run
    with saying_how_to_go_on(), show_progress() as progress:
        path, evaluation = work(progress)
    print_table(territory_table(evaluation, TOP), stdout_console())
    run = quote(str(path))
    click.echo(f"The run lies in {path}.")
    click.echo(f"Next: twotower evaluate {run} --by title; twotower compare {run} OTHER_RUN")


@contextmanager
def saying_how_to_go_on() -> Iterator[None]:
    """After Ctrl-C or on a full disk, print the command that takes the run up again, if there is one."""
    try:
        yield
    except (KeyboardInterrupt, OSError, MemoryError) as stop:
        if go_on := str(stop) if isinstance(stop, KeyboardInterrupt) else getattr(stop, "go_on", None):
            click.echo(f"Go on with: {go_on}", err=True)
        raise

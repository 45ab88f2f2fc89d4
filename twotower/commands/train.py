"""``twotower train``"""

from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from twotower.config import BATCHINGS, HEADS, MTL_HEADS, OUTPUTS, PRESETS, Config, ModelConfig, TrainConfig, load_toml
from twotower.errors import InputError

DEFAULT_GROUPS = 4  # of --mtl, as in the paper
CHOICES = {"head": HEADS, "output": OUTPUTS, "batching": BATCHINGS}
TYPES = {"int": int, "float": float, "str": str}


def config_options(command: click.Command) -> click.Command:
    """An option for every setting of the configuration; one that is not given keeps the setting's value."""
    for section in (TrainConfig, ModelConfig):
        for item in reversed(fields(section)):
            kind = item.type if isinstance(item.type, str) else item.type.__name__
            name = item.name.replace("_", "-")
            flag = f"--{name}/--no-{name}" if kind == "bool" else f"--{name}"
            default = "yes" if item.default is True else "no" if item.default is False else item.default
            choice = click.Choice(CHOICES[item.name]) if item.name in CHOICES else TYPES.get(kind)
            text = f"{item.metadata['help']}  [default: {default}]"
            command = click.option(flag, item.name, type=choice, default=None, help=text)(command)
    return command


def effective_config(preset: str, file: Path | None, mtl: bool, options: dict[str, Any]) -> Config:
    """Preset, then the file, then --mtl, then single options: each overrides what stands before it."""
    base = Config.from_dict({"model": PRESETS[preset]})
    if file is not None:
        base = Config.from_dict(load_toml(file), base, str(file))
    given = {name: value for name, value in options.items() if value is not None}
    sections = {
        key: {item.name: given[item.name] for item in fields(section) if item.name in given}
        for key, section in (("model", ModelConfig), ("train", TrainConfig))
    }
    if mtl:
        groups = base.model.groups if base.model.groups > 1 else DEFAULT_GROUPS
        heads = MTL_HEADS[preset] if base.model.head == "none" else {}
        sections["model"] = {"groups": groups, **heads, **sections["model"]}
    config = Config.from_dict(sections, base, "options")
    if "rank" in given and config.model.head != "lowrank":
        raise InputError(f"--rank {given['rank']}: only low-rank heads have a rank, and this head is {config.model.head}")
    return config


@click.command()
@click.argument("directory", default="world", type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--mtl", is_flag=True, help="Multi-task: a head on the user tower for each group of territories.")
@click.option("--preset", type=click.Choice(list(PRESETS)), default="default", show_default=True,
              help="Shape of the network: what works by evidence, or the paper to the letter.")  # fmt: skip
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Settings from a TOML file.")
@click.option("--sample", "sample_name", default="default", show_default=True, help="Which pairs to learn from.")
@click.option("--grouping", type=click.Path(path_type=Path), metavar="FILE",
              help="Groups of territories from a CSV (territory,group) for this run.")  # fmt: skip
@click.option("--run", "run_path", type=click.Path(path_type=Path), metavar="RUN",
              help="Directory of the run.  [default: the next number under runs/]")  # fmt: skip
@click.option("--label", help="Name of the method; runs that differ only in their seed share it.")
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN",
              help="Go on with an interrupted run; its own settings are used.")  # fmt: skip
@config_options
def train(directory: Path, mtl: bool, preset: str, config_file: Path | None, resume: Path | None, **options: Any) -> None:
    """Train a model and evaluate it on unseen users and days.

    DIR is a dataset. Without one the built-in world is made first, in ./world. Territories are grouped
    (see twotower group) and pairs are drawn (see twotower sample) where that has not been done.

    \b
    Example:
      twotower train --mtl --groups 4
      twotower train lastfm --mtl --head residual --epochs 5 --seed 1
      twotower train lastfm --config settings.toml --preset paper
    """
    from rich.console import Console

    from twotower import pipeline
    from twotower.report.progress import show_progress
    from twotower.report.tables import territory_table

    places = {name: options.pop(name) for name in ("sample_name", "grouping", "run_path", "label")}
    job = pipeline.TrainingJob(directory, effective_config(preset, config_file, mtl, options), **places)
    with show_progress() as progress:
        path, evaluation = job.run(progress) if resume is None else pipeline.resume(resume, progress)
    Console().print(territory_table(evaluation))
    click.echo(f"The run lies in {path}. Next: twotower evaluate {path} --by title; twotower compare {path} OTHER_RUN")

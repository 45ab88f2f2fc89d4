"""``twotower train``"""

import re
import sys
from contextlib import nullcontext
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from twotower.cli.config_options import ShortHelp, config_from_options, config_options, given_options
from twotower.core.config import load_toml
from twotower.core.errors import InputError
from twotower.core.presets import DEFAULT_PERIODS, PRESETS

if TYPE_CHECKING:
    from twotower.training.processes import Processes

DEFAULT_SHARDS = 8  # with --processes

COMMON = {
    "mtl", "groups", "head", "preset", "config_file", "sample_name", "run_path", "label", "resume", "incremental",
    "epochs", "batch_size", "hidden", "seed", "threads",
}  # fmt: skip


class Seconds(click.ParamType[float]):
    """A time with its unit, in seconds."""

    name = "time"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|min|h)", value)
        if match is None:
            self.fail(f"{value!r}: expected a time with its unit, such as 30s, 5min or 1h", param, ctx)
        return float(match[1]) * {"s": 1, "min": 60, "h": 3600}[match[2]]


def periods_from_options(incremental: bool | None, periods: int | None, test_days: int) -> int | None:
    """The number of periods that --incremental, --no-incremental and --periods give together; None without them.

    Errors: InputError when they contradict each other, and for a single period, which leaves nothing to learn between.
    """
    if periods == 1:
        raise InputError("--periods 1: training continues between periods; expected at least 2, or 0 for none")
    if incremental is None:
        return periods
    if periods is not None and incremental != (periods > 0):
        flag = "--incremental" if incremental else "--no-incremental"
        raise InputError(f"{flag} --periods {periods}: expected one of the two")
    most = test_days if test_days > 1 else DEFAULT_PERIODS  # without two of them it is refused
    return (periods or min(DEFAULT_PERIODS, most)) if incremental else 0


@click.command(cls=ShortHelp, common=COMMON)
@click.argument("directory", default="world", type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--mtl", is_flag=True, help="Multi-task: one head on the user tower per territory group.")
@click.option("--preset", type=click.Choice(list(PRESETS)), default="default", show_default=True,
              help="Architecture: what works best, or the paper to the letter.")  # fmt: skip
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Settings from a TOML file.")
@click.option("--sample", "sample_name", default="default", show_default=True, metavar="NAME",
              help="Sample of training and test pairs.")  # fmt: skip
@click.option("--grouping", type=click.Path(path_type=Path), metavar="FILE",
              help="Groups of territories from a CSV (territory,group) for this run.")  # fmt: skip
@click.option("--run", "run_path", type=click.Path(path_type=Path), metavar="RUN",
              help="Directory to save the run to.  [default: the next number under runs/]")  # fmt: skip
@click.option("--label", help="Name of the method: runs that differ only in their seed share it.")
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN",
              help="Continue an interrupted run with its own settings.")  # fmt: skip
@click.option("--checkpoint-every", type=Seconds(), default="5min", show_default=True, metavar="TIME",
              help="Time between two checkpoints inside an epoch, such as 30s, 5min or 1h.")  # fmt: skip
@click.option("--incremental/--no-incremental", default=None,
              help=f"Continue training on each period of test days before evaluating the next; short for --periods "
              f"{DEFAULT_PERIODS}, or fewer if there are fewer days.  [default: no]")  # fmt: skip
@click.option("--processes", type=click.IntRange(1, 128), metavar="N",
              help="Train in 1, 2, 4, 8, … processes, by MPI; results depend on --shards alone.")  # fmt: skip
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
    checkpoint_every: float,
    processes: int | None,
    **options: Any,
) -> None:
    """Train a model and evaluate it on unseen users and days.

    DIR is a dataset. Without one, a synthetic world is first simulated in ./world. Territories are grouped (see
    twotower group) and pairs are sampled (see twotower sample) unless that has been done already.
    --help-all lists an option for every setting.

    \b
    Example:
      twotower train --mtl --groups 4
      twotower train lastfm --mtl --head residual --epochs 5 --seed 1
      twotower train lastfm --config settings.toml --preset paper
      twotower train world --mtl --incremental --periods 3
    """
    given = given_options(context)
    if resume is not None and (others := given - {"resume", "directory", "checkpoint_every", "processes"}):
        raise InputError(f"--resume: the run's own settings are used; leave out {', '.join(sorted(others))}")

    from twotower.training import launch

    if processes is not None and not launch.is_rank():
        launch.start(sys.argv[1:], processes)
        return
    if processes is not None and resume is None and options["shards"] is None:
        from_file = load_toml(config_file).get("train", {}) if config_file else {}
        options["shards"] = from_file.get("shards", max(DEFAULT_SHARDS, processes))
    with launch.taking_part(processes) as ranks:
        settings = preset, config_file, mtl, incremental, options
        place = directory if resume is None or "directory" in given else None
        run_and_show(ranks, place, settings, resume, sample_name, grouping, run_path, label, checkpoint_every)


def run_and_show(
    ranks: "Processes", directory: Path | None, settings: tuple[Any, ...], resume: Path | None, sample_name: str,
    grouping: Path | None, run_path: Path | None, label: str | None, checkpoint_every: float,
) -> None:  # fmt: skip
    """Train as the options say, and print what came out."""
    from twotower.cli.summaries.evaluation import TOP, territory_table
    from twotower.core.progress import silent
    from twotower.report.progress import show_progress
    from twotower.report.terminal import print_table, stdout_console
    from twotower.training import job, launch

    with nullcontext(silent) if ranks.rank else show_progress() as progress:
        if resume is not None:
            launch.take_turns(ranks, directory, sample_name, progress)
            own = launch.own_place(ranks, resume)
            path, evaluation = job.resume(own or resume, progress, directory, checkpoint_every)
        else:
            assert directory is not None
            preset, config_file, mtl, incremental, options = settings
            periods = periods_from_options(incremental, options["incremental_periods"], job.known_test_days(directory))
            known = job.known_groups(directory, grouping) if mtl else None
            config = config_from_options(preset, config_file, mtl, options | {"incremental_periods": periods}, known)
            launch.warn_of_crowding(ranks, config.train.threads)
            launch.take_turns(ranks, directory, sample_name, progress)
            own = launch.own_place(ranks, None)
            training = job.TrainingJob(
                directory, config, sample_name, grouping, own or run_path, label, checkpoint_every
            )
            path, evaluation = training.run(progress)
    print_table(territory_table(evaluation, TOP), stdout_console())
    run = quote(str(path))
    click.echo(f"Saved to {path}.")
    click.echo(f"Next: twotower evaluate {run} --by title; twotower compare {run} OTHER_RUN")

"""``twotower experiment``"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from twotower.cli.config_options import ShortHelp, chosen_settings, config_options
from twotower.cli.sample import sample_options
from twotower.core.config import load_toml
from twotower.core.errors import InputError
from twotower.core.presets import DEFAULT_GROUPS, DEFAULT_PERIODS, PRESETS, build_config
from twotower.core.settings import OPTIONS, Sections
from twotower.experiments.methods import DEFAULT_METHODS, METHODS, find_methods

FURTHER = [name for name in METHODS if name not in DEFAULT_METHODS]
COMMON = {
    "methods", "seeds", "groups", "periods", "name", "out", "preset", "config_file", "dev_users", "html", "hidden",
    "epochs", "batch_size", "learning_rate", "threads",
}  # fmt: skip
NOT_SHARED = {"groups", "seed", "incremental_periods"}  # settings that the experiment makes itself


def shared_options(command: Any) -> Any:
    """The options of ``twotower train`` for all settings that methods share."""
    config_options(command)
    command.__click_params__ = [p for p in command.__click_params__ if p.name not in NOT_SHARED]
    return command


@click.command(cls=ShortHelp, common=COMMON)
@click.argument("directory", default="world", type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--methods", default=",".join(DEFAULT_METHODS), show_default=True, metavar="LIST",
              help=f"Methods to compare, or all; also available: {', '.join(FURTHER)}.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1), metavar="N", default=5, show_default=True,
              help="Runs per method, with seeds 0, 1, …")  # fmt: skip
@click.option("--groups", type=click.IntRange(1), metavar="N", default=DEFAULT_GROUPS, show_default=True,
              help="Groups of territories, each with its own head.")  # fmt: skip
@click.option("--periods", type=click.IntRange(1), metavar="N", default=DEFAULT_PERIODS, show_default=True,
              help="Blocks of test days; models are updated with each before the next is evaluated.")  # fmt: skip
@click.option("--name", metavar="NAME", help="Name of the experiment.  [default: the dataset's name]")
@click.option("--out", type=click.Path(path_type=Path), metavar="PATH",
              help="Directory of the experiment.  [default: experiments/NAME]")  # fmt: skip
@click.option("--preset", type=click.Choice(list(PRESETS)), default="default", show_default=True,
              help="Settings of the network: those that work best, or the paper to the letter.")  # fmt: skip
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Settings from a TOML file.")
@sample_options("random_users", "active_users", "quota", "test_users", "alpha", "dev_users")
@click.option("--min-positives", type=click.IntRange(1), metavar="N", default=50, show_default=True,
              help="Test positives that a territory needs for a verdict.")  # fmt: skip
@click.option("--replicates", type=click.IntRange(1), metavar="N", default=1000, show_default=True,
              help="Bootstrap replicates: the more, the smoother the intervals.")  # fmt: skip
@click.option("--html/--no-html", default=True, show_default=True, help="Write the report as a web page, report.html.")
@shared_options
def experiment(
    directory: Path,
    methods: str,
    seeds: int,
    groups: int,
    periods: int,
    name: str | None,
    out: Path | None,
    preset: str,
    config_file: Path | None,
    random_users: int | str,
    active_users: int | str,
    quota: str,
    test_users: int | str,
    alpha: float | str,
    dev_users: bool,
    min_positives: int,
    replicates: int,
    html: bool,
    **options: Any,
) -> None:
    """Run the paper's experiment: compare methods over several seeds.

    DIR is a dataset; without one, the built-in world is first simulated in ./world. Each method is trained on its own
    sample of the same users, with the same settings and seeds, and evaluated on the same test users. Missing samples
    are drawn. Finished runs are not trained again: repeat the command after an interruption, or with more --seeds or
    --methods. Choose between methods with --dev-users, and look at the test users only once, at the end.

    \b
    Example:
      twotower experiment
      twotower experiment lastfm --hidden 128 --batch-size 2048 --epochs 4 --patience 1
      twotower experiment lastfm --methods mtl,upsampled,shuffled --seeds 3 --name control
      twotower experiment lastfm --methods upsampled,offsets,mtl,residual --dev-users
    """
    from twotower.core.formatting import duration
    from twotower.data.sampling.sample_config import SampleConfig
    from twotower.experiments import experiment
    from twotower.experiments.plan import EXPERIMENTS, Plan
    from twotower.experiments.report.tables import print_experiment
    from twotower.report.progress import show_progress
    from twotower.report.terminal import stdout_console
    from twotower.training.job import known_test_days

    asked = click.get_current_context().get_parameter_source("periods") != ParameterSource.DEFAULT
    days = known_test_days(directory)
    if asked and periods > max(1, days):
        raise InputError(f"--periods {periods}: expected at most as many as {directory} has test days: {days}")
    called = name or directory.resolve().name + ("-dev" if dev_users else "")
    plan = Plan(
        dataset=directory,
        path=out or EXPERIMENTS / called,
        name=called,
        methods=tuple(find_methods(methods)),
        seeds=seeds,
        groups=groups,
        periods=periods,
        preset=preset,
        settings=shared_settings(config_file, options),
        sample=SampleConfig(random_users, active_users, test_users, quota=quota, alpha=alpha, dev_users=dev_users),
        min_positives=min_positives,
        replicates=replicates,
    )
    started = time.perf_counter()
    with show_progress() as progress:
        record = experiment.run_experiment(plan, progress)
    seconds = time.perf_counter() - started
    print_experiment(record, stdout_console())
    click.echo(f"Saved to {plan.path} in {duration(seconds)}: experiment.json, tables and runs.")
    if html:
        try:
            click.echo(f"Report: {experiment.write_report(plan.path)}")
        except InputError as error:
            click.echo(f"twotower: {error}", err=True)


def shared_settings(file: Path | None, options: Mapping[str, Any]) -> Sections:
    """Settings of a file, and over them the options that were given.

    Errors: InputError for those that an experiment makes itself, and for what is no setting.
    """
    settings = load_toml(file) if file is not None else {}
    chosen = chosen_settings(options)
    build_config("default", True, [(str(file), settings), (OPTIONS, chosen)])  # with heads: some settings are theirs
    for section, values in settings.items():
        if own := NOT_SHARED & set(values):
            raise InputError(
                f"{file}: {section}.{min(own)} is set by the experiment: "
                "leave it out of the file (see twotower experiment --help)"
            )
    return {section: {**settings.get(section, {}), **values} for section, values in chosen.items()}

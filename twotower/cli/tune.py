"""``twotower tune``"""

import re
from pathlib import Path
from shlex import quote

import click

from twotower.cli.sample import sample_options
from twotower.core.errors import InputError
from twotower.core.presets import DEFAULT_GROUPS, PRESETS

UNITS = {"s": 1, "min": 60, "h": 3600}


def seconds(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """``90s``, ``30min`` or ``1.5h`` in seconds."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h)", text.strip())
    if match is None or not float(match[1]):
        raise click.BadParameter(f"{text!r}: expected a time such as 90s, 30min or 1.5h", context, parameter)
    return float(match[1]) * UNITS[match[2]]


@click.command()
@click.argument("directory", default="world", type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--method", default="mtl", show_default=True, metavar="NAME", help="The method to tune.")
@click.option("--trials", type=click.IntRange(1), default=40, show_default=True, metavar="N",
              help="Trials altogether, those of earlier calls and of other processes included.")  # fmt: skip
@click.option("--timeout", callback=seconds, metavar="TIME", help="Stop after so long, such as 90s, 30min or 1h.")
@click.option("--groups", type=click.IntRange(1), metavar="N", default=DEFAULT_GROUPS, show_default=True,
              help="Groups of territories, each with its own head.")  # fmt: skip
@click.option("--preset", type=click.Choice(list(PRESETS)), default="default", show_default=True,
              help="Settings of the network: those that work best, or the paper to the letter.")  # fmt: skip
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Fixed settings from a TOML file.")
@click.option("--name", metavar="NAME", help="Name of the search.  [default: the dataset's name and the method's]")
@sample_options("random_users", "active_users", "quota", "test_users", "alpha")
def tune(
    directory: Path,
    method: str,
    trials: int,
    timeout: float | None,
    groups: int,
    preset: str,
    config_file: Path | None,
    name: str | None,
    random_users: int | str,
    active_users: int | str,
    quota: str,
    test_users: int | str,
    alpha: float | str,
) -> None:
    """Search for better settings on development users.

    Tries learning rate, epochs, widths and weight decays, each trial a run with one seed, and never looks at the test
    users. What the --config file names stays fixed. Repeat the command to go on after an interruption or with more
    --trials; start it several times at once to use more processes. Ends with a file of settings for twotower train
    and twotower experiment, where the gain has to be confirmed on the test users.

    \b
    Example:
      twotower tune lastfm --trials 40 --timeout 1h
      twotower experiment lastfm --config tuning/lastfm-mtl/best.toml
    """
    from twotower.core.config import Config, load_toml
    from twotower.data.sampling.sample_config import SampleConfig
    from twotower.experiments.methods import find_methods
    from twotower.experiments.tuning import BEST, TUNING, TuningConfig
    from twotower.experiments.tuning import tune as search
    from twotower.report.progress import show_progress

    chosen = find_methods(method)
    if len(chosen) != 1:
        raise InputError(f"--method {method!r}: expected one method")
    settings = load_toml(config_file) if config_file else {}
    Config.from_layers((str(config_file), settings))
    config = TuningConfig(
        directory,
        TUNING / (name or f"{directory.resolve().name}-{chosen[0].name}"),
        chosen[0],
        trials,
        timeout,
        groups,
        preset,
        settings,
        SampleConfig(random_users, active_users, test_users, quota=quota, alpha=alpha, dev_users=True),
    )
    with show_progress() as progress:
        summary = search(config, progress)
    states = ", ".join(f"{count} {state}" for state, count in summary.trials.items())
    gain, best_value = summary.gain, f"{summary.value:.4f} with the best settings (trial {summary.best})"
    click.echo(f"Overall PR-AUC on development users: {best_value}, {summary.default:.4f} with the defaults.")
    click.echo(f"Trials: {states}.")
    click.echo(f"Gain over the defaults: {gain['mean']:+.2f} % ({gain['low']:+.2f} to {gain['high']:+.2f}), one seed;")
    click.echo("the best of many is flattered: confirm it on the test users, with several seeds.")
    for section, values in summary.settings.items():
        for setting, value in values.items():
            share = summary.importances.get(setting)
            weight = "" if share is None else f"   importance {share:.2f}"
            click.echo(f"  {section}.{setting} = {value:g}{weight}")
    best = quote(str(summary.path / BEST))
    click.echo(f"Saved to {summary.path}. Next: twotower experiment {quote(str(directory))} --config {best}")

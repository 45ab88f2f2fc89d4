"""``twotower sample``"""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

import click

from twotower.data.sampling.quotas import QUOTAS
from twotower.data.sampling.sample_config import NEGATIVES, USERS, SampleConfig, users_of

Command = TypeVar("Command", bound=Callable[..., Any])


class Amount(click.ParamType):
    """A number of users (5000) or a share (30%)."""

    name = "users"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "N|SHARE%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        share = users_of(value)
        if isinstance(share, float):
            return value if share else 0
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is not {USERS}{_remedy(value)}", param, ctx)


def _remedy(value: str) -> str:
    """What a bare fraction such as 0.3 probably means."""
    try:
        return f" (for that share: {100 * float(value):.12g}%)"
    except ValueError:
        return ""


class Alpha(click.ParamType):
    """A number of negatives per positive, or auto."""

    name = "alpha"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "NUMBER|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        try:
            return value if value == "auto" else float(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor 'auto'", param, ctx)


#: How the command line reads each setting of a sample.
TYPES: dict[str, dict[str, Any]] = {
    "random_users": {"type": Amount()},
    "active_users": {"type": Amount()},
    "test_users": {"type": Amount()},
    "window": {"type": int, "metavar": "DAYS"},
    "quota": {"type": click.Choice(QUOTAS)},
    "alpha": {"type": Alpha()},
    "negatives": {"type": click.Choice(NEGATIVES)},
    "dev_users": {"is_flag": True},
    "seed": {"type": int},
}


def sample_options(*names: str) -> Callable[[Command], Command]:
    """An option for each of these settings of a sample."""

    def add(command: Command) -> Command:
        for item in reversed(fields(SampleConfig)):
            if item.name in names:
                flag, kind = f"--{item.name.replace('_', '-')}", TYPES[item.name]
                default = {"default": item.default, "show_default": not kind.get("is_flag")}
                command = click.option(flag, item.name, help=item.metadata["help"], **kind, **default)(command)
        return command

    return add


@click.command()
@click.argument("directory", default="world", type=click.Path(path_type=Path), metavar="[DIR]")
@sample_options(*TYPES)
@click.option("--name", default="default", show_default=True, help="Name of the sample, within the dataset.")
@click.option("--overwrite", is_flag=True, help="Replace the sample of that name.")
@click.option("--all", "every_territory", is_flag=True, help="Print every territory, not only the 20 largest.")
def sample(directory: Path, name: str, overwrite: bool, every_territory: bool, **options: Any) -> None:
    """Draw the users, positives and negatives to train and test on.

    Training users are random users plus extra active users, who add positives where a territory has few. Test users
    are disjoint from both; samples with the same --seed, --test-users, --alpha and --negatives share their test
    pairs, so that models trained on them can be compared. Streams of training users on test days are set aside for
    twotower train --incremental. With --dev-users, development users take the place of the test users: choose
    settings on such a sample, and the test users stay unseen.

    \b
    Example:
      twotower sample world
      twotower sample world --active-users 0 --name baseline
      twotower sample lastfm --random-users 30% --active-users 3000 --quota equal --alpha auto
    """
    from twotower.cli.config_options import given_options
    from twotower.cli.summaries.sample import print_sample
    from twotower.core.no_effect import refuse_no_effect
    from twotower.data.dataset import Dataset
    from twotower.data.sampling.sampler import sample as make_sample
    from twotower.report.progress import show_progress
    from twotower.report.terminal import stdout_console

    config = SampleConfig(**options)
    refuse_no_effect("sample", given_options(), {**options, "active_users": users_of(config.active_users)})
    with show_progress() as progress:
        dataset = Dataset.open(directory)
        summary = make_sample(dataset, config, progress, name, overwrite)
    print_sample(stdout_console(), summary, every_territory)
    option = "" if name == "default" else f" --sample {name}"
    where = quote(str(directory))
    ready = f"train {where}{option}" if dataset.has_vectors else f"embed {where}"
    click.echo(f"Sample {name!r} saved to {directory}. Next: twotower {ready}")

"""``twotower sample``"""

from pathlib import Path
from shlex import quote
from typing import Any

import click


class Amount(click.ParamType):
    """A number of users (5000) or a share (0.3 or 30%)."""

    name = "number or share"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "N|SHARE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | float:
        if not isinstance(value, str):
            return value
        try:
            if value.endswith("%"):
                return float(value[:-1]) / 100
            return float(value) if "." in value else int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number such as 5000 nor a share such as 0.3", param, ctx)


class Alpha(click.ParamType):
    """A number of negatives a positive, or auto."""

    name = "alpha"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "NUMBER|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        try:
            return value if value == "auto" else float(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor 'auto'", param, ctx)


@click.command()
@click.argument("directory", default="world", type=click.Path(path_type=Path), metavar="[DIR]")
@click.option(
    "--random",
    "random_users",
    default=0.3,
    type=Amount(),
    show_default=True,
    help="Users drawn at random: a number, or a share of those who are not test users.",
)
@click.option(
    "--active",
    "active_users",
    default=0.5,
    type=Amount(),
    show_default=True,
    help="Active users drawn besides: a number, or so many to a random user, if there are.",
)
@click.option(
    "--test-users",
    default=0.3,
    type=Amount(),
    show_default=True,
    help="Users kept for the test: a number, or a share of all.",
)
@click.option(
    "--window",
    default=60,
    type=int,
    show_default=True,
    metavar="DAYS",
    help="Active is who watched something for the first time in the last so many days of training.",
)
@click.option(
    "--quota",
    default="adaptive",
    type=click.Choice(["proportional", "equal", "adaptive"]),
    show_default=True,
    help="How active users are shared out among territories; adaptive fills up those with the fewest positives first.",
)
@click.option(
    "--alpha",
    default=8.0,
    type=Alpha(),
    show_default=True,
    help="Negatives a positive; auto: users over daily first-time streamers, as in the paper.",
)
@click.option(
    "--negatives",
    default="own",
    type=click.Choice(["own", "population"]),
    show_default=True,
    help="Whose negatives: of the positive's own user, or of all drawn users of the territory.",
)
@click.option(
    "--dev-users",
    is_flag=True,
    default=False,
    help="Judge on users that are neither training nor test users, to choose settings by.",
)
@click.option("--seed", default=0, type=int, show_default=True, help="The same seed draws the same sample.")
@click.option("--name", default="default", show_default=True, help="Name of the sample in the dataset.")
@click.option("--overwrite", is_flag=True, help="Replace a sample of that name.")
@click.option("--all", "every_territory", is_flag=True, help="Print every territory, not the 20 largest.")
def sample(directory: Path, name: str, overwrite: bool, every_territory: bool, **options: Any) -> None:
    """Draw the users, positives and negatives to learn from.

    Training users are random users and, disjoint from them, active users, who bring more positives to the
    territories that have few. Test users are disjoint from both; samples with the same --seed, --test-users,
    --alpha and --negatives share their test pairs, so that models trained on them can be compared. What the
    training users watch on the test days is kept apart, for twotower train --incremental. With --dev-users other
    users stand in for the test users: settings may be chosen by such a sample, since the test users stay unseen.

    \b
    Example:
      twotower sample world
      twotower sample world --active 0 --name baseline
      twotower sample lastfm --random 30% --active 3000 --quota equal --alpha auto
    """
    from twotower.cli.given_options import refuse_given
    from twotower.cli.summaries.sample import print_sample
    from twotower.data.dataset import Dataset
    from twotower.data.sampling.sample_config import SampleConfig
    from twotower.data.sampling.sampler import sample as draw
    from twotower.report.progress import show_progress
    from twotower.report.terminal import stdout_console

    config = SampleConfig(**options)
    if config.active_users == 0:
        refuse_given(("quota", "window"), "without active users (--active 0)")
    with show_progress() as progress:
        dataset = Dataset.open(directory)
        summary = draw(dataset, config, progress, name, overwrite)
    print_sample(stdout_console(), summary, every_territory)
    of_this = "" if name == "default" else f" --sample {name}"
    where = quote(str(directory))
    ready = f"train {where}{of_this}" if dataset.has_vectors else f"embed {where}"
    click.echo(f"Sample {name!r} of {directory} is drawn. Next: twotower {ready}")

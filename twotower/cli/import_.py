"""``twotower import``"""

from pathlib import Path
from shlex import quote
from typing import Any

import click

from twotower.cli.config_options import ShortHelp

FILE = click.Path(path_type=Path)
COMMON = {
    "events", "markets", "user", "title", "territory", "time", "time_format", "users", "titles", "train_days",
    "test_days", "overwrite",
}  # fmt: skip


@click.command("import", cls=ShortHelp, common=COMMON)
@click.argument("directory", default="world", type=FILE, metavar="[DIR]")
@click.option("--events", multiple=True, type=FILE, metavar="FILE", help="A file of watch events; may be repeated.")
@click.option(
    "--market",
    "markets",
    multiple=True,
    type=(str, FILE),
    metavar="TERRITORY FILE",
    help="A file of watch events that all happened in one territory; may be repeated.",
)
@click.option("--user", default="user", show_default=True, metavar="COL", help="Column of user ids.")
@click.option("--title", default="title", show_default=True, metavar="COL", help="Column of title ids.")
@click.option(
    "--territory",
    default="territory",
    show_default=True,
    metavar="COL",
    help="Column of territories, in the file of users or else in those of events.",
)
@click.option("--time", metavar="COL", help="Column of times; without it pairs are split at random.")
@click.option("--time-format", metavar="FORMAT", help="How times are written, such as '%d/%m/%Y %H:%M'.")
@click.option("--user-info", multiple=True, metavar="COL", help="Column of the events that describes users.")
@click.option("--title-info", multiple=True, metavar="COL", help="Column of the events that describes titles.")
@click.option("--users", type=FILE, metavar="FILE", help="A file with a row a user; its columns are kept.")
@click.option("--users-id", metavar="COL", help="Its column of ids, if not called as in the events.")
@click.option("--titles", type=FILE, metavar="FILE", help="A file with a row a title; its columns are kept.")
@click.option("--titles-id", metavar="COL", help="Its column of ids, if not called as in the events.")
@click.option("--join-titles", is_flag=True, help="It has several rows a title (title,tag): join their values.")
@click.option("--title-weight", metavar="COL", help="… and a count to each row: repeat its values that often.")
@click.option(
    "--unknown-ids",
    default="fail",
    type=click.Choice(["fail", "keep", "drop"]),
    show_default=True,
    help="What to do with users and titles of the events that those files lack.",
)
@click.option("--keep-titles", metavar="REGEX", help="Keep only titles whose id matches somewhere.")
@click.option(
    "--min-title-users",
    default=1,
    type=click.IntRange(min=1),
    show_default=True,
    metavar="N",
    help="Keep only titles with so many users.",
)
@click.option(
    "--train-days",
    type=click.IntRange(min=0),
    metavar="N",
    help="Days to train on, before the test days; 0, for both, makes all of the log history, to score and not to "
    "train.  [default: 60, or half of those if fewer]",
)
@click.option(
    "--test-days",
    type=click.IntRange(min=0),
    metavar="N",
    help="The last days, to test on.  [default: 3, or a fifth of all if fewer]",
)
@click.option("--calendar", is_flag=True, help="Count all days of the calendar, not only those with events.")
@click.option(
    "--history-share",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="SHARE",
    help="Without times: the part of each user's pairs that is history.  [default: 0.5]",
)
@click.option(
    "--available-after",
    default=0,
    type=click.IntRange(min=0),
    show_default=True,
    metavar="N",
    help="A title counts as available in a territory once so many users there watched it, "
    "test days aside; 0: everywhere.",
)
@click.option("--skip-bad-rows", is_flag=True, help="Leave out and count rows of events that can't be read.")
@click.option("--separator", metavar="CHAR", help="What stands between fields (tab for a tab), instead of a guess.")
@click.option(
    "--encoding", default="utf-8", show_default=True, metavar="NAME", help="Of the text files, such as latin-1."
)
@click.option("--no-header", is_flag=True, help="The first line is data; columns are called 1, 2, 3 …")
@click.option("--no-quotes", is_flag=True, help='A " is a character like any other.')
@click.option("--seed", default=0, show_default=True, help="The same seed makes the same random split.")
@click.option("--overwrite", is_flag=True, help="Replace a dataset of that name.")
def import_(directory: Path, overwrite: bool, **options: Any) -> None:
    """Turn watch logs into a dataset.

    Events are read from one or several files, CSV or Parquet, gzipped or not. The last days are to test on,
    those before them to train on, and all before is history: what user vectors are made of, and no labels.

    \b
    Example:
      twotower import shop --events log.csv.gz --territory country --time date
      twotower import film --market DE de.csv --market FR fr.csv --titles films.csv
    """
    from twotower.cli.summaries.dataset import print_import
    from twotower.data.ingest.import_log import ImportConfig, import_logs
    from twotower.report.progress import show_progress
    from twotower.report.terminal import stdout_console

    config = ImportConfig(**options)
    with show_progress() as progress:
        summary = import_logs(directory, config, progress, overwrite)
    print_import(stdout_console(), summary)
    like = "" if summary.split.train_days else " --basis-from DATASET"
    click.echo(f"Saved to {directory}. Next: twotower embed {quote(str(directory))}{like}")

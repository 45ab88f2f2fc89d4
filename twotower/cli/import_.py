"""``twotower import``"""

from pathlib import Path
from shlex import quote
from typing import Any

import click

from twotower.cli.config_options import ShortHelp

FILE = click.Path(path_type=Path)
COMMON = {
    "events", "markets", "sql", "database", "user", "title", "territory", "time", "time_format", "users", "titles",
    "train_days", "test_days", "overwrite",
}  # fmt: skip


@click.command("import", cls=ShortHelp, common=COMMON)
@click.argument("directory", default="world", type=FILE, metavar="[DIR]")
@click.option(
    "--events",
    multiple=True,
    type=FILE,
    metavar="FILE",
    help="Watch events: a file, a folder, a quoted glob pattern or - for standard input; repeatable.",
)
@click.option(
    "--market",
    "markets",
    multiple=True,
    type=(str, FILE),
    metavar="TERRITORY FILE",
    help="A file of watch events of one territory; repeatable.",
)
@click.option("--sql", metavar="QUERY", help="A query whose rows are watch events, asked of --database.")
@click.option(
    "--database",
    metavar="URL",
    help="postgresql://USER@HOST/NAME, or a file of DuckDB or SQLite.  [default: DuckDB itself, which reads files]",
)
@click.option("--user", default="user", show_default=True, metavar="COL", help="Column of user ids.")
@click.option("--title", default="title", show_default=True, metavar="COL", help="Column of title ids.")
@click.option(
    "--territory",
    default="territory",
    show_default=True,
    metavar="COL",
    help="Column of territories, in the --users table or else in the events.",
)
@click.option("--time", metavar="COL", help="Column of times; without it, the pairs are split at random.")
@click.option(
    "--time-format", metavar="FORMAT", help="Format of the times, such as '%d/%m/%Y %H:%M'.  [default: detected]"
)
@click.option(
    "--user-info", multiple=True, metavar="COL", help="Column of the events that describes users; repeatable."
)
@click.option(
    "--title-info", multiple=True, metavar="COL", help="Column of the events that describes titles; repeatable."
)
@click.option("--users", type=FILE, metavar="FILE", help="A table with one row per user; its columns are kept.")
@click.option("--users-id", metavar="COL", help="Its column of ids.  [default: as --user]")
@click.option("--titles", type=FILE, metavar="FILE", help="A table with one row per title; its columns are kept.")
@click.option("--titles-id", metavar="COL", help="Its column of ids.  [default: as --title]")
@click.option("--join-titles", is_flag=True, help="It has several rows per title (title,tag): join their values.")
@click.option(
    "--title-weight", metavar="COL", help="It also has a count per row, in this column: repeat the values that often."
)
@click.option("--title-country", metavar="COL",
              help="Column of titles with the country of origin; several are separated by |.")  # fmt: skip
@click.option(
    "--unknown-ids",
    default="fail",
    type=click.Choice(["fail", "keep", "drop"]),
    show_default=True,
    help="Users and titles of the events that those tables lack: stop, or keep or drop their events.",
)
@click.option("--keep-titles", metavar="REGEX", help="Keep only titles whose id matches this expression anywhere.")
@click.option(
    "--min-title-users",
    default=1,
    type=click.IntRange(min=1),
    show_default=True,
    metavar="N",
    help="Keep only titles with at least N users.",
)
@click.option(
    "--train-days",
    type=click.IntRange(min=0),
    metavar="N",
    help="Training days, before the test days; with 0 for both, the whole log is history, for scoring only.  "
    "[default: 60, or half of the rest if that is fewer]",
)
@click.option(
    "--test-days",
    type=click.IntRange(min=0),
    metavar="N",
    help="Test days: the last days of the log.  [default: 3, or more up to 1,000 first streams; at most a fifth of "
    "all days]",
)
@click.option("--calendar", is_flag=True, help="Count every day of the calendar, not only those with events.")
@click.option(
    "--history-share",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="SHARE",
    help="Without --time: share of each user's pairs that is history.  [default: 0.5]",
)
@click.option(
    "--available-after",
    default=0,
    type=click.IntRange(min=0),
    show_default=True,
    metavar="N",
    help="A title is available in a territory if at least N users there watched it before the test days; "
    "0: everywhere.",
)
@click.option(
    "--where", metavar="SQL", help="Keep only rows of files for which this is true: \"event = 'view' AND n > 60\"."
)
@click.option("--from", "from_date", metavar="DATE", help="Leave out events before this day (YYYY-MM-DD).")
@click.option("--until", "until_date", metavar="DATE", help="Leave out events after this day (YYYY-MM-DD).")
@click.option(
    "--missing-territory",
    default="fail",
    type=click.Choice(["fail", "drop", "unknown"]),
    show_default=True,
    help="Users and events without a territory: stop, leave them out, or assign them to 'unknown'.",
)
@click.option(
    "--territories-are",
    type=click.Choice(["names", "codes", "other"]),
    help="What territories are: names of countries, codes such as DE or US-CA, or no countries.  [default: both]",
)
@click.option("--territory-names", type=FILE, metavar="FILE", help="A CSV spelling,territory: what spellings mean.")
@click.option("--places", type=FILE, metavar="FILE", help="A CSV name,latitude,longitude: places of territories.")
@click.option("--strict", is_flag=True, help="Stop at signs that the log was misread, instead of warning.")
@click.option("--dry-run", is_flag=True, help="Read 100,000 rows per file, say how they are read, and write nothing.")
@click.option("--skip-bad-rows", is_flag=True, help="Skip event rows that cannot be read, and count them.")
@click.option("--separator", metavar="TEXT", help="Separator of fields, such as :: or tab.  [default: detected]")
@click.option(
    "--encoding", default="utf-8", show_default=True, metavar="NAME", help="Encoding of text files, such as latin-1."
)
@click.option("--no-header", is_flag=True, help="The first line is data; columns are called 1, 2, 3 …")
@click.option("--users-separator", metavar="TEXT", help="Separator of the --users table.  [default: as --separator]")
@click.option("--users-encoding", metavar="NAME", help="Its encoding.  [default: as --encoding]")
@click.option(
    "--users-no-header/--users-header", default=None, help="Whether it has no header line.  [default: as --no-header]"
)
@click.option("--titles-separator", metavar="TEXT", help="Separator of the --titles table.  [default: as --separator]")
@click.option("--titles-encoding", metavar="NAME", help="Its encoding.  [default: as --encoding]")
@click.option(
    "--titles-no-header/--titles-header", default=None, help="Whether it has no header line.  [default: as --no-header]"
)
@click.option("--no-quotes", is_flag=True, help='Treat " as an ordinary character.')
@click.option("--backslash-escapes", is_flag=True, help=r"Quotes in quoted fields are written \".  [default: detected]")
@click.option("--skip-lines", default=0, type=click.IntRange(min=0), metavar="N", help="Skip the first N lines.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same random split.")
@click.option("--overwrite", is_flag=True, help="Replace the dataset in DIR.")
def import_(directory: Path, overwrite: bool, **options: Any) -> None:
    """Turn watch logs into a dataset.

    Events are CSV, JSON lines, Parquet, ORC or Feather, compressed or not, in files or folders, or the rows of a query;
    the format is detected from the content, and folders such as day=2024-03-01 are columns.
    The last days are for testing, the days before them for training, and everything earlier is history, from which
    user vectors are built.

    \b
    Example:
      twotower import shop --events log.csv.gz --territory country --time date
      twotower import film --market DE de.csv --market FR fr.csv --titles films.csv
      twotower import shop --sql "SELECT user, title, territory, time FROM events" --database postgresql://me@host/shop
    """
    from twotower.cli.summaries.dataset import print_import
    from twotower.data.ingest.import_config import ImportConfig
    from twotower.data.ingest.import_log import import_logs
    from twotower.report.progress import show_progress
    from twotower.report.terminal import stdout_console

    config = ImportConfig(**options)
    with show_progress() as progress:
        summary = import_logs(directory, config, progress, overwrite)
    print_import(stdout_console(), summary)
    if config.dry_run:
        click.echo("Nothing was written (--dry-run).")
        return
    option = "" if summary.split.train_days else " --basis-from DATASET"
    click.echo(f"Saved to {directory}. Next: twotower embed {quote(str(directory))}{option}")

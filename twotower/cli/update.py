"""``twotower update``"""

from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from twotower.core.errors import InputError

FILE = click.Path(path_type=Path)
HELD_BACK = 3  # exit code: the day is a candidate


@click.command()
@click.argument("run", type=FILE, metavar="RUN")
@click.option("--events", multiple=True, type=FILE, metavar="FILE",
              help="Watch events of a day, or of several, in the form that was imported; repeatable.")  # fmt: skip
@click.option("--sql", metavar="QUERY", help="A query whose rows are watch events, asked of --database.")
@click.option("--database", metavar="URL", help="See twotower import.")
@click.option("--users", type=FILE, metavar="FILE", help="Table of the new users, as of twotower import --users.")
@click.option("--titles", type=FILE, metavar="FILE", help="Table of the new titles.")
@click.option("--user-vectors", type=FILE, metavar="FILE", help="Vectors of the day's users, with ids, of one day.")
@click.option("--title-vectors", type=FILE, metavar="FILE", help="Vectors of the new titles, with ids, of one day.")
@click.option("--replace", is_flag=True, help="Take other events for a day that is there: go back, and on again.")
@click.option("--allow-gap", is_flag=True, help="Go on although days are missing.")
@click.option("--late", type=click.Choice(["fail", "drop", "append"]), default="fail", show_default=True,
              help="Events of earlier days: stop, leave them out, or append them to histories.")  # fmt: skip
@click.option("--replay", type=float, default=0.0, show_default=True, metavar="SHARE",
              help="Learn again from pairs of earlier days, so many per new one.")  # fmt: skip
@click.option("--max-drop", "drop", type=float, default=0.3, show_default=True, metavar="SHARE",
              help="Gate: how far PR-AUC may fall below its mean of the last days.")  # fmt: skip
@click.option("--max-unknown-titles", "unknown_titles", type=float, default=0.5, show_default=True, metavar="SHARE",
              help="Gate: share of events with new titles.")  # fmt: skip
@click.option("--max-without-history", "without_history", type=float, default=0.9, show_default=True,
              metavar="SHARE", help="Gate: share of users without history.")  # fmt: skip
@click.option("--max-volume", "volume", type=float, default=10.0, show_default=True, metavar="FACTOR",
              help="Gate: how far a territory's events may be from their mean of the last days.")  # fmt: skip
@click.option("--threads", type=click.IntRange(0), default=0, show_default=True, help="Threads; 0: as in training.")
@click.pass_context
def update(context: click.Context, run: Path, **options: Any) -> None:
    """Take in a day: evaluate on it, learn from it, serve the result.

    Appends the log to what RUN was trained on; new users, titles and territories get ids. The model of the day before
    is evaluated on held-out users, then learns from the others. recommend, export and serve RUN use the new day from
    the moment when all of it is on the disk. The same day again changes nothing. A day that the gate holds back is
    kept as a candidate, and the exit code is 3: see twotower accept.

    \b
    Example:
      twotower update runs/heads --events 2024-03-02.parquet
      twotower update runs/heads --sql "SELECT * FROM log WHERE day = '2024-03-02'" --database shop.duckdb
    """
    from twotower.daily.gate import Limits
    from twotower.daily.log import DayFiles
    from twotower.daily.update import Options
    from twotower.daily.update import update as take_in
    from twotower.report.progress import show_progress

    files = DayFiles(**{f.name: options[f.name] for f in fields(DayFiles)})
    if not (files.events or files.sql):
        raise InputError("no day: expected --events FILE or --sql QUERY")
    limits = Limits(**{f.name: options[f.name] for f in fields(Limits) if f.name in options})
    names = "replace", "allow_gap", "late", "threads", "replay"
    chosen = Options(limits=limits, **{name: options[name] for name in names})
    with show_progress() as progress:
        for result in take_in(run, files, chosen, progress):
            day = result.record
            click.echo(result.summary())
            for note in result.notes:
                click.echo(note, err=True)
            if not result.is_served:
                reasons = "; ".join(day["reasons"])
                click.echo(f"twotower: {day['date']} is kept as a candidate and not served: {reasons} "
                           f"(twotower accept {run} {day['date']})", err=True)  # fmt: skip
                context.exit(HELD_BACK)

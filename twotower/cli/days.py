"""``twotower days``"""

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
def days(run: Path) -> None:
    """List the days of a run: state, events, PR-AUC, size and time.

    \b
    Example:
      twotower days runs/heads
    """
    from twotower.daily.history import days_of
    from twotower.report.table import COUNT, SCORE, TEXT, Column, Table, decimal
    from twotower.report.terminal import print_table, stdout_console

    columns = [Column("day", TEXT), Column("state", TEXT), *(Column(name, COUNT) for name in ("events", "new users",
               "new titles", "pairs learned")), Column("PR-AUC", SCORE), Column("MiB", decimal(1)),
               Column("seconds", decimal(1)), Column("why", TEXT)]  # fmt: skip
    table = Table(columns)
    for line in days_of(run):
        day = line.record
        if day is None:
            table.add(line.name, line.state, *[None] * 7, "")
            continue
        counts = day["events"], day["new_users"], day["new_titles"], day["training_pairs"]
        cost = (day["bytes"] / 2**20, day["seconds"]) if day["number"] >= 0 and day["previous"] else (None, None)
        table.add(line.name, line.state, *counts, line.pr_auc, *cost, "; ".join(day["reasons"]))
    print_table(table, stdout_console())

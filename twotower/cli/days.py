"""``twotower days``"""

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--html", "page", type=click.Path(path_type=Path), metavar="FILE", help="Also as a page with a figure.")
def days(run: Path, page: Path | None) -> None:
    """List the days of a run: state, events, PR-AUC, size and time.

    \b
    Example:
      twotower days runs/heads
    """
    from twotower.daily.days_page import days_table, write_page
    from twotower.daily.history import days_of
    from twotower.report.terminal import print_table, stdout_console

    lines = days_of(run)
    print_table(days_table(lines, run), stdout_console())
    if page:
        write_page(run, lines, page)
        click.echo(f"Page saved to {page}.")

"""``twotower compare``: runs → relative gains per territory."""

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(), metavar="RUN...")
@click.option(
    "--against",
    type=click.Path(),
    metavar="RUN",
    help="Judge every run against this one, instead of the first against each.",
)
@click.option("--top", type=click.IntRange(1), default=16, show_default=True, help="How many territories, by users.")
@click.option("--all", "everything", is_flag=True, help="All territories with test pairs.")
@click.option(
    "--min-positives",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Leave territories with fewer positives among the test pairs out of the tables and means.",
)
@click.option(
    "--by-day/--pooled",
    default=None,
    help="Average the gains of the test days, or rank the pairs of all of them together.  "
    "[default: by day up to 7 test days]",
)
@click.option("--rows", "as_rows", is_flag=True, help="A row a territory, with the PR-AUC of both sides.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--csv", "csv_path", type=click.Path(), metavar="FILE", help="Write the gains to FILE as CSV, too.")
def compare(
    runs: tuple[str, ...],
    against: str | None,
    top: int,
    everything: bool,
    min_positives: int,
    by_day: bool | None,
    as_rows: bool,
    as_json: bool,
    csv_path: str | None,
) -> None:
    """Compare runs: relative gains per territory.

    The first RUN is evaluated against each of the others: 100 · (method − baseline) / baseline of the PR-AUC of each
    territory, for each test day and on average, as in Table 2 of the paper. Runs that differ in nothing but
    their seed count as one method, with mean and spread. All must have been evaluated on the same test pairs.

    \b
    Example:
      twotower compare runs/003-mtl-4-upsampled runs/001-baseline runs/002-baseline-upsampled
      twotower compare 'runs/*-mtl-4-upsampled' 'runs/*-baseline' --min-positives 50 --csv gains.csv
    """
    from twotower.core import serialisation, storage
    from twotower.experiments.comparison import compare_runs
    from twotower.metrics import records
    from twotower.report.comparison import print_comparison, territory_gains_table
    from twotower.report.csv_table import csv_of
    from twotower.report.terminal import stdout_console

    if csv_path is not None:
        storage.try_file(csv_path)
    found = compare_runs(runs, against, None if everything else top, min_positives, by_day)
    if as_json:
        click.echo(serialisation.json_text(records.comparison_record(found)))
    else:
        print_comparison(found, stdout_console(), as_rows)
    if csv_path:
        storage.write_file(csv_path, csv_of(*(territory_gains_table(gains, found) for gains in found.gains)))

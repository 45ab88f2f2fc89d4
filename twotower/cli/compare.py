"""``twotower compare``: runs → relative gains per territory."""

from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(), metavar="RUN...")
@click.option("--against", type=click.Path(), metavar="RUN",
              help="Compare every run with this one, instead of the first with each.")  # fmt: skip
@click.option("--top", type=click.IntRange(1), metavar="N", default=16, show_default=True,
              help="How many territories to show: those with the most users.")  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Show all territories with test pairs.")
@click.option("--min-positives", type=click.IntRange(1), metavar="N", default=50, show_default=True,
              help="Test positives that a territory needs for a verdict.")  # fmt: skip
@click.option("--by-day/--pooled", default=None,
              help="Average the gains of the test days, or rank the pairs of all days together.  "
              "[default: by day, for up to 7 test days]")  # fmt: skip
@click.option("--replicates", type=click.IntRange(1), metavar="N", default=1000, show_default=True,
              help="Bootstrap replicates: the more, the smoother the intervals.")  # fmt: skip
@click.option("--k", type=click.IntRange(1), default=10, show_default=True,
              help="Titles per user in recall@k, nDCG@k, MAP@k and the hit rate.")  # fmt: skip
@click.option("--dataset", type=click.Path(path_type=Path), metavar="DIR",
              help="Where the dataset is now, if it has moved.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--csv", "csv_path", type=click.Path(), metavar="FILE",
              help="Also write the gains of PR-AUC to FILE as CSV.")  # fmt: skip
def compare(
    runs: tuple[str, ...],
    against: str | None,
    top: int,
    everything: bool,
    min_positives: int,
    by_day: bool | None,
    replicates: int,
    k: int,
    dataset: Path | None,
    as_json: bool,
    csv_path: str | None,
) -> None:
    """Compare runs: relative gains per territory.

    Compares the first RUN with each of the others, by the gain in each territory's PR-AUC, 100 · (method − baseline) /
    baseline, as in Table 2 of the paper. Runs that differ only in their seed count as one method. All runs must have
    been evaluated on the same test pairs. Intervals and verdicts come from a bootstrap over test users, as in twotower
    experiment; they need the dataset that the runs were trained on. So do ranking metrics, of the k titles with the
    highest scores for each test user.

    \b
    Example:
      twotower compare runs/003-mtl-4-upsampled runs/001-baseline runs/002-baseline-upsampled
      twotower compare 'runs/*-mtl-4-upsampled' 'runs/*-baseline' --csv gains.csv
    """
    from twotower.core import serialisation, storage
    from twotower.experiments.comparison import compare_runs
    from twotower.experiments.report.tables import all_gains, print_comparison
    from twotower.report.csv_table import csv_of
    from twotower.report.progress import show_progress
    from twotower.report.terminal import stdout_console

    if csv_path is not None:
        storage.try_file(csv_path)
    with show_progress() as progress:
        record = compare_runs(
            runs,
            against,
            progress,
            dataset=dataset,
            top=None if everything else top,
            min_positives=min_positives,
            by_day=by_day,
            replicates=replicates,
            k=k,
        )
    if as_json:
        click.echo(serialisation.json_text(record))
    else:
        print_comparison(record, stdout_console())
    if csv_path:
        storage.write_file(csv_path, csv_of(*all_gains(record)))

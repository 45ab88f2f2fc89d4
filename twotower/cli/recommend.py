"""``twotower recommend``: a run's weights → the best titles of each user."""

from pathlib import Path

import click

from twotower.cli.user_options import chosen_users, user_options


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.argument("directory", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--top", type=click.IntRange(1), metavar="N", default=10, show_default=True, help="Titles per user.")
@user_options
@click.option(
    "--day",
    type=int,
    metavar="D",
    help="Recommend as of the start of day D: nothing launched later, nothing watched before.  "
    "[default: the day after the log]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write to FILE instead of the terminal: CSV, or Parquet if its name ends with .parquet.",
)
def recommend(
    run: Path,
    directory: Path | None,
    top: int,
    territories: tuple[str, ...],
    file: Path | None,
    unknown_territory: str,
    day: int | None,
    out: Path | None,
) -> None:
    """Recommend titles to each user.

    Scores all titles for the users of DIR, by default the dataset that RUN was trained on, and writes the best
    as CSV: user, rank, title, score. Leaves out titles that are not available in the user's territory, have not
    been launched yet, or have been watched already. The score is a logit, so it may be negative; its sigmoid is a
    probability.

    \b
    Example:
      twotower recommend runs/001-mtl-4-upsampled --out recommendations.csv
      twotower recommend runs/001-mtl-4-upsampled --territory PL --top 3 | head
      twotower recommend runs/001-mtl-4-upsampled shop --users newcomers.txt --day 60
    """
    from contextlib import ExitStack

    from twotower.core.storage import whole_text, write_json
    from twotower.core.streams import data_output, is_stream
    from twotower.report.progress import show_progress
    from twotower.serving.provenance import provenance_of
    from twotower.serving.recommend import check_parquet, write_csv, write_parquet
    from twotower.serving.recommend import recommend as best_titles
    from twotower.training.days import served

    run, dataset = served(run, directory)
    with ExitStack() as stack:
        users = chosen_users(run, dataset, territories, file, unknown_territory)
        if out and (columnar := out.suffix == ".parquet"):
            check_parquet(out)
        else:
            target = stack.enter_context(whole_text(out)) if out else data_output()
        with show_progress() as progress:
            results = best_titles(run, dataset, users, top, day, progress, unknown_territory=unknown_territory)
            if out and columnar:
                write_parquet(out, dataset, results, progress)
            elif out:
                write_csv(target, dataset, results, progress)
        if not out:
            write_csv(target, dataset, results)  # after the progress display: both may be the same terminal
    if out and not is_stream(out) and (facts := provenance_of(run, dataset))["model_day"]:
        write_json(out.with_name(f"{out.name}.json"), facts)
    if out:
        click.echo(results.summary(str(out)), err=is_stream(out))

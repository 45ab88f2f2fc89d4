"""``twotower verify``"""

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.argument("directory", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--retrain", is_flag=True, help="Train again from the recorded configuration and compare bits.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(run: Path, directory: Path | None, retrain: bool, as_json: bool) -> None:
    """Check a run: checksums, data and, with --retrain, the same bits.

    DIR is the dataset, where it is no longer where the run was trained. Weights are the same on any number of threads,
    but not on processors with other kernels (see twotower doctor).

    \b
    Example:
      twotower verify runs/001-mtl-4
      twotower verify runs/001-mtl-4 --retrain
    """
    from twotower.report.facts import print_facts
    from twotower.report.progress import show_progress
    from twotower.training.verify import verify as check

    with show_progress() as progress:
        verified = check(run, directory, retrain, progress)
    print_facts(dict(verified), as_json)

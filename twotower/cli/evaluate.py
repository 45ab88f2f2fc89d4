"""``twotower evaluate``: a run's weights → PR-AUC per territory and per title."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import click

from twotower.core.errors import InputError
from twotower.core.progress import Progress

if TYPE_CHECKING:
    import numpy as np

    from twotower.data.dataset import Dataset
    from twotower.data.sample import Pairs
    from twotower.metrics.results import Evaluation
    from twotower.metrics.user_means import Level
    from twotower.training.run import RunReader


PLURAL = {"territory": "territories", "title": "titles"}


@click.command()
@click.argument("run", type=click.Path(), metavar="RUN")
@click.option("--day", type=int, metavar="D", help="Evaluate this test day only.")
@click.option(
    "--by",
    type=click.Choice(list(PLURAL)),
    default="territory",
    show_default=True,
    help="What each row of the table is.",
)
@click.option("--all", "everything", is_flag=True, help="Print all rows, not only the first 20.")
@click.option(
    "--min-positives",
    type=click.IntRange(1),
    metavar="N",
    default=50,
    show_default=True,
    help="Positives that a territory needs to count towards the second macro mean.",
)
@click.option("--k", type=click.IntRange(1), default=10, show_default=True,
              help="Titles per user in recall@k, nDCG@k, MAP@k and the hit rate.")  # fmt: skip
@click.option("--dataset", type=click.Path(), metavar="DIR", help="Where the dataset is now, if it has moved.")
@click.option(
    "--unknown-territory", type=click.Choice(["skip", "shared", "fail"]), default="skip", show_default=True,
    help="Of --dataset: pairs in territories that RUN has no head for: leave out, score without a head, or stop.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all rows, instead of a table.")
@click.option("--csv", "csv_path", type=click.Path(), metavar="FILE", help="Also write all rows to FILE as CSV.")
def evaluate(
    run: str,
    day: int | None,
    by: str,
    everything: bool,
    min_positives: int,
    k: int,
    dataset: str | None,
    unknown_territory: str,
    as_json: bool,
    csv_path: str | None,
) -> None:
    """Evaluate a run per territory and per title.

    Scores the test pairs with the weights of RUN and prints the average precision (PR-AUC, exact even with ties),
    beside the number of pairs and the base rate, which is what a constant score would get. PR-AUC is undefined where
    there are no positives. Also ranks all titles for the test users, and prints how well the first k match what they
    then watched (of up to 20,000 users, with 95 % intervals over users).

    \b
    Example:
      twotower evaluate runs/001-mtl-4-upsampled
      twotower evaluate runs/001-mtl-4-upsampled --day 61 --by title --all --csv titles.csv
    """
    from twotower.cli.config_options import given_options
    from twotower.cli.summaries import evaluation as tables
    from twotower.core import serialisation, storage
    from twotower.core.no_effect import refuse_no_effect
    from twotower.report.csv_table import csv_of, records_of
    from twotower.report.progress import show_progress
    from twotower.report.terminal import print_lines, print_table, stdout_console
    from twotower.training.run import RunReader

    refuse_no_effect("evaluate", given_options(), {"by": by, "json": as_json, "k": k, "min_positives": min_positives})
    reader = RunReader(run)
    if csv_path is not None:
        storage.try_file(csv_path)
    with show_progress() as progress:
        evaluation, pairs, opened, note = rescore(reader, dataset, day, progress, unknown_territory)
        ranking = NO_RANKING if by == "title" else rank_titles(reader, opened, pairs, k, progress, unknown_territory)
    for line in filter(None, (note, ranking.note)):
        click.echo(line, err=True)
    by_territory = partial(tables.territory_table, evaluation, min_positives=min_positives, levels=ranking.levels)
    table = by_territory if by == "territory" else partial(tables.title_table, evaluation)
    if as_json:
        facts = {"run": run, "label": reader.label, "seed": reader.seed, "days": list(evaluation.days)}
        facts |= evaluation.record(min_positives)
        if ranking.users is not None:
            overall, macro = ({name: asdict(getattr(level, part)) for name, level in ranking.levels.items()}
                              for part in ("overall", "macro"))  # fmt: skip
            ends = tables.lowest_of(ranking.users, ranking.levels)
            lowest, gap = ({name: of[i] for name, of in ends.items()} for i in range(2))
            facts |= {"k": k, "ranking": {"overall": overall, "macro": macro, "lowest": lowest, "gap": gap}}
        click.echo(serialisation.json_text(facts | {PLURAL[by]: records_of(table())}))
    else:
        console, top = stdout_console(), None if everything else tables.TOP
        print_table(table(top=top), console)
        if by == "territory" and (worst := tables.worst_line(evaluation, min_positives)):
            print_lines(console, ["", worst])
        if ranking.users is not None:
            console.print()
            print_table(tables.ranking_table(evaluation, ranking.users, ranking.levels, k, top), console)
    if csv_path:
        storage.write_file(csv_path, csv_of(table()))


class Ranking(NamedTuple):
    """How well recommended titles match what users then watched, where that can be said."""

    levels: "Mapping[str, Level]"  # by metric
    users: "np.ndarray | None" = None  # (C,) with something to find
    note: str = ""  # why there are none


NO_RANKING = Ranking({})


def rank_titles(
    run: "RunReader", dataset: "Dataset", pairs: "Pairs", k: int, progress: Progress, unknown_territory: str
) -> Ranking:
    """Ranking metrics of a run on the days of its last weights, among the days of the pairs."""
    from twotower.experiments.ranked_runs import choose_test_users, last_days
    from twotower.experiments.user_figures import user_resampling
    from twotower.metrics.user_means import UserMeans

    found = sorted(set(pairs.day.tolist()))
    days = set(last_days([run])) & set(found) or found
    users = choose_test_users(dataset, pairs, sorted(days))
    if not len(users.rows):
        return NO_RANKING._replace(note="No ranking metrics: no test user watched anything in these days.")
    try:
        values = users.ranking(run, k, progress, unknown_territory)
    except InputError as error:
        return NO_RANKING._replace(note=f"No ranking metrics: {error}")
    means = UserMeans(users.territory, dataset.n_territories, user_resampling())
    levels = {name: means.level(means.means(of_users[None])) for name, of_users in values.items()}
    return Ranking(levels, means.population.residents)


def rescore(
    run: "RunReader", dataset_path: str | None, day: int | None, progress: Progress, unknown_territory: str
) -> tuple["Evaluation", "Pairs", "Dataset", str]:
    """Evaluate the weights of a run on its test pairs, or on those of one day; also these pairs, and a note.

    On another dataset with the same vector columns, only pairs of users are counted whom the run was not trained on,
    and with ``unknown_territory`` "skip" those whom it has a head for.

    Errors: InputError when the test pairs are no longer those of the run (its model may have been trained on
    other users' pairs), and when there is no such test day.
    """
    import numpy as np

    from twotower.core.formatting import counted
    from twotower.data.dataset import Dataset
    from twotower.data.sample import Sample
    from twotower.serving.open_run import score_pairs
    from twotower.serving.remap import UNKNOWN, groups_by_code, has_head, is_like, unseen_pairs
    from twotower.training.predict import evaluate_pairs

    dataset, note = Dataset.open(dataset_path or run.dataset), ""
    pairs, group = Sample(dataset, run.sample).test_pairs(), run.evaluation.territories.group
    if pairs.digest() != run.test_digest:
        if not is_like(run, dataset):
            raise InputError(f"{dataset.path}: the test pairs of sample {run.sample!r} have changed since {run.path}; "
                "name a dataset that still has them (--dataset), or train again")
        groups, before = int(group.max()) + 1, len(pairs)
        group = groups_by_code(run, dataset.territories.code, groups)
        pairs = unseen_pairs(run, dataset, pairs)
        led = has_head(run, dataset, pairs.user)
        if unknown_territory == "skip":
            pairs = pairs.take(led)
        elif unknown_territory == "shared":
            group = np.where(group == UNKNOWN, groups, group)
        which = "users with a head" if unknown_territory == "skip" else "users"
        note = (f"{len(pairs):,} of the {before:,} test pairs of {dataset.path} are evaluated: those of {which} whom "
                f"{run.path} was not trained on.")  # fmt: skip
        if not led.all() and unknown_territory != "fail":
            how = "are left out" if unknown_territory == "skip" else "are scored without a head"
            note += f" {counted(int((~led).sum()), 'pair')} in territories that it has no head for {how}."
        if not len(pairs):
            raise InputError(f"{dataset.path}: no test pairs of users whom {run.path} has a head for "
                             "(--unknown-territory shared scores without)")  # fmt: skip
    if day is not None:
        days = sorted(set(pairs.day.tolist())) if note else list(run.evaluation.days)
        if day not in days:
            raise InputError(f"--day {day}: expected one of the test days, {', '.join(map(str, days))}")
        pairs = pairs.take(pairs.day == day)
    scores = score_pairs(run.path, dataset, pairs, progress, unknown_territory)
    return evaluate_pairs(dataset, group, pairs, scores, progress), pairs, dataset, note

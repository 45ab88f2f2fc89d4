"""``twotower trace``: one training step of a tiny network, number by number."""

import click
from click.core import ParameterSource

from twotower.core.errors import InputError

HEADS = ("residual", "plain", "lowrank", "mmoe", "cross-stitch")
STAGES = ("forward", "loss", "backward", "adam")


@click.command()
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the features and weights.")
@click.option("--head", type=click.Choice(HEADS), default=HEADS[0], show_default=True, help="Kind of heads.")
@click.option("--title-bias", is_flag=True, help="With a bias of the titles per group.")
@click.option("--group", type=click.IntRange(0, 1), metavar="K", help="Only the rows and the head of this group.")
@click.option(
    "--mask",
    type=click.Choice(["on", "off"]),
    default="on",
    show_default=True,
    help="off: every head sees every row, to see what the mask keeps out.",
)
@click.option("--stage", "stages", type=click.Choice(STAGES), multiple=True, help="Only this stage (repeatable).")
@click.option("--all", "everything", is_flag=True, help="Show Adam's step for every block, not for one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the mask and without, instead of text.")
@click.option("--html", "html_path", metavar="FILE", help="Write an interactive page, too.")
def trace(
    seed: int,
    head: str,
    title_bias: bool,
    group: int | None,
    mask: str,
    stages: tuple[str, ...],
    everything: bool,
    as_json: bool,
    html_path: str | None,
) -> None:
    """Go through one training step of a tiny network, number by number.

    Three users, two titles, two groups, width 4: every array with its name, its shape, the line of
    model/reference.py that made it and the maths, in the order of the computation.

    \b
    Example:
      twotower trace --group 1 --stage loss --stage backward
      twotower trace --mask off --html step.html
    """
    from pathlib import Path

    refuse_idle(stages, as_json)
    if html_path is not None:
        from twotower.lab.page import check_place, write_page

        check_place(Path(html_path))
    from twotower.core.serialisation import json_text
    from twotower.lab.trace.trace import trace as trace_step

    record = trace_step(seed, head, group, title_bias)
    if html_path is not None:
        write_page(record, Path(html_path), mask)
        click.echo(f"The page is in {html_path}.", err=True)
    if as_json:
        click.echo(json_text(record))
        return
    from twotower.lab.trace.text import print_trace

    print_trace(record, mask, stages, everything)


def refuse_idle(stages: tuple[str, ...], as_json: bool) -> None:
    """Errors: InputError for options that would do nothing beside the others."""
    context = click.get_current_context()
    given = {
        flag for flag, name in (("--mask", "mask"), ("--stage", "stages"), ("--all", "everything"))
        if context.get_parameter_source(name) != ParameterSource.DEFAULT
    }  # fmt: skip
    if as_json and given:
        raise InputError(f"{', '.join(sorted(given))}: of the text; --json holds all stages, with the mask and without")
    if "--all" in given and stages and "adam" not in stages:
        raise InputError("--all: Adam's step for every block, and --stage leaves Adam out; expected --stage adam, too")

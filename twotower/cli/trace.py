"""``twotower trace``: one training step of a tiny network, number by number."""

from pathlib import Path

import click

from twotower.cli.lab_output import page_option, refuse_options, show
from twotower.core.config import HEADS

STAGES = ("forward", "loss", "backward", "adam")


@click.command()
@click.option("--seed", type=click.IntRange(0), metavar="N", default=0, show_default=True,
              help="Seed of features and weights.")
@click.option("--head", type=click.Choice([head for head in HEADS if head != "none"]), default="residual",
              show_default=True, help="Kind of head.")
@click.option("--title-bias", is_flag=True, help="Give each group title biases.")
@click.option("--memory", is_flag=True, help="Give the score memory terms.")
@click.option("--group", type=click.IntRange(0, 1), metavar="K", help="Show only this group's rows and head.")
@click.option("--mask", type=click.Choice(["on", "off"]), default="on", show_default=True,
              help="off: every head gets every row, which shows what the mask keeps out.")  # fmt: skip
@click.option("--stage", "stages", type=click.Choice(STAGES), multiple=True, help="Show only this stage; repeatable.")
@click.option("--all", "everything", is_flag=True, help="Show Adam for every block instead of one.")
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON, both with and without the mask.")
@page_option
def trace(
    seed: int, head: str, title_bias: bool, memory: bool, group: int | None, mask: str, stages: tuple[str, ...],
    everything: bool, as_json: bool, page: Path | None,
) -> None:  # fmt: skip
    """Show one training step of a tiny network, number by number.

    Three users, two titles, two groups, width 4: every array with its name, shape, formula and the line of
    model/reference.py that computes it, in the order of computation.

    \b
    Example:
      twotower trace --group 1 --stage loss --stage backward
      twotower trace --mask off --html step.html
    """
    if as_json:
        refuse_options(("mask", "stages", "everything"), "with --json, which has all stages, with the mask and without")
    if stages and "adam" not in stages:
        refuse_options(["everything"], "with --stage: expected --stage adam, too")
    from twotower.lab.trace.text import print_trace
    from twotower.lab.trace.trace import trace as trace_step

    show(lambda _: trace_step(seed, head, group, title_bias, memory), as_json,
         lambda record, _: print_trace(record, mask, stages, everything), page, mask)  # fmt: skip

"""``twotower trace``: one training step of a tiny network, number by number."""

import click

from twotower.cli.subject_options import refuse_options

HEADS = ("residual", "plain", "lowrank", "mmoe", "cross-stitch", "market-gate")
STAGES = ("forward", "loss", "backward", "adam")


@click.command()
@click.option("--seed", type=click.IntRange(0), metavar="N", default=0, show_default=True,
              help="Seed of features and weights.")  # fmt: skip
@click.option("--head", type=click.Choice(HEADS), default=HEADS[0], show_default=True, help="Kind of head.")
@click.option("--title-bias", is_flag=True, help="Give each group title biases.")
@click.option("--group", type=click.IntRange(0, 1), metavar="K", help="Show only this group's rows and head.")
@click.option(
    "--mask",
    type=click.Choice(["on", "off"]),
    default="on",
    show_default=True,
    help="off: every head gets every row, which shows what the mask keeps out.",
)
@click.option("--stage", "stages", type=click.Choice(STAGES), multiple=True, help="Show only this stage; repeatable.")
@click.option("--all", "everything", is_flag=True, help="Show Adam for every block instead of one.")
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON, both with and without the mask.")
@click.option("--html", "html_path", metavar="FILE", help="Also write an interactive page.")
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
    """Show one training step of a tiny network, number by number.

    Three users, two titles, two groups, width 4: every array with its name, shape, formula and the line of
    model/reference.py that computes it, in the order of computation.

    \b
    Example:
      twotower trace --group 1 --stage loss --stage backward
      twotower trace --mask off --html step.html
    """
    from pathlib import Path

    if as_json:
        refuse_options(("mask", "stages", "everything"), "with --json, which has all stages, with the mask and without")
    if stages and "adam" not in stages:
        refuse_options(["everything"], "with --stage: expected --stage adam, too")
    if html_path is not None:
        from twotower.lab.page import check_place, write_page

        check_place(Path(html_path))
    from twotower.core.serialisation import json_text
    from twotower.lab.trace.trace import trace as trace_step

    record = trace_step(seed, head, group, title_bias)
    if html_path is not None:
        write_page(record, Path(html_path), mask)
        click.echo(f"Saved to {html_path}.", err=True)
    if as_json:
        click.echo(json_text(record))
        return
    from twotower.lab.trace.text import print_trace

    print_trace(record, mask, stages, everything)


"""``twotower group``"""

from pathlib import Path
from shlex import quote

import click

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.presets import DEFAULT_GROUPS


@click.command()
@click.argument("directory", default="world", type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--groups", type=int, metavar="K", help=f"Number of groups.  [default: {DEFAULT_GROUPS}]")
@click.option("--majors", type=click.IntRange(1), default=16, show_default=True, metavar="N",
              help="How many territories count as major: those with the most users.")  # fmt: skip
@click.option("--from", "file", type=click.Path(path_type=Path), metavar="FILE",
              help="Read the groups from a CSV with columns territory,group.")  # fmt: skip
@click.option("--all", "name_all", is_flag=True, help="Print every territory, not only the major ones.")
def group(directory: Path, groups: int | None, majors: int, file: Path | None, name_all: bool) -> None:
    """Group the territories, one head per group.

    Neighbouring territories go into one group, and each group gets the same number of major and of minor
    territories, as far as possible. The groups are saved to DIR, where twotower train finds them.

    \b
    Example:
      twotower group world --groups 4
      twotower group lastfm --groups 6 --majors 30 --all
      twotower group lastfm --from groups.csv
    """
    from dataclasses import replace

    from twotower.cli.summaries.groups import print_groups
    from twotower.data.dataset import Dataset
    from twotower.data.dataset_writer import update_territories
    from twotower.data.grouping import geographic_groups, grouping_from_file
    from twotower.report.terminal import stdout_console

    dataset = Dataset.open(directory)
    territories = dataset.territories
    if file is None:
        chosen = geographic_groups(territories, DEFAULT_GROUPS if groups is None else groups, majors)
    else:
        chosen = grouping_from_file(file, territories)
        if groups not in (None, count := int(chosen.max()) + 1):
            raise InputError(f"{file}: has {counted(count, 'group')}, but --groups is {groups}: leave one of them out")
    territories = replace(territories, group=chosen)
    update_territories(dataset, territories)
    print_groups(stdout_console(), territories, territories.majors(majors), name_all)
    count = int(chosen.max()) + 1
    heads = f" --mtl --groups {count}" if count > 1 else ""
    click.echo(f"Groups saved to {directory}. Next: twotower train {quote(str(directory))}{heads}")

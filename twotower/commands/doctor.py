"""``twotower doctor``"""

from pathlib import Path

import click


@click.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")
def doctor(directory: Path | None, as_json: bool) -> None:
    """Check this machine and say which kernels run.

    With DIR, every file of that dataset is compared with its checksum and all its vectors are looked at.

    \b
    Example:
      twotower doctor
      twotower doctor world
    """
    from twotower.environment import environment_facts
    from twotower.nn import gemm
    from twotower.report.facts import print_facts

    facts = environment_facts() | {"gemm": gemm.PATH, "gemm_agrees": gemm.self_check()}
    if directory is not None:
        from twotower.data.dataset import Dataset

        facts |= Dataset.open(directory).check()
    print_facts(facts, as_json)
    if not facts["gemm_agrees"]:
        raise click.ClickException(f"the {gemm.PATH} matrix product differs from NumPy's; set NUMBA_CPU_NAME=x86-64")

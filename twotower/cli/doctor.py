"""``twotower doctor``"""

from pathlib import Path

import click


@click.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(directory: Path | None, as_json: bool) -> None:
    """Check this machine and show which kernels it runs.

    gemm is the implementation of the matrix product: avx512, avx2, or numpy (NumPy's BLAS) on other processors.
    Compiled kernels are kept for later runs in the directory shown as "kernel cache".

    With DIR, a dataset or a run, every file is compared with its checksum, and all vectors and pairs are checked. It
    also shows who is writing there, what dead processes left, and the free space of the disk.

    \b
    Example:
      twotower doctor
      twotower doctor world
      twotower doctor runs/001-mtl-4
    """
    from twotower.core.environment import blas_in_use, environment_facts
    from twotower.core.jit import cache_state
    from twotower.model.engine import gemm
    from twotower.report.facts import print_facts
    from twotower.report.progress import show_progress

    facts = environment_facts()
    with show_progress() as progress:
        progress("multiplying matrices", 0, 1)  # on a cold cache the kernels are compiled first
        facts |= {"gemm": gemm.PATH, "gemm_agrees": gemm.self_check(), "blas": blas_in_use()}
        progress("multiplying matrices", 1, 1)
        kept = cache_state()
        facts |= {"kernel_cache": kept.directory, "cache_lasts": kept.lasting}
        facts |= {"cache_mib": round(kept.mib, 1), "kernels_kept": kept.kernels}
        if directory is not None:
            from twotower.core.staging import place_facts
            from twotower.data.dataset import Dataset
            from twotower.data.sample import Sample
            from twotower.training.run import PLAN, RUN
            from twotower.training.verify import verify

            facts |= place_facts(directory)
        if directory is not None and ((directory / RUN).is_file() or (directory / PLAN).is_file()):
            facts |= verify(directory, progress=progress)
        elif directory is not None:
            dataset = Dataset.open(directory)
            facts |= dataset.check(progress)
            facts |= {f"sample_{name}": Sample(dataset, name).check(progress) for name in dataset.samples()}
    print_facts(facts, as_json)
    if not facts["gemm_agrees"]:
        advice = "NumPy's BLAS is faulty" if gemm.PATH == "numpy" else "set NUMBA_CPU_NAME=generic to avoid it"
        raise click.ClickException(f"the {gemm.PATH} matrix product differs from float64; {advice}")

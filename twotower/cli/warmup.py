"""``twotower warmup``"""

import click


@click.command()
def warmup() -> None:
    """Compile the kernels now, so that the first run starts at once.

    They are cached in NUMBA_CACHE_DIR if that is set, else in a directory under XDG_CACHE_HOME or ~/.cache, for
    every installation of the same version.

    \b
    Example:
      twotower warmup
    """
    import time

    from twotower.report.progress import show_progress

    started = time.perf_counter()
    with show_progress() as progress:
        from twotower.core.jit import cache_state, forget_unused
        from twotower.training.warm_up import compile_kernels, warm_up_commands

        compile_kernels(progress)
        warm_up_commands(progress)
        forget_unused()
    kept = cache_state()
    where = f"in {kept.directory}" if kept.lasting else "for this process only: no cache directory is writable"
    click.echo(f"{kept.kernels} compiled kernels, {kept.mib:.1f} MiB, cached {where}.")
    click.echo(f"All kernels are ready after {time.perf_counter() - started:.1f} s. Next: twotower train")

"""``twotower warmup``"""

import click


@click.command()
def warmup() -> None:
    """Compile the kernels now, so that the first run starts at once.

    They are kept in NUMBA_CACHE_DIR, if that is set, else in twotower's directory under XDG_CACHE_HOME or
    ~/.cache, and used by every installation of the same version.

    \b
    Example:
      twotower warmup
    """
    import time

    from twotower.report.progress import show_progress

    started = time.perf_counter()
    with show_progress() as progress:
        from twotower.core.jit import cache_state, forget_unused
        from twotower.training.warm_up import compile_kernels, rehearse

        compile_kernels(progress)
        rehearse(progress)
        forget_unused()
    kept = cache_state()
    where = f"in {kept.directory}" if kept.lasting else "for this process alone: no directory of a cache can be written"
    click.echo(f"{kept.kernels} compiled kernels, {kept.mib:.1f} MiB, are kept {where}.")
    click.echo(f"All kernels are ready after {time.perf_counter() - started:.1f} s. Next: twotower train")

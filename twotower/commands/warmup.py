"""``twotower warmup``"""

import click


@click.command()
def warmup() -> None:
    """Compile the kernels now, so that the first run starts at once.

    Numba keeps them in its cache; NUMBA_CACHE_DIR moves it.

    \b
    Example:
      twotower warmup
    """
    import time

    from twotower.report.progress import show_progress

    started = time.perf_counter()
    with show_progress() as progress:
        from twotower.warmup import compile_kernels

        compile_kernels(progress)
    click.echo(f"All kernels are ready after {time.perf_counter() - started:.1f} s. Next: twotower train")

"""``twotower serve``: a run as a JSON server with one page, for a demonstration."""

from pathlib import Path

import click

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.argument("directory", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, metavar="N",
              help="Port to listen on; 0 takes any that is free.")  # fmt: skip
def serve(run: Path, directory: Path | None, host: str, port: int) -> None:
    """Serve recommendations as JSON, with a page to click.

    Answers /recommend?user=…&k=10&territory=PL, /similar?title=…, /explain?user=…&title=…, /users, /territories and
    /health for the users of DIR, by default the dataset that RUN was trained on. The page shows the best titles of a
    user at home and as if living elsewhere, side by side. There is no authentication: it listens on this machine
    alone unless --host says otherwise. Ctrl-C ends it.

    \b
    Example:
      twotower serve runs/001-mtl-4-upsampled
      curl 'http://127.0.0.1:8000/recommend?user=17&k=3'
    """
    from contextlib import ExitStack

    from threadpoolctl import threadpool_limits

    from twotower.lab.demo.demo import Demo
    from twotower.report.progress import show_progress
    from twotower.serving.server import JsonServer
    from twotower.training.days import served

    run, dataset = served(run, directory)
    with ExitStack() as stack:
        stack.enter_context(threadpool_limits(1, "blas"))
        with show_progress() as progress:
            routes = Demo(run, dataset, progress).routes()
        server = stack.enter_context(JsonServer(host, port, routes))
        if host not in LOOPBACK:
            click.echo(f"twotower: anybody who reaches {host} can read this: there is no authentication", err=True)
        click.echo(f"Listening on {server.url} (Ctrl-C ends it).")
        server.serve_forever()

"""How many requests ``twotower serve`` answers: a world of 1,000 titles, 10,000 requests, some of them malformed.

    python -m benchmarks.requests
    python -m benchmarks.requests --requests 10000 --clients 4

Server and clients share the machine. Before the clock starts, an answer is compared with ``recommend``. Every fifth
request is malformed: it must be refused with one line and status 400, 404, 405 or 414.
"""

import http.client
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import click
import numpy as np

from benchmarks import machine
from twotower import Dataset
from twotower.serving.recommend import recommend

MALFORMED = ("/nowhere", "/recommend", "/recommend?user=x", "/recommend?user=1&k=-1", "/similar?title=%ff", "/%00",
             "/recommend?user=" + "1" * 5000, "/explain?user=1")  # fmt: skip
REFUSED = {400, 404, 405, 414}


def serve(folder: Path) -> tuple[subprocess.Popen[str], int]:
    """A world, a run and its server; the port that it listens on."""
    twotower = [sys.executable, str(Path(__file__).resolve().parent.parent / "cli.py")]
    for command in (["simulate", "world", "--users", "3000", "--titles", "1000"],
                    ["train", "world", "--mtl", "--groups", "4", "--hidden", "128", "--epochs", "1", "--run", "run"]):
        subprocess.run([*twotower, *command], cwd=folder, check=True, capture_output=True)  # fmt: skip
    server = subprocess.Popen([*twotower, "serve", "run", "--port", "0"], cwd=folder, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    line = server.stdout.readline()
    return server, int(line.split(":")[2].split("/")[0])


def check(folder: Path, port: int) -> None:
    """The server's answer is that of ``recommend``."""
    dataset = Dataset.open(folder / "world")
    wanted = recommend(folder / "run", dataset, np.array([7]), 10)
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/recommend?user=7&k=10")
    found = json.loads(connection.getresponse().read())
    assert [entry["title"] for entry in found["titles"]] == [dataset.title_ids[t] for t in wanted.title[0]]


def client(port: int, requests: int, seed: int, seconds: list[float], refused: list[int]) -> None:
    """So many requests over one connection, which is opened again where the server closed it."""
    rng, connection = random.Random(seed), http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for number in range(requests):
        bad = number % 5 == 4
        territory = rng.choice(["PL", "US", "JP", "BR"])
        target = rng.choice(MALFORMED) if bad else f"/recommend?user={rng.randrange(3000)}&k=10&territory={territory}"
        method = "POST" if bad and rng.random() < 0.2 else "GET"
        begun = time.perf_counter()
        connection.request(method, target)
        answer = connection.getresponse()
        body = json.loads(answer.read())
        if bad:
            assert answer.status in REFUSED and "\n" not in body["error"], (answer.status, body)
            refused.append(answer.status)
        else:
            assert answer.status == 200 and len(body["titles"]) == 10, (answer.status, body)
            seconds.append(time.perf_counter() - begun)


@click.command()
@click.option("--requests", "total", default=10_000, show_default=True)
@click.option("--clients", default=4, show_default=True)
def main(total: int, clients: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server, port = serve(Path(folder))
        try:
            check(Path(folder), port)
            seconds: list[float] = []
            refused: list[int] = []
            arguments = [(port, total // clients, seed, seconds, refused) for seed in range(clients)]
            threads = [threading.Thread(target=client, args=each) for each in arguments]
            begun = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            elapsed = time.perf_counter() - begun
        finally:
            server.terminate()
            server.wait(10)
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
    assert len(seconds) + len(refused) == total // clients * clients, "a client stopped early"
    print(f"{machine.processor()}: {(len(seconds) + len(refused)) / elapsed:,.0f} requests/s from {clients} clients")
    print(f"{len(seconds):,} answered, median {p50:.1f} ms, 99th percentile {p99:.1f} ms; {len(refused):,} refused")


if __name__ == "__main__":
    main()

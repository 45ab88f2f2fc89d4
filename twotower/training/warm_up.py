"""Compile kernels once, on tiny inputs; they are cached for the next run (see ``jit``).

``compile_kernels`` is for training and recommending, and takes milliseconds when all is in the cache, so that
every training begins with it. ``warm_up_commands`` runs the other commands on tiny data.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

import numpy as np

from twotower.core.config import BATCHINGS, ModelConfig, TrainConfig
from twotower.core.progress import Progress, silent
from twotower.core.random_streams import placeholder
from twotower.data.batches import Batcher
from twotower.data.memory.knowledge import Knowledge, ones
from twotower.data.memory.memory import Memory
from twotower.data.sample import Pairs
from twotower.metrics.average_precision import average_precision, average_precision_by
from twotower.metrics.weighted_precision import weighted_average_precision
from twotower.model.gradients import Sum, add
from twotower.model.retrieval import Candidates, Retrieval, Users
from twotower.model.two_tower import TwoTower
from twotower.training.loop import make_optimiser

STAGE = "preparing kernels (compiled once, then cached)"
COMMANDS = "running sampling and import on tiny data"
HEARTBEAT = 0.5  # seconds between two reports: compiling takes many seconds, and reports nothing itself
PAIRS, USERS, TITLES, WIDTH = 8, 4, 3, 4  # of the tiny batch

_ready = Event()  # for training in this process


def compile_kernels(progress: Progress = silent) -> None:
    """Run each kernel once with the types that training gives it, once in a process."""
    if not _ready.is_set():
        with _heartbeat(progress, STAGE):
            _compile_batches()
            _compile_plain_network()
            _compile_lowrank_network()
            _compile_sums()
            _compile_metrics()
            _compile_retrieval()
            _compile_memory()
        _ready.set()
    progress(STAGE, 1, 1)


def warm_up_commands(progress: Progress = silent) -> None:
    """Sample a world and import a log, both tiny, in a temporary directory."""
    with _heartbeat(progress, COMMANDS), TemporaryDirectory(prefix="twotower-") as directory:
        _warm_up_sampling(Path(directory))
        _warm_up_import(Path(directory))
    progress(COMMANDS, 1, 1)


@contextmanager
def _heartbeat(progress: Progress, stage: str) -> Iterator[None]:
    """Report progress at the start and then every half second until the body ends."""
    over = Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT):
            progress(stage, 0, 1)

    progress(stage, 0, 1)
    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _compile_batches() -> None:
    for table in (np.float16, np.float32):
        batcher = _batcher(table)
        for mode in BATCHINGS:
            list(batcher.batch_views(_Pairs(), placeholder(), mode))


def _compile_plain_network() -> None:
    _one_step(ModelConfig(hidden=WIDTH, groups=2, head="plain", output="relu"))


def _compile_lowrank_network() -> None:
    _one_step(ModelConfig(hidden=WIDTH, groups=2, head="lowrank", rank=1, title_bias=True))


def _compile_sums() -> None:
    """What adds parts of gradients, of which the tiny batches have one alone."""
    add(Sum(np.zeros(WIDTH, np.float32), np.zeros((1, WIDTH), np.float32), 0))


def _compile_metrics() -> None:
    scores, key = np.arange(PAIRS, dtype=np.float32), np.zeros(PAIRS, np.int64)
    average_precision(_Pairs.label, scores)
    average_precision_by(_Pairs.label, scores, key, 1)
    weighted_average_precision(_Pairs.label, scores, key)


def _compile_retrieval() -> None:
    network = TwoTower(ModelConfig(hidden=WIDTH), WIDTH, WIDTH, placeholder())
    found, users = Retrieval(network, np.eye(TITLES, WIDTH, dtype=np.float32)), np.zeros(USERS, np.int64)
    nothing_seen = np.zeros(USERS + 1, np.int64), np.empty(0, np.int32)
    everybody = Users(np.eye(USERS, WIDTH, dtype=np.float32), users, users)
    found.top(1, everybody, Candidates(found.bias, users, *nothing_seen))


def _compile_memory() -> None:
    users = np.arange(USERS)
    pairs = Pairs(_Pairs.user, _Pairs.title, _Pairs.label, np.zeros(PAIRS, np.int32))
    history = ones(users, users % TITLES, (USERS, TITLES))
    everywhere = np.ones((TITLES, 2), bool), np.zeros(TITLES, np.int32)
    known = Knowledge(history, pairs, users % 2, np.arange(2), *everywhere)
    known.together()  # neighbours of the same are kept, and then nothing counts
    memory = Memory.of(known)
    terms = memory.of_pairs(_Pairs.user, _Pairs.title)
    memory.of_users(users, np.ones(terms.shape[1], np.float32))
    _one_step(ModelConfig(hidden=WIDTH, groups=2, memory=True), terms)


def _warm_up_sampling(directory: Path) -> None:
    from twotower.data.sampling.sample_config import SampleConfig
    from twotower.data.sampling.sampler import sample
    from twotower.data.synthetic.simulate import simulate
    from twotower.data.synthetic.world import WorldConfig

    sizes = {"users": 300, "titles": 30, "territories": 6, "groups": 2, "user_dim": WIDTH, "title_dim": WIDTH}
    days = {"history_days": 10, "train_days": 8, "test_days": 3}
    sample(simulate(directory / "world", WorldConfig(**sizes, **days)), SampleConfig())


def _warm_up_import(directory: Path) -> None:
    """A log of a few events, and the kernels that find the distinct ones."""
    from twotower.data.ingest.import_config import ImportConfig
    from twotower.data.ingest.import_log import import_logs

    lines = (f'u{i},"t{i % 5} ""x""",{("DE", "JP")[i % 2]},2024-01-{i % 9 + 1:02}\n' for i in range(100))
    log = directory / "log.csv"
    log.write_text("user,title,territory,time\n" + "".join(lines), encoding="utf-8")
    import_logs(directory / "log", ImportConfig(events=(log,), time="time", available_after=1))


class _Pairs:
    """As many pairs as it takes."""

    user = np.arange(PAIRS, dtype=np.int64) % USERS
    title = (np.arange(PAIRS) % TITLES).astype(np.int32)
    label = (np.arange(PAIRS) % 2).astype(np.float32)


def _batcher(table: type, terms: int = 0) -> Batcher:
    users: np.ndarray = np.eye(USERS, WIDTH, dtype=table)
    titles: np.ndarray = np.eye(TITLES, WIDTH, dtype=table)
    users.flags.writeable = titles.flags.writeable = False  # as memory maps are: another type to Numba
    return Batcher(users, titles, np.arange(USERS) % 2, 2, PAIRS, memory_terms=terms)


def _one_step(model: ModelConfig, memory: np.ndarray | None = None) -> None:
    network = TwoTower(model, WIDTH, WIDTH, placeholder())
    terms = 0 if memory is None else memory.shape[1]
    batch = _batcher(np.float32, terms).batch(_Pairs.user, _Pairs.title, _Pairs.label, memory)
    network.loss_and_gradients(batch)
    make_optimiser(network, TrainConfig()).update(network.grads, [0, 1], network.threads)
    network.predict(batch)

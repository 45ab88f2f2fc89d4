"""Flip bits of files, cut them, and open everything: it is refused, or says the same. ``forged``: the manifest is
written anew to fit, so that checks of contents alone are left; other values are then no fault, but crashes are.
"""

import itertools
import json
import random
import resource
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.children import code_of, in_child
from benchmarks.faults.operations import Outcomes
from twotower.core.config import Config, load_toml
from twotower.core.errors import InputError
from twotower.core.manifest import MANIFEST, Files, describe
from twotower.core.storage import read_record, write_record
from twotower.data.dataset import Dataset
from twotower.data.memory.files import load_memory
from twotower.data.sample import Sample
from twotower.training.checkpoint import load_model, load_training
from twotower.training.job import read_single_plan
from twotower.training.run import CONFIG, MEMORY, PLAN, RUN, TRAINING, RunReader
from twotower.training.trainer import Trainer

LIMIT = 4 << 30  # bytes of address space beyond what there is: a damaged size must not be believed


def dataset_says(place: Path) -> list[Any]:
    """Everything that a dataset and its sample say."""
    dataset = Dataset.open(place / "w")
    dataset.check_vectors()
    sample = Sample(dataset)
    said: list[Any] = [dataset.manifest["counts"], dataset.titles, dataset.user_columns, vars(dataset.territories)]
    said += [dataset.availability, dataset.launch_day, dataset.user_territory, dataset.user_vectors]
    said += [dataset.title_vectors, *dataset.all_events(), sample.train_users, sample.active, sample.test_users]
    said += [vars(sample.train_pairs()), vars(sample.test_pairs()), vars(sample.update_pairs(sample.update_days))]
    return [*said, sample.config]


def run_says(place: Path) -> list[Any]:
    """Everything that a finished run says."""
    dataset, run = Dataset.open(place / "w"), RunReader(place / "r")
    said = [run.config, run.scores, run.overall, run.seed, run.label, run.log, run.environment]
    said += [vars(run.evaluation.territories), vars(run.evaluation.titles), run.evaluation.days.keys()]
    model = load_model(run.weights_path)
    said += [dict(model.params), dict(model.running), model.title_offsets]
    return [*said, vars(load_memory(run.files.path(MEMORY), dataset)), read_record(run.files.path(PLAN))]


def unfinished_says(place: Path, trainers: dict[Path, Trainer]) -> list[Any]:
    """Everything that resuming a run depends on."""
    plan = read_single_plan(place / "u" / PLAN)
    config = Config.from_dict(load_toml(Files(place / "u", plan, PLAN).path(CONFIG)), "u")
    if place not in trainers:
        dataset = Dataset.open(place / "w")
        trainers[place] = Trainer(dataset, Sample(dataset), np.array(plan["groups"], np.int16), config)
    trainer = trainers[place]
    load_training(place / "u" / TRAINING, trainer.model, trainer.optimiser, trainer.state)
    return [plan, config.to_dict(), trainer.model.params.flat, trainer.optimiser.m.flat, vars(trainer.state)]


def text_of(values: Any) -> str:
    def of_other(value: Any) -> Any:
        if hasattr(value, "tocsr"):
            return [value.data.tolist(), value.indices.tolist(), value.indptr.tolist()]
        if hasattr(value, "tolist"):
            return value.tolist()
        return vars(value) if hasattr(value, "__dict__") else repr(value)

    return json.dumps(values, default=of_other)


def kinds_of_files(place: Path) -> dict[str, list[Path]]:
    """The files of dataset, sample, run and unfinished run, by directory and name."""
    kinds: dict[str, list[Path]] = {}
    for path in sorted(place.rglob("*")):
        top = path.relative_to(place).parts[0]
        of_beginning = path.name in (PLAN, CONFIG, TRAINING)
        if path.is_file() and "truth" not in path.parts and (top in "wr" or (top == "u" and of_beginning)):
            kinds.setdefault(f"{top} {path.name}", []).append(path)
    return kinds


def prepared(made: Path, work: Path) -> Path:
    """A folder with a dataset, a finished run and one that was interrupted after its first epoch."""
    from benchmarks.faults.commands import SMALL, copied, give
    from benchmarks.faults.injected import Fault, Mode

    place = copied(made, work)
    for operation in itertools.count(60, 5):
        shutil.rmtree(place / "u", ignore_errors=True)
        give(["train", "w", "--run", "u", *SMALL], place, Fault(place, operation, Mode.KILL).arm)
        if (place / "u" / TRAINING).exists() and not (place / "u" / RUN).exists():
            return place
    raise AssertionError


def damages(kinds: dict[str, list[Path]], times: int, rng: random.Random) -> Iterator[tuple[str, Path, bytes]]:
    """Kind, file and damaged content, in turn over the kinds."""
    for kind, number in zip(itertools.cycle(kinds), range(times), strict=False):
        path = rng.choice(kinds[kind])
        content = path.read_bytes()
        if not content:
            yield kind, path, b"\0"
        elif number % 4 == 3:
            yield kind, path, content[: rng.randrange(len(content))]
        else:
            at = rng.randrange(min(len(content), 200) if rng.random() < 0.3 else len(content))
            yield kind, path, content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]


def damage(made: Path, work: Path, times: int, seed: int = 0, forged: bool = False) -> Outcomes:
    """Damage files, one at a time, and read everything, in children that may not take much memory."""
    place = prepared(made, work)
    rng, outcomes, trainers = random.Random(seed), Counter[str](), dict[Path, Trainer]()
    says = {"w": dataset_says, "r": run_says, "u": partial(unfinished_says, trainers=trainers)}
    readers = {top: (read, text_of(read(place))) for top, read in says.items()}
    kinds, told = kinds_of_files(place), work / "told"
    cases = damages(kinds, times, rng)
    while batch := list(itertools.islice(cases, 200)):

        def several(batch: list[tuple[str, Path, bytes]] = batch) -> None:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT, used + LIMIT))
            with open(told, "w") as file:
                for kind, path, content in batch:
                    print(outcome_of(place, kind, path, content, *readers[kind[0]], forged), file=file, flush=True)

        code = code_of(in_child(several, quiet=True))
        lines = told.read_text().splitlines()
        outcomes.update(lines)
        if code:  # a crash: the file is as the child left it
            kind, path, _ = batch[len(lines)]
            raise AssertionError(f"crash {code} by {kind}: {path} kept in {place}")
    shutil.rmtree(place)
    return outcomes


def outcome_of(
    place: Path, kind: str, path: Path, content: bytes, read: Callable[[Path], list[Any]], wanted: str, forged: bool
) -> str:
    before = path.read_bytes()
    path.write_bytes(content)
    sealed = forged and reseal(place, path)
    try:
        if text_of(read(place)) == wanted:
            return "the same values"
        return "other values, as forged" if forged else f"OTHER VALUES {kind}"
    except InputError:
        return "refused"
    except Exception as error:
        return f"TRACEBACK {type(error).__name__} {kind}: {' '.join(str(error).split())[:80]}"
    finally:
        path.write_bytes(before)
        for manifest, text in (sealed or {}).items():
            manifest.write_bytes(text)


def reseal(place: Path, path: Path) -> dict[Path, bytes]:
    """Write the manifest over a damaged file anew; what it was before."""
    for folder in path.parents:
        for name in (MANIFEST, RUN, PLAN):
            manifest = folder / name
            if manifest.is_file() and manifest != path and folder != place:
                before = manifest.read_bytes()
                record = read_record(manifest)
                try:
                    found = describe(folder)
                except InputError:
                    return {}
                record["files"] = {file: found[file] for file in record["files"] if file in found}
                write_record(manifest, record)
                return {manifest: before}
    return {}

"""One command a day: append the log, evaluate, learn, and serve the result last.

A day d goes through five steps, of which the last is one rename:

    grow       ids, territories and availability of what is new; vectors as of the day before
    sample     pairs of held-out users to evaluate on, and of training users to learn from
    evaluate   the model of the day before, on the first; then learn from the second (training/learning.py)
    write      RUN/days/d: weights, moments, counts, evaluation, and what the day adds to the dataset
    serve      CURRENT names d, unless the gate holds it back as a candidate
"""

import hashlib
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.core.locks import discard, locked
from twotower.core.progress import Progress, silent
from twotower.daily.daily_table import INTERVALS, intervals, write_daily
from twotower.daily.gate import Limits, reasons_against
from twotower.daily.growth import Growth, Shares, grow, replaced, vectors_of_users
from twotower.daily.learner import Day, DayLearner, history_of
from twotower.daily.log import DayFiles, DayLog, read_days
from twotower.daily.pairs import DaySampling, day_pairs
from twotower.daily.part_files import save_part
from twotower.daily.replay import HELD_OUT as HELD_OUT_PAIRS
from twotower.daily.replay import LEARNED, frozen_pairs, to_replay
from twotower.daily.start import NOTHING, count_day, grown_identity, make_start
from twotower.data.countries import Place
from twotower.data.dataset import Dataset
from twotower.data.first_streams import FirstStreams
from twotower.data.grown import HELD_OUT, KINDS, DayRecord, GrownDataset, Part
from twotower.data.sample import Sample
from twotower.data.sampling.sample_config import SampleConfig
from twotower.metrics.average_precision import average_precision
from twotower.metrics.results import Evaluation
from twotower.training.days import DAYS, START, current_day, dataset_of_day, day_path, serve_day
from twotower.training.learning import evaluate_then_learn
from twotower.training.predict import evaluate_pairs
from twotower.training.run import RUN, Origin, RunReader, RunWriter
from twotower.training.warm_up import compile_kernels

LATE = ("fail", "drop", "append")
SHOWN_DAYS = 5  # of a gap, in a message


@dataclass(frozen=True)
class Options:
    """How days are taken in."""

    replace: bool = False
    allow_gap: bool = False
    late: str = "fail"
    limits: Limits = field(default_factory=Limits)
    threads: int = 0  # 0: as in training
    replay: float = 0.0  # pairs of earlier days that are learned from again, per new pair

    def __post_init__(self) -> None:
        if not 0 <= self.replay <= 1:
            raise InputError(f"--replay {self.replay:g}: expected a share from 0 to 1")


@dataclass(frozen=True)
class DayResult:
    """What became of a day."""

    record: DayRecord
    evaluation: Evaluation | None  # None: it was there already
    is_served: bool
    notes: list[str]

    def summary(self) -> str:
        """What came, what the model of the day before was worth, and what the day cost."""
        day, found = self.record, self.evaluation
        if found is None:
            return f"{day['date']}: already there, nothing to do."
        new = [(day["new_users"], "new user"), (day["new_titles"], "new title")]
        came = [counted(day["events"], "event"), *(counted(n, word) for n, word in new if n)]
        came += [f"new territory {code}" for code in day["new_territories"]]
        came += [counted(day["late"], "late event")] if day["late"] else []
        came += [f"{counted(day['moved'], 'user')} moved"] if day["moved"] else []
        auc = f"PR-AUC {found.overall:.4f}" if found.positives else "PR-AUC undefined"
        cost = f"{day['seconds']:.1f} s, {day['bytes'] / 2**20:.1f} MiB written, {day['peak_mib']:.0f} MiB of memory"
        judged = f"{auc} of {counted(found.positives, 'positive')} of held-out users"
        return f"{day['date']}: {', '.join(came)}; {judged}; {counted(day['training_pairs'], 'pair')} learned; {cost}."


@dataclass
class State:
    """The dataset and the model after a day."""

    run: RunReader
    name: str
    dataset: GrownDataset
    learner: DayLearner
    sampling: DaySampling
    shares: Shares

    @classmethod
    def open(cls, run_path: Path, name: str, threads: int) -> "State":
        run = RunReader(run_path)
        sampled = Sample(Dataset.open(run.dataset), run.sample)
        kept: dict[str, Any] = dict(sampled.config)
        totals = kept.pop("sampled")
        ratio = totals["active_users"] / totals["random_users"] if totals["random_users"] else float("inf")
        sampling = DaySampling(SampleConfig(**kept), totals["alpha"], ratio if totals["active_users"] else 0)
        users = sampled.n_users
        rest = users - len(sampled.test_users)
        shares = Shares(len(sampled.test_users) / users, totals["random_users"] / max(rest, 1))
        dataset, learner = dataset_of_day(run_path, name), DayLearner.open(day_path(run_path, name), threads)
        return cls(run, name, dataset, learner, sampling, shares)

    @property
    def last(self) -> str:
        """The date of the last day of the log, empty where the dataset has none."""
        name = self.dataset.data_day
        return self.dataset.manifest["days"].get("last", "") if name == START else name

    def lineage_with(self, log: DayLog) -> str:
        """What tells a day that stands on these days from one that stands on others."""
        before = self.dataset.parts[-1].day["lineage"]
        return hashlib.sha256(f"{before} {log.date} {log.with_late_content}".encode()).hexdigest()


def update(
    run_path: Path, files: DayFiles, options: Options = Options(), progress: Progress = silent
) -> Iterator[DayResult]:
    """Take in the days of a log one after the other; each result comes when the day is on the disk.

    Errors: InputError for a log that cannot be read, days that are missing or contradict those that are there, and
    while somebody else updates the run. What was served is served still.
    """
    run = RunReader(run_path)
    compile_kernels(progress)
    (run_path / DAYS).mkdir(exist_ok=True)
    with locked(run_path / DAYS):
        sweep(run_path)
        name = current_day(run_path)
        if name is None and not day_path(run_path, START).exists():
            threads = options.threads or int(run.config["train"]["threads"])
            make_start(run_path, run, threads, progress)
        name = name or START
        logs, notes = read_days(dataset_of_day(run_path, name), files, progress)
        if (files.user_vectors is not None or files.title_vectors is not None) and len(logs) > 1:
            raise InputError(f"vectors are those of one day, but the log has {len(logs)}: give one day at a time")
        yield from take_in(run_path, name, logs, files, options, notes, progress)


def take_in(
    run_path: Path, name: str, logs: list[DayLog], files: DayFiles, options: Options, notes: list[str],
    progress: Progress,
) -> Iterator[DayResult]:  # fmt: skip
    """The days of a log, those after ``name``."""
    state = State.open(run_path, name, options.threads)
    known = {part.day["date"]: part for part in state.dataset.parts}
    past = [log for log in logs if log.date in known or log.date <= state.last]
    new = [log for log in logs if log not in past]
    replacing: dict[str, DayLog] = {}
    changed = [log for log in past if log.date not in known or log.content != known[log.date].day["content"]]
    if changed and not new and not options.replace and options.late != "fail" and past[-1] not in changed:
        changed = []  # late ones that were dealt with when that day was new
    if changed and not new:
        day = changed[0].date
        if day not in known or not known[day].day["previous"]:
            raise InputError(f"{day}: is before the first day that {run_path} can go back to")
        if not options.replace:
            other = f"{day}: other events than {run_path} has of that day"
            raise InputError(f"{other} (--replace goes back to the day before and takes these)")
        later = [part for part in state.dataset.parts[1:] if part.day["date"] > day]
        replacing = {log.date: log for log in changed}
        new = [changed[0], *(replacing.get(part.day["date"]) or log_of_part(state.dataset, part) for part in later)]
        state = State.open(run_path, known[day].day["previous"], options.threads)
        serve_day(run_path, state.name)
        changed, past = [], []
    elif changed:
        changed, note = check_late(state.dataset, changed, options.late)
        notes = [*notes, *note]
    for log in past:
        if log.date in known and log.content == known[log.date].day["content"]:
            yield DayResult(known[log.date].day, None, True, [])
    if new and state.last and not replacing:
        check_gap(state.last, [log.date for log in new], options.allow_gap, run_path)
    for number, log in enumerate(new):
        if number == 0:
            for late in changed:
                log = log.with_late(late)
        result = take_day(run_path, state, log, files, options, notes, progress)
        yield result
        if not result.is_served:
            return


def take_day(
    run_path: Path, state: State, log: DayLog, files: DayFiles, options: Options, notes: list[str], progress: Progress
) -> DayResult:
    """Evaluate, learn, write and serve one day; the state moves on to it where it is served."""
    path = day_path(run_path, log.date)
    if path.exists():
        kept = Part.read(path).day
        good = kept["accepted"] or not kept["reasons"]
        if good and kept["lineage"] == state.lineage_with(log):
            with locked(path):  # which removes the lock of one that was killed before its last step
                finish(run_path, log.date)
            state.dataset, state.name = dataset_of_day(run_path, log.date), log.date
            state.learner = DayLearner.open(path, options.threads)
            return DayResult(kept, RunReader(path).evaluation, True, notes)
        discard(path)
    try:
        record, evaluation = write_day(path, state, log, files, options, progress)
    except BaseException:
        discard(path)
        raise
    if record["reasons"]:
        return DayResult(record, evaluation, False, notes)
    finish(run_path, log.date)
    state.name = log.date
    return DayResult(record, evaluation, True, notes)


def finish(run_path: Path, name: str) -> None:
    """The last step of a day."""
    write_daily(run_path, name)
    serve_day(run_path, name)


def write_day(
    path: Path, state: State, log: DayLog, files: DayFiles, options: Options, progress: Progress
) -> tuple[DayRecord, Evaluation]:
    """The run of a day; ``state`` is then as after the day."""
    started, learner, before = time.perf_counter(), state.learner, state.dataset
    number = before.parts[-1].day["number"] + 1
    skipped = missing_days(state.last, log.date) if state.last else []
    record = replaced(
        NOTHING, date=log.date, number=number, previous=state.name, content=log.content,
        lineage=state.lineage_with(log), skipped=skipped,
    )  # fmt: skip
    after = int(before.manifest["provenance"].get("config", {}).get("available_after", 1))
    growth = grow(before, log, record, state.shares, learner.group, after, learner.counts.viewers, files.title_vectors)
    dataset, part = growth.dataset, growth.part
    users = np.unique(np.concatenate([growth.user, growth.late[0]]))
    known = users[users < before.n_users]
    earlier = before.watched_by(known)
    held_out, new, streams = day_pairs(growth, earlier, state.sampling)

    vectors = np.zeros((len(users), before.base.user_vectors.shape[1]), before.base.user_vectors.dtype)
    given = [] if files.user_vectors is None else [known]
    vectors[: len(known)] = before.vectors_of(known)
    for some in (*given, users[len(known) :]):
        if len(some):
            mine = np.isin(earlier[0], some)
            territory = np.asarray(dataset.user_territory)[some]
            made = vectors_of_users(dataset, some, territory, earlier[0][mine], earlier[1][mine], files.user_vectors,
                                    before.n_users)  # fmt: skip
            vectors[np.searchsorted(users, some)] = made
    history = history_of(users, earlier[0], earlier[1], dataset.n_titles)
    run = state.run
    origin: Origin = {"label": run.label, "dataset": before.path, "sample": run.sample, "seed": run.seed}
    with RunWriter(path, **origin, config=learner.config.to_dict()) as writer:
        replayed = to_replay(before.parts[1:], round(options.replay * len(new)), state.run.seed, number)
        learner.begin(Day(number, users, vectors, history, dataset, replayed))
        for kind, pairs in ((HELD_OUT_PAIRS, held_out), (LEARNED, new)):
            part.arrays |= learner.kept(pairs, kind).arrays(kind)
        periods = [(held_out, new)]
        logits = next(iter(list(evaluate_then_learn(learner, periods, writer, progress))))
        if not len(new):
            learner.count_nothing()
        evaluation = evaluate_pairs(dataset, learner.heads, held_out, logits, progress)
        count_day(learner, dataset, *first_streams(streams, users, number), dataset.roles == HELD_OUT, new)
        learn_vectors(growth, vectors, earlier, files)
        learner.remember(dataset, number + 1)
        frozen = frozen_pairs(before.parts)
        old = float("nan") if frozen is None else average_precision(frozen.label, learner.predict_kept(frozen))
        part.day = replaced(
            part.day, training_pairs=len(new), replayed_pairs=len(replayed or ()),
            frozen_pr_auc=old if np.isfinite(old) else None, frozen_pairs=len(frozen or ()),
            frozen_positives=0 if frozen is None else int(frozen.label.sum()),
        )  # fmt: skip
        part.tables[INTERVALS] = intervals(dataset, evaluation, held_out, logits, state.run.seed, number)
        names = [part.day["date"] for part in before.parts[:0:-1][: options.limits.days]]
        last = [RunReader(path.parent / name).evaluation for name in names]
        reasons = reasons_against(options.limits, before, last, dataset, evaluation, learner.model.params.flat)
        save_part(part, writer.path)
        learner.save(writer)
        writer.save_results(evaluation, logits, held_out.digest())
        parts = [*before.parts, part]
        writer.facts |= grown_identity(before.base, parts, writer)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds = time.perf_counter() - started
        part.day = replaced(part.day, reasons=reasons, seconds=seconds, bytes=size, peak_mib=peak)
        writer.facts["day"] = part.day
    state.dataset = GrownDataset(before.base, [*before.parts, Part.read(path)])
    return part.day, evaluation


def first_streams(streams: FirstStreams, users: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """User and title (n,) of the day's first streams of some users."""
    user, title, _ = streams.between(users.astype(np.int64), number, number + 1)
    return user, title


def learn_vectors(growth: Growth, vectors: np.ndarray, earlier: tuple[np.ndarray, ...], files: DayFiles) -> None:
    """Put the vectors of the day's users, with the day in their histories, and what else counts from now on."""
    dataset, part = growth.dataset, growth.part
    user = np.concatenate([earlier[0], growth.late[0], growth.user])
    title = np.concatenate([earlier[1], growth.late[1], growth.title])
    users = np.unique(np.concatenate([growth.user, growth.late[0]]))
    territory = np.asarray(dataset.user_territory)[users].copy()
    moving = np.isin(users, growth.moving[:, 0])
    territory[moving] = growth.moving[np.argsort(growth.moving[:, 0]), 1] if moving.any() else territory[moving]
    if dataset.embedding:
        known = dataset.n_users - part.day["new_users"]
        vectors = vectors_of_users(dataset, users, territory, user, title, files.user_vectors, known)
    part.arrays |= {"vector_user": users.astype(np.int32), "vectors": vectors, "moved": growth.moving}


def sweep(run_path: Path) -> None:
    """Remove days that were never finished."""
    for folder in (run_path / DAYS).iterdir():
        if folder.is_dir() and not (folder / RUN).is_file():
            discard(folder)


def missing_days(last: str, day: str) -> list[str]:
    """The calendar days between two."""
    first, end = date.fromisoformat(last).toordinal() + 1, date.fromisoformat(day).toordinal()
    return [date.fromordinal(number).isoformat() for number in range(first, end)]


def check_gap(last: str, days: list[str], allow_gap: bool, run_path: Path) -> None:
    """Errors: InputError with the days that are missing between the last one and the new ones."""
    missing = [day for before, after in zip([last, *days], days, strict=False) for day in missing_days(before, after)]
    if missing and not allow_gap:
        named = ", ".join(missing[:SHOWN_DAYS]) + (" …" if len(missing) > SHOWN_DAYS else "")
        verb = "is" if len(missing) == 1 else "are"
        raise InputError(f"{run_path}: {counted(len(missing), 'day')} {verb} missing after {last}: {named} "
                         "(--allow-gap goes on without)")  # fmt: skip


def check_late(dataset: GrownDataset, changed: list[DayLog], late: str) -> tuple[list[DayLog], list[str]]:
    """Events of earlier days that are to be appended, without those that are there; and notes.

    Errors: InputError where they are not wanted.
    """
    logs = [log.unknown_to(dataset) for log in changed]
    events = counted(sum(len(log.user) for log in logs), "event")
    if late == "fail":
        raise InputError(f"{changed[0].date} or other days before the last have {events} that were not there: late, or "
                         "the wrong file (--late append or drop)")  # fmt: skip
    if late == "drop":
        return [], [f"{events} of earlier days left out (--late drop)."]
    return [log for log in logs if len(log.user)], []


def log_of_part(dataset: GrownDataset, part: Part) -> DayLog:
    """The log of a day that is there already, with ids in place of rows."""
    rows = np.asarray(part.array("vector_user"))
    known = dataset.user_ids or list(map(str, range(dataset.n_users)))
    users, user_rank = in_order([known[row] for row in rows.tolist()])
    used = np.unique(np.concatenate([part.array(f"{kind}_title") for kind in KINDS]))
    titles, title_rank = in_order([dataset.title_ids[row] for row in used.tolist()])
    order = np.argsort(user_rank)
    table = dataset.territories
    places = [Place(table.code[c], table.name[c], float(table.latitude[c]), float(table.longitude[c]))
              if c >= 0 else None for c in part.array("home")[order].tolist()]  # fmt: skip
    events = []
    for kind in KINDS:
        user = user_rank[np.searchsorted(rows, part.array(f"{kind}_user"))]
        title = title_rank[np.searchsorted(used, part.array(f"{kind}_title"))]
        by_user = np.lexsort((title, user))
        events.append((user[by_user], title[by_user]))
    columns = [{name: [column[i] for i in which.tolist()] for name, column in table.items() if name != what}
               for what, table, which in (("user", dataset.user_columns, rows[order]),
                                          ("title", dataset.titles, used[np.argsort(title_rank)]))]  # fmt: skip
    elsewhere = np.asarray(part.array("elsewhere"))[order]
    return DayLog(part.day["date"], users, places, elsewhere, columns[0], titles, columns[1], *events[0], events[1])


def in_order(ids: list[str]) -> tuple[list[str], np.ndarray]:
    """Ids in order, and the place (n,) int32 of each."""
    order = sorted(range(len(ids)), key=ids.__getitem__)
    rank = np.empty(len(ids), np.int32)
    rank[order] = np.arange(len(ids))
    return [ids[i] for i in order], rank

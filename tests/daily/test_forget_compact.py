"""Users are forgotten in all days at once, and old days are put together without a bit that changes."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from daily_logs import TRAINED_DAYS, bits, day_rows, name_of, run_command, succeed, write_days

from benchmarks.faults.children import KILLED, at_change, code_of, in_child
from twotower.core.errors import InputError
from twotower.core.storage import read_csv
from twotower.daily import replay, update
from twotower.daily.compact import compact
from twotower.daily.forget import forget
from twotower.data.grown import FORGOTTEN
from twotower.serving.provenance import provenance_of
from twotower.training.days import current_day, dataset_of_day, day_path, served
from twotower.training.run import RunReader

D12, D13, D14, D15, D16 = range(TRAINED_DAYS, TRAINED_DAYS + 5)


@pytest.fixture(scope="module")
def lived(shop, tmp_path_factory) -> Path:
    """A run with three days, the last of which has new users; and one that is not served. Not to be changed."""
    folder = tmp_path_factory.mktemp("lived")
    run = Path(shutil.copytree(shop / "run", folder / "run"))
    succeed("update", run, "--events", write_days(folder / "all.csv", D12, D13, D14, D15))
    succeed("rollback", run, "--to", name_of(D14))
    return run


def listed(path: Path, *names: str) -> Path:
    path.write_text("user\n" + "".join(f"{name}\n" for name in names))
    return path


def test_who_is_forgotten_is_nowhere_in_the_run_and_nothing_else_changes(lived, copied, tmp_path):
    run, before = copied("run", lived), dataset_of_day(lived, name_of(D14))
    new = before.user_ids[before.base.n_users]
    who = [np.load(day_path(run, name_of(D12)) / f"data/{kind}_who.npy")[0] for kind in replay.KINDS]
    names = [*(before.user_ids[row] for row in who), new]  # learned from, held out, and new
    line = succeed("forget", run, "--users", listed(tmp_path / "erased.csv", *names))
    gone = np.array([before.user_ids.index(name) for name in names])
    log = before.events(-1)
    assert f"3 users forgotten: {np.isin(log[0], gone).sum()} events" in line
    assert "what weights and counts hold of them (" in line
    after = dataset_of_day(run, current_day(run))
    kept = np.setdiff1d(np.arange(before.n_users), gone)
    assert np.flatnonzero(after.roles == FORGOTTEN).tolist() == sorted(gone.tolist())
    assert not set(after.user_ids) & set(names) and not after.vectors_of(gone).any()
    np.testing.assert_array_equal(after.vectors_of(kept), before.vectors_of(kept))
    sets = [set(zip(*(column.tolist() for column in dataset.events(-1)), strict=True)) for dataset in (before, after)]
    assert sets[1] == {event for event in sets[0] if event[0] not in gone}
    assert after.identity == before.identity and provenance_of(served(run)[0], after)["model_day"] == name_of(D14)
    assert {path.name for path in (run / "days").iterdir()} == {
        "CURRENT", "daily.csv", "start", *map(name_of, (D12, D13, D14))}  # fmt: skip
    for day in ("start", *map(name_of, (D12, D13, D14))):
        RunReader(day_path(run, day)).files.verify()
        for path in (day_path(run, day) / "data").glob("*.csv"):
            assert new not in path.read_text().replace(",", "\n").split("\n"), path
        for kind in replay.KINDS if day != "start" else ():
            assert not np.isin(np.load(day_path(run, day) / f"data/{kind}_who.npy"), gone).any()
    succeed("recommend", run, "--top", 1, "--out", tmp_path / "best.csv")
    assert set(read_csv(tmp_path / "best.csv")["user"]) == {before.user_ids[i] for i in kept}
    succeed("export", run, "--out", tmp_path / "out")
    assert len(read_csv(tmp_path / "out/users.csv")["user"]) == len(kept)
    again = succeed("forget", run, "--users", tmp_path / "erased.csv")
    assert "0 users forgotten" in again


def test_who_was_forgotten_comes_back_as_a_new_user(lived, copied, tmp_path):
    run = copied("run", lived)
    user = day_rows(D15)[0][0]
    forget(run, listed(tmp_path / "erased.csv", user))
    n = dataset_of_day(run, name_of(D14)).n_users
    succeed("update", run, "--events", write_days(tmp_path / "15.csv", D15))
    assert dataset_of_day(run, name_of(D15)).user_ids.index(user) >= n


def test_forgetting_is_all_or_nothing(lived, copied, tmp_path):
    """Killed at any change of a file: either all are there or none, and the same command finishes."""
    erased = listed(tmp_path / "erased.csv", "u1", "u2")
    count = tmp_path / "changes"

    def counted(run: Path) -> int:
        left = at_change(1 << 30, lambda: None)
        forget(run, erased)
        count.write_text(str((1 << 30) - left[0]))
        return 0

    assert code_of(in_child(lambda: counted(copied("counted", lived)), quiet=True)) == 0
    changes, states = int(count.read_text()), set()
    for number in sorted({*np.linspace(2, changes - 2, 6).astype(int).tolist(), *range(changes - 8, changes - 1)}):
        run = copied(f"run-{number}", lived)

        def killed(number: int = number, run: Path = run) -> int:
            at_change(number, lambda: os._exit(KILLED))
            forget(run, erased)
            return 0

        assert code_of(in_child(killed, quiet=True)) == KILLED
        ids = dataset_of_day(run, current_day(run)).user_ids
        assert ("u1" in ids) == ("u2" in ids)
        states.add("u1" in ids)
        forget(run, erased)
        assert not {"u1", "u2"} & set(dataset_of_day(run, name_of(D14)).user_ids)
        assert not [path for path in run.iterdir() if path.name.startswith(".")], "nothing is left beside the days"
        shutil.rmtree(run)
    assert states == {True, False}, "kills before and after the exchange"


def test_mistakes_are_one_line(run, tmp_path):
    assert run_command("forget", run, "--users", listed(tmp_path / "a.csv", "u1")).exit_code == 2, "no days yet"
    result = run_command("forget", run, "--users", listed(tmp_path / "none.csv"))
    assert result.exit_code == 2 and "no ids" in result.stderr
    assert "no days yet" in run_command("compact", run).stderr
    with pytest.raises(InputError, match="at least 30"):
        compact(run, 3)


def test_days_after_compaction_are_the_same_to_the_bit(lived, copied, tmp_path, monkeypatch):
    monkeypatch.setattr("twotower.daily.compact.LAST_DAYS", 1)
    plain, small = copied("plain", lived), copied("small", lived)
    lines = (plain / "days/daily.csv").read_text().splitlines(keepends=True)
    table = "".join(line for line in lines if not line.startswith(name_of(D15)))  # a day that is not served
    done = compact(small, 1)
    assert (done.days, done.into) == (3, name_of(D13)) and done.bytes_after < done.bytes_before
    whole, merged = (dataset_of_day(run, name_of(D14)) for run in (plain, small))
    assert merged.identity == whole.identity and merged.user_ids == whole.user_ids
    np.testing.assert_array_equal(merged.user_vectors, whole.user_vectors)
    assert (small / "days/daily.csv").read_text() == table
    for run in (plain, small):
        succeed("update", run, "--events", write_days(tmp_path / "all.csv", D15, D16))
    for day in map(name_of, (D15, D16)):
        assert bits(day_path(small, day)) == bits(day_path(plain, day))
    assert (small / "days/daily.csv").read_bytes() == (plain / "days/daily.csv").read_bytes()
    (small / "days/daily.csv").unlink()
    succeed("rollback", small, "--to", name_of(D15))
    succeed("update", small, "--events", write_days(tmp_path / "16.csv", D16))
    assert (small / "days/daily.csv").read_bytes() == (plain / "days/daily.csv").read_bytes(), "made again"
    assert "no more than" in succeed("compact", small)
    refused = run_command("update", small, "--replace", "--events", write_days(tmp_path / "13.csv", D13, seed=3))
    assert refused.exit_code == 2 and "can go back to" in refused.stderr
    forget(small, listed(tmp_path / "erased.csv", "u1"))
    assert "u1" not in dataset_of_day(small, name_of(D16)).user_ids
    assert update.current_day(small) == name_of(D16)

"""The benchmarks of import and negatives ask everyone for the same, and notice who does not deliver it."""

import numpy as np
import pytest

pytest.importorskip("polars", reason="Polars is a peer in benchmarks only: pip install -e '.[bench]'")
pytest.importorskip("duckdb", reason="DuckDB is a peer in benchmarks only: pip install -e '.[bench]'")
pytest.importorskip("pyarrow", reason="pyarrow reads and writes Parquet: pip install -e '.[parquet]'")

from click.testing import CliRunner
from numba import config as numba_config

from benchmarks import import_log, negatives
from benchmarks.made_log import FORMATS, IDS, made_log
from benchmarks.pair_makers import PAIR_MAKERS, Pairs


@pytest.fixture(scope="module")
def task():
    return negatives.make_task(3000, 60_000, 4, np.random.default_rng(1))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("ids", IDS)
def test_every_contender_makes_the_same_pairs(tmp_path, monkeypatch, ids, form):
    monkeypatch.setattr("twotower.data.ingest.events.FAST_FROM_BYTES", 0)  # as a log worth timing is read
    path = made_log(tmp_path, 5000, ids, form)
    found = {}
    for name, (maker, _) in PAIR_MAKERS.items():
        contender = maker()
        contender.prepare()
        found[name] = import_log.answers(contender.pairs(contender.make(path, ids)))
    assert found["twotower"]["users"] == found["twotower"]["runs"] == 100
    assert all(answers == found["twotower"] for answers in found.values())


def test_the_log_is_made_once_and_always_the_same(tmp_path):
    path = made_log(tmp_path, 3000, "text", "parquet")
    first = path.read_bytes()
    path.write_bytes(b"kept")
    assert made_log(tmp_path, 3000, "text", "parquet").read_bytes() == b"kept"
    path.unlink()
    assert made_log(tmp_path, 3000, "text", "parquet").read_bytes() == first


@pytest.mark.parametrize(
    ("user", "title", "day", "complaint"),
    [
        ([1, 1, 2], [5, 6, 5], [9, 9, 9], ""),
        ([2, 1, 1], [5, 6, 5], [9, 9, 9], ""),
        ([1, 2, 1], [5, 5, 6], [9, 9, 9], "in 3 pieces"),
        ([1, 1, 2], [5, 6, 5], [9, 9, 8], "checksum"),
        ([1, 1, 2], [6, 6, 5], [9, 9, 9], "checksum"),
        ([1, 1], [5, 6], [9, 9], "pairs 2, expected 3"),
    ],
)
def test_other_pairs_are_noticed(user, title, day, complaint):
    pa = pytest.importorskip("pyarrow")

    def answers(user, title, day):
        return import_log.answers(Pairs(pa.array(user), pa.array(title), np.array(day)))

    found = import_log.difference([answers([1, 1, 2], [5, 6, 5], [9, 9, 9])], answers(user, title, day))
    assert complaint in found and bool(found) == bool(complaint)


@pytest.mark.skipif(bool(numba_config.DISABLE_JIT), reason="the machine's readings exist only as machine code")
def test_the_import_benchmark_runs(tmp_path):
    options = ["--events", "2000", "--rounds", "1", "--contenders", "twotower,duckdb", "--directory", str(tmp_path)]
    result = CliRunner().invoke(import_log.main, [*options, "--json", str(tmp_path / "results.json")])
    assert result.exit_code == 0, result.output
    assert "2,000 events, parquet, integer ids" in result.output and "peak MiB" in result.output


@pytest.mark.parametrize("main", [import_log.main, negatives.main])
def test_a_missing_peer_is_named(main, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "polars" else name)
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 1
    assert result.output == "Error: not installed: polars; pip install 'twotower[bench]'\n"


@pytest.mark.parametrize("name", negatives.SAMPLERS)
def test_every_sampler_draws_what_was_asked_for(name, task):
    assert not negatives.complaint(task, negatives.SAMPLERS[name](task)(1))


def test_wrong_negatives_are_noticed(task):
    user, title = negatives.twotower(task)(1)
    home = task.territory[user[0]]
    watched = task.watched_title[task.watched_user == user[0]]
    watched = watched[task.availability[watched, home] & (task.launch_day[watched] <= negatives.TODAY)]
    for wrong, complaint in (
        (watched[0], "a title that was watched"),
        (title[1], "a title twice"),
        (np.flatnonzero(~task.availability[:, home])[0], "a title that was not there"),
    ):
        changed = title.copy()
        changed[0] = wrong
        assert negatives.complaint(task, (user, changed)) == complaint
    assert "negatives, expected" in negatives.complaint(task, (user[1:], title[1:]))


def test_negatives_that_prefer_popular_titles_are_noticed(task):
    user, title = negatives.twotower(task._replace(wanted=2 * task.wanted))(1)
    order = np.lexsort((title, user))  # of twice as many the more popular half of each user's
    user, title = user[order], title[order]
    place = np.arange(len(user)) - np.searchsorted(user, user)
    wanted = np.zeros(len(task.territory), int)
    wanted[task.user] = task.wanted
    kept = place < wanted[user]
    assert "popular titles, expected" in negatives.complaint(task, (user[kept], title[kept]))

"""Recommendations: the best of what a user may have and has not watched, as a slow and simple search finds them."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from sealing import reseal
from tiny_runs import MTL, train

from twotower.core.errors import InputError
from twotower.core.serialisation import Spreadsheets
from twotower.core.storage import whole_text
from twotower.data.dataset import Dataset
from twotower.data.dataset_writer import write_vectors
from twotower.model.engine.topk import NO_TITLE
from twotower.serving.export import export
from twotower.serving.open_run import score_pairs
from twotower.serving.recommend import (
    Recommendations,
    recommend,
    watched,
    write_csv,
)
from twotower.training.checkpoint import load_model, save_weights
from twotower.training.run import RunReader

TOP = 7


@pytest.fixture(scope="module")
def run(tiny_world, tmp_path_factory) -> RunReader:
    return train(tiny_world, tmp_path_factory.mktemp("runs") / "mtl", MTL)


@pytest.fixture
def data(tiny_world) -> Dataset:
    return Dataset.open(tiny_world)


def allowed_titles(data: Dataset, user: int, day: int) -> list[int]:
    """What may be recommended to a user at the start of a day, event by event."""
    past = [titles[users == user] for d, users, titles in data.iter_events() if d < day]
    seen = set(np.concatenate(past).tolist())
    home = data.user_territory[user]
    return [
        t for t in range(data.n_titles) if data.availability[t, home] and data.launch_day[t] <= day and t not in seen
    ]


@pytest.mark.parametrize("day", [None, 0, 4])
def test_they_are_the_best_of_what_a_user_may_have_and_has_not_watched(data, run, day):
    found = recommend(run.path, data, top=TOP, day=day)
    users, n = np.arange(0, data.n_users, 13), data.n_titles
    every = {"user": np.repeat(users, n), "title": np.tile(np.arange(n), len(users))}
    pairs = SimpleNamespace(**every, label=np.zeros(len(users) * n))
    scores = score_pairs(run.path, data, pairs).reshape(len(users), n)
    end = data.train_days + data.test_days if day is None else day
    for user, of_user in zip(users, scores, strict=True):
        allowed = allowed_titles(data, user, end)
        ranked = [title for title in found.title[user].tolist() if title != NO_TITLE]
        assert len(ranked) == len(set(ranked)) == min(TOP, len(allowed)) and set(ranked) <= set(allowed)
        np.testing.assert_allclose(found.score[user, : len(ranked)], of_user[ranked], rtol=1e-4, atol=1e-5)
        others = [of_user[title] for title in allowed if title not in ranked]
        assert max(others, default=-np.inf) <= found.score[user, len(ranked) - 1] + 1e-5


def test_the_day_changes_what_is_left_out(data, run):
    early, late = (recommend(run.path, data, top=30, day=day).counts().sum() for day in (0, 8))
    launched = (data.launch_day > 0).any()
    assert launched and early != late


def test_a_title_can_be_recommended_from_its_launch_on_and_not_a_day_before(data, run):
    data.launch_day = np.arange(data.n_titles)
    for day in (3, 4):
        assert recommend(run.path, data, top=30, day=day).title.max() == day


def test_some_users_get_what_they_get_among_all(data, run):
    everybody, users = recommend(run.path, data, top=3), np.array([77, 5, 200])
    some = recommend(run.path, data, users, top=3)
    np.testing.assert_array_equal(some.user, users)
    np.testing.assert_array_equal(some.title, everybody.title[users])
    np.testing.assert_allclose(some.score, everybody.score[users], rtol=1e-5, atol=1e-6)


def test_more_titles_than_there_are_is_all_of_them(data, run):
    found = recommend(run.path, data, top=10**6)
    assert found.title.shape == (data.n_users, data.n_titles)


def test_a_baseline_recommends_too(tiny_world, data, tmp_path):
    baseline = train(tiny_world, tmp_path / "baseline", epochs=1)
    counts = recommend(baseline.path, data, top=2, day=0).counts()
    assert counts.tolist() == [min(2, len(allowed_titles(data, user, 0))) for user in range(data.n_users)]


def test_it_says_where_it_is(data, run):
    seen = []
    recommend(run.path, data, progress=lambda *where: seen.append(where))
    stages = list(dict.fromkeys(stage for stage, _, _ in seen))
    assert stages[-3:] == ["embedding titles", "reading watch history", "scoring users"]
    assert seen[-1] == ("scoring users", 300, 300)


def test_what_was_watched_is_told_once_and_in_order(data):
    users = np.array([9, 3, 250])
    start, titles = watched(data, users, 5)
    log = [(u, t) for day, us, ts in data.iter_events() if day < 5 for u, t in zip(us, ts, strict=True)]
    for i, user in enumerate(users):
        assert titles[start[i] : start[i + 1]].tolist() == sorted({t for u, t in log if u == user})


def test_naming_a_user_twice_is_a_mistake_of_the_caller(data):
    with pytest.raises(ValueError, match="only once"):
        watched(data, np.array([4, 4]), 1)


# ---------------------------------------------------------------- how they are written


def test_the_csv_has_a_line_a_recommendation(own_world):
    (own_world / "users.csv").write_text('user\n"a ""b"""\n' + "".join(f"{user}\n" for user in range(1, 300)))
    data = Dataset.open(reseal(own_world, add=["users.csv"]))
    title = np.array([[2, 0], [5, NO_TITLE], [NO_TITLE, NO_TITLE]], np.int32)
    score = np.array([[1.5, -0.1], [2, -np.inf], [-np.inf, -np.inf]], np.float32)
    file = io.StringIO()
    write_csv(file, data, Recommendations(np.array([0, 9, 8]), title, score))
    ids = data.title_ids
    assert file.getvalue() == (
        f'user,rank,title,score\n"a ""b""",1,{ids[2]},1.5\n"a ""b""",2,{ids[0]},-0.1\n9,1,{ids[5]},2.0\n'
    )


def test_a_spreadsheet_is_given_nothing_to_run(own_world, monkeypatch):
    (own_world / "users.csv").write_text("user\n=cmd|calc\n\uff1d1+1\na=1\n" + "".join(f"{u}\n" for u in range(3, 300)))
    data = Dataset.open(reseal(own_world, add=["users.csv"]))
    found = Recommendations(np.arange(3), np.zeros((3, 1), np.int32), np.full((3, 1), -1, np.float32))
    texts = []
    for enabled in (False, True):
        monkeypatch.setattr(Spreadsheets, "enabled", enabled)
        write_csv(file := io.StringIO(), data, found)
        texts.append([line.split(",")[::3] for line in file.getvalue().splitlines()[1:]])
    assert texts[0] == [["=cmd|calc", "-1.0"], ["\uff1d1+1", "-1.0"], ["a=1", "-1.0"]]
    assert texts[1] == [["'=cmd|calc", "-1.0"], ["'\uff1d1+1", "-1.0"], ["a=1", "-1.0"]]


def test_the_summary_says_who_has_less_and_who_has_nothing():
    title = np.array([[2, 0], [5, NO_TITLE], [NO_TITLE, NO_TITLE]], np.int32)
    text = Recommendations(np.arange(3), title, np.zeros((3, 2), np.float32)).summary("best.csv")
    assert text == (
        "3 recommendations for 2 users saved to best.csv; 1 user with fewer than 2; "
        "1 user with none, who watched all that is available."
    )


def test_scores_read_back_as_they_were_in_blocks_of_any_size(data, run, monkeypatch):
    found = recommend(run.path, data, top=4)
    texts, seen = [], []
    for rows in (1, 50, 1 << 16):
        monkeypatch.setattr("twotower.serving.recommend.WRITE_ROWS", rows)
        file = io.StringIO()
        write_csv(file, data, found, lambda *where: seen.append(where))
        texts.append(file.getvalue())
    assert len(set(texts)) == 1 and seen[-1] == ("writing recommendations", 300, 300)
    written = [float(line.rpartition(",")[2]) for line in texts[0].splitlines()[1:]]
    np.testing.assert_array_equal(np.array(written, np.float32), found.score[found.title != NO_TITLE])


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), whole_text(path) as file:
        file.write("half")
        raise ZeroDivisionError
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"] and path.read_text() == "before"
    with whole_text(path) as file:
        file.write("é\n")
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"] and path.read_bytes() == "é\n".encode()


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("day", [-1, 12])
def test_a_day_outside_the_log_is_refused(data, run, day):
    with pytest.raises(InputError, match=rf"--day {day}: .* has the days 0 to 10, and 11 is the day after"):
        recommend(run.path, data, day=day)


def test_vectors_that_are_not_finite_are_refused(own_world, run):
    vectors = np.load(own_world / "users.npy")
    vectors[13, 2] = np.nan
    write_vectors(own_world, user_vectors=vectors)
    with pytest.raises(InputError, match=r"users\.npy: 1 of 300 rows hold NaN or infinity, the first is row 13"):
        recommend(run.path, Dataset.open(own_world))


@pytest.mark.parametrize("weight", ["logit.scale", "title.W1", "memory.w"])
def test_scores_beyond_float32_are_refused_and_not_left_out(tiny_world, tmp_path, data, weight):
    run = train(tiny_world, tmp_path / "run", MTL | {"memory": True})
    model = load_model(run.weights_path)
    model.params[weight][...] = 3e38
    save_weights(run.weights_path, model)
    path = reseal(run.path, "run.json")
    with pytest.raises(InputError, match="beyond float32"):
        recommend(path, data)
    with pytest.raises(InputError, match="beyond float32"):
        export(path, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    if weight != "logit.scale":  # which times a small product is a number
        pairs = SimpleNamespace(user=np.arange(9), title=np.arange(9), label=np.zeros(9))
        with pytest.raises(InputError, match="beyond float32"):
            score_pairs(path, data, pairs)


def test_vectors_of_another_width_are_refused(own_world, run):
    write_vectors(own_world, user_vectors=np.zeros((300, 5), np.float32))
    with pytest.raises(InputError, match=r"its vectors are \(5, \d+\) wide; .*mtl was trained on \(16, \d+\)"):
        recommend(run.path, Dataset.open(own_world))


def test_a_place_that_cannot_be_written_is_told_before_anything_is_computed(tmp_path):
    for path, why in ((tmp_path, "is a directory, expected"), (tmp_path / "no" / "where.csv", "No such file")):
        with pytest.raises(InputError, match=rf"{path}: cannot write \({why}"), whole_text(path):
            pytest.fail("opened")

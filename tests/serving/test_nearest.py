"""The index of nearest neighbours: what it finds is ranked exactly, and its recall is measured and bounded."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from tiny_runs import MTL, failing_line, train

from twotower.cli import cli
from twotower.data.dataset import Dataset
from twotower.data.sample import Sample
from twotower.model.engine.topk import NO_TITLE
from twotower.serving.export import held_out_users
from twotower.serving.nearest import NearestTitles, choose_candidates, recall_of
from twotower.serving.open_run import score_pairs
from twotower.serving.ranker import Ranker
from twotower.serving.recommend import watched

pytest.importorskip("voyager")

MODELS = {
    "memory": MTL | {"memory": True, "title_offsets": "territory", "group_prior": 2.0},
    "linear memory": {"memory": True, "memory_units": 0},
    "no memory": MTL | {"territory_bias": True},
}


@pytest.fixture(scope="module", params=MODELS)
def opened(request, tiny_world, tmp_path_factory) -> SimpleNamespace:
    data = Dataset.open(tiny_world)
    run = train(tiny_world, tmp_path_factory.mktemp("nearest") / "run", MODELS[request.param], epochs=1)
    rows, day = np.arange(3, data.n_users, 2), data.train_days + data.test_days
    ranker, seen = Ranker(run.path, data, rows, day), watched(data, rows, day)
    return SimpleNamespace(run=run.path, data=data, rows=rows, ranker=ranker, seen=seen)


@pytest.mark.parametrize("k", [5, 30])
def test_with_all_titles_as_candidates_the_answer_is_exact(opened, k):
    """The same titles and logits as the ranker's, without those that are watched or not available."""
    nearest = NearestTitles(opened.ranker, opened.rows, opened.data.n_titles)
    titles, scores = nearest.top(opened.rows, k, opened.seen)
    expected, logits = opened.ranker.top(opened.rows, k, opened.seen)
    np.testing.assert_array_equal(titles == NO_TITLE, expected == NO_TITLE)
    assert (titles == expected).mean() > 0.99, "but for ties within rounding"
    np.testing.assert_allclose(scores, logits, atol=1e-4)


def test_with_few_candidates_the_logits_are_exact_and_more_find_more(opened):
    nearest, exact = NearestTitles(opened.ranker, opened.rows, 2), opened.ranker.top(opened.rows, 5, opened.seen)[0]
    titles, scores = nearest.top(opened.rows, 5, opened.seen)
    row, rank = np.nonzero(titles != NO_TITLE)
    pairs = SimpleNamespace(user=opened.rows[row], title=titles[row, rank], label=np.zeros(len(row)))
    np.testing.assert_allclose(scores[row, rank], score_pairs(opened.run, opened.data, pairs), atol=1e-4)
    assert all(len(set(own)) == len(own) for own in ([t for t in row if t >= 0] for row in titles.tolist()))
    few = recall_of(titles, exact)
    choose_candidates(nearest, opened.rows, exact, opened.seen, 0.98, lambda *_: None)
    many = recall_of(nearest.top(opened.rows, 5, opened.seen)[0], exact)
    assert few < many and many >= 0.99 and 2 < nearest.candidates <= opened.data.n_titles


def test_neighbours_of_the_history_are_candidates(opened):
    """Even where neither the index nor the territory brings a title."""
    if opened.ranker.memory is None:
        pytest.skip("a run without memory")
    nearest = NearestTitles(opened.ranker, opened.rows, 3)
    nearest.popular[:] = NO_TITLE
    nearest.index = SimpleNamespace(query=lambda q, k, threads: (np.full((len(q), k), 2**32 - 1, np.uint64), None))
    titles, _ = nearest.top(opened.rows, 10, opened.seen)
    memory, place = opened.ranker.memory, opened.data.user_territory[opened.rows]
    near = (memory.history[opened.rows] @ abs(memory.cosines)).todense() > 0
    near &= np.isfinite(opened.ranker.bias[place])
    for row, (first, last) in enumerate(zip(opened.seen[0][:-1], opened.seen[0][1:], strict=True)):
        near[row, opened.seen[1][first:last]] = False
        own = titles[row][titles[row] != NO_TITLE]
        assert near[row, own].all() and len(own) == min(3, near[row].sum())
    assert near.sum() > 3 * len(near)


def test_recall_by_hand():
    exact = np.array([[1, 2, 3], [4, 5, NO_TITLE], [NO_TITLE] * 3])
    found = np.array([[3, 1, 9], [5, 4, NO_TITLE], [7, NO_TITLE, NO_TITLE]])
    assert recall_of(found, exact) == pytest.approx((2 / 3 + 1) / 2)


def test_users_of_the_training_are_not_measured_on(opened):
    trained = Sample(opened.data, "default").train_users
    others = held_out_users(opened.run, opened.data, np.arange(opened.data.n_users))
    assert len(others) + len(trained) == opened.data.n_users and not np.isin(others, trained).any()
    np.testing.assert_array_equal(held_out_users(opened.run, opened.data, trained), trained)


def test_the_command_writes_an_index_and_says_what_it_is_worth(opened, tmp_path):
    import voyager

    out, data = tmp_path / "out", opened.data
    result = CliRunner().invoke(cli, ["export", str(opened.run), "--ann", "--out", str(out)])
    assert result.exit_code == 0, result.output
    _, index_line, speed_line = result.stdout.splitlines()
    assert "recall@10 " in index_line and "held-out users" in index_line
    assert "users/s with the index" in speed_line and "for 30 titles it" in speed_line
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["index"]["recall"] >= 0.95 and manifest["index"]["titles"] == data.n_titles
    assert {"index.voy", "available.npy", "users.npy"} <= set(manifest["files"])
    np.testing.assert_array_equal(np.load(out / "available.npy"), np.asarray(data.availability).T)

    index, U, V = voyager.Index.load(str(out / "index.voy")), np.load(out / "users.npy"), np.load(out / "titles.npy")
    bias = np.array([vector[V.shape[1]] for vector in index.get_vectors(list(range(len(V))))])
    z, query = V @ U[7] + bias, np.append(U[7], 1)
    if (out / "memory.npy").exists():  # as in docs/how-to/serve.md
        profiles, factors, a = (np.load(out / f"{name}.npy") for name in ("profiles", "factors", "memory"))
        profile, a = profiles[7], a[7]
        weight = np.repeat([a[2] + a[3] + a[4], a[3] + a[4], a[4]], [8, 16, 48])
        query = np.concatenate([query, profile * weight])
        for n, own in zip((8, 24, 72), a[2:5], strict=True):
            z += own * (factors[:, :n] @ profile[:n])
    found, _ = index.query(query.astype(np.float32), 5)
    assert len(set(found.tolist()) & set(np.argsort(-z)[:5].tolist())) >= 4


def test_too_little_recall_and_useless_options_are_refused(opened, tmp_path, monkeypatch):
    out = tmp_path / "out"
    line = failing_line("export", opened.run, "--ann", "--candidates", 1, "--out", out)
    assert "--ann: recall@10 is 0." in line and "below --min-recall 0.95: more --candidates than 1 of 30" in line
    assert "--min-recall has no effect" in failing_line("export", opened.run, "--min-recall", 0.9, "--out", out)
    monkeypatch.setitem(sys.modules, "voyager", None)
    line = failing_line("export", opened.run, "--ann", "--out", out)
    assert line == "--ann needs voyager: pip install 'twotower[ann]'" and not out.exists()
    arguments = ["export", str(opened.run), "--out", str(out)]
    assert CliRunner().invoke(cli, arguments).exit_code == 0, "and nobody else needs it"

"""ONNX graphs: onnxruntime, which knows nothing of this program, computes our own scores."""

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from networks import TERRITORIES, make_network
from tiny_runs import MTL, failing_line, train

from twotower.cli import cli
from twotower.core.config import HEADS, ModelConfig
from twotower.data.dataset import Dataset
from twotower.data.memory.memory import TERMS
from twotower.model.retrieval import Retrieval, Users
from twotower.serving import onnx_graphs
from twotower.serving.open_run import open_memory, open_model, score_pairs

pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 1e-5


def answer(folder: Path, name: str, **inputs: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(str(folder / f"{name}.onnx"))
    assert {value.name for value in session.get_inputs()} == set(inputs)
    return session.run(None, inputs)


CONFIGS = {
    **{head: dict(head=head, groups=3, rank=2, title_bias=True) for head in HEADS if head != "none"},
    "none": dict(head="none"),
    "ReLU": dict(head="plain", groups=3, output="relu", learned_logit=False),
    "territory bias": dict(head="lowrank", groups=3, rank=2, territory_bias=True, title_bias=True),
    "own batch-norm": dict(head="residual", groups=3, batchnorm="group"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_embeddings_of_every_head_are_ours(case, rng, tmp_path):
    """With other statistics and parameters than a network starts from, for users of all groups mixed."""
    model = make_network(ModelConfig(hidden=8, **CONFIGS[case]), rng)
    for name, value in model.running.items():
        value[...] = rng.uniform(0.5, 2, value.shape) if ".var" in name else rng.standard_normal(value.shape)
    X, Y = (rng.standard_normal((n, width)).astype(np.float32) for n, width in ((50, 4), (20, 6)))
    group, territory = rng.integers(0, model.config.groups, 50), rng.integers(0, TERRITORIES, 50)
    onnx_graphs.user_graph(model).save(tmp_path, {})
    onnx_graphs.title_graph(model).save(tmp_path, {})
    [U] = answer(tmp_path, "user", user_features=X, group=group, territory=territory)
    [V] = answer(tmp_path, "title", title_features=Y)
    retrieval, ours = Retrieval(model, Y), np.empty_like(U)
    retrieval.embed_users(ours, Users(X, np.arange(50), group, territory))
    if model.config.territory_bias:  # retrieval has it in the offsets of titles
        ours += model.params["logit.scale"] * model.params["territory.b"][territory]
    np.testing.assert_allclose(U, ours, atol=LIMIT, rtol=LIMIT)
    np.testing.assert_allclose(V, retrieval.V, atol=LIMIT, rtol=LIMIT)


def test_another_groups_head_cannot_leak(rng, tmp_path):
    for head in ("lowrank", "residual", "mmoe"):
        model = make_network(ModelConfig(hidden=8, head=head, groups=2, rank=2), rng)
        for name in ("head.P", "head.W", "head.G"):
            if name in model.params:
                model.params[name][1] = np.nan
        onnx_graphs.user_graph(model).save(tmp_path, {})
        X, zeros = rng.standard_normal((3, 4)).astype(np.float32), np.zeros(3, np.int64)
        [U] = answer(tmp_path, "user", user_features=X, group=zeros, territory=zeros)
        assert np.isfinite(U).all(), head


RUNS = {
    "baseline": {},
    "default": MTL | {"memory": True, "title_offsets": "territory", "group_prior": 2.0},
    "linear memory": {"memory": True, "memory_units": 0, "title_offsets": "none"},
    "all in one": MTL | {"head": "market-gate", "territory_bias": True, "memory": True, "title_offsets": "group"},
}


@pytest.fixture(scope="module", params=RUNS)
def exported(request, tiny_world, tmp_path_factory) -> SimpleNamespace:
    """A run that was trained, and its graphs."""
    folder = tmp_path_factory.mktemp("onnx")
    run = train(tiny_world, folder / "run", RUNS[request.param], epochs=1)
    arguments = ["export", str(run.path), "--onnx", "--out", str(folder / "out")]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    return SimpleNamespace(run=run.path, out=folder / "out", data=Dataset.open(tiny_world), text=result.stdout)


def histories(data: Dataset, users: np.ndarray) -> np.ndarray:
    """Titles of each user's history (n, L), filled up with −1."""
    user, title = data.history()
    rows = [np.unique(title[user == one]) for one in users]
    padded = np.full((len(users), max(map(len, rows))), -1, np.int64)
    for row, own in zip(padded, rows, strict=True):
        row[: len(own)] = own
    return padded


def test_scores_of_pairs_are_ours(exported, rng):
    """From features and histories to the logit: territory offsets, title biases and memory included."""
    data, out = exported.data, exported.out
    user, title = rng.integers(0, data.n_users, 200), rng.integers(0, data.n_titles, 200)
    model, territory_group = open_model(exported.run, data)
    territory = np.asarray(data.user_territory)[user].astype(np.int64)
    place = {"territory": territory, "group": territory_group[territory].astype(np.int64) % model.config.groups}
    [U] = answer(out, "user", user_features=np.float32(data.user_vectors[user]), **place)
    X = np.float32(data.title_vectors[title])
    [V] = answer(out, "title", title_features=X)
    m = np.zeros((200, len(TERMS)), np.float32)
    if memory := open_memory(exported.run, data, model):
        [m] = answer(out, "memory", territory=territory, history=histories(data, user), title=title)
        np.testing.assert_allclose(m, memory.of_pairs(user, title), atol=LIMIT, rtol=LIMIT)
    pairs = {"user_embedding": U, "title_embedding": V, "title_features": X, "title": title, "memory": m}
    logit, probability = answer(out, "score", **place, **pairs)
    ours = score_pairs(exported.run, data, SimpleNamespace(user=user, title=title, label=np.zeros(200)))
    assert np.abs(logit - ours).max() <= LIMIT
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-ours)), atol=LIMIT)

    one = slice(7, 8), np.flatnonzero(user == user[7])  # one user and some titles
    of_user = {"user_embedding": U[one[0]], **{name: value[one[0]] for name, value in place.items()}}
    of_titles = {name: value[one[1]] for name, value in pairs.items() if name != "user_embedding"}
    np.testing.assert_array_equal(answer(out, "score", **of_user, **of_titles)[0], logit[one[1]])


def test_a_title_that_nobody_has_watched_is_minus_one(exported):
    data = exported.data
    if not (exported.out / "memory.onnx").exists():
        pytest.skip("a run without memory")
    memory = open_memory(exported.run, data, open_model(exported.run, data)[0])
    new, where, history = np.array([-1]), np.array([2]), histories(data, np.array([5]))
    [m] = answer(exported.out, "memory", territory=where, history=history, title=new)
    raw = m[0] * memory.spread + memory.mean
    np.testing.assert_allclose(raw[:8], memory.unwatched[:, 2], atol=1e-4)
    length = np.log1p((history >= 0).sum())
    np.testing.assert_allclose(raw[8:], [0, np.log(1e-3), 0, length, 0, 0], atol=1e-4)


def test_the_graphs_say_what_they_were_made_of(exported):
    import onnx

    model = onnx.load(exported.out / "user.onnx")
    facts = {prop.key: prop.value for prop in model.metadata_props}
    data, config = exported.data, open_model(exported.run, exported.data)[0].config
    assert facts["run"] == exported.run.name and facts["day"] == str(data.train_days + data.test_days)
    assert facts["opset"] == str(model.opset_import[0].version) == "17"
    assert len(json.loads(facts["user_features"])) == data.user_vectors.shape[1]
    assert json.loads(facts["territories"]) == data.territories.code
    assert set(json.loads(facts["groups"])) == set(range(config.groups))
    named = [f"{name}.onnx" for name in ("user", "title", "score", *(["memory"] if config.memory else []))]
    assert set(named) <= set(json.loads((exported.out / "manifest.json").read_text())["files"])
    assert "onnx" in exported.text and len(exported.text.splitlines()) == 2


def test_large_graphs_keep_their_arrays_beside_them(rng, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_graphs, "LARGEST", 0)
    model = make_network(ModelConfig(hidden=32), rng, title_width=60)
    onnx_graphs.title_graph(model).save(tmp_path, {})
    assert (tmp_path / "title.onnx.data").stat().st_size > 4 * 60 * 32
    X = rng.standard_normal((3, 60)).astype(np.float32)
    np.testing.assert_allclose(answer(tmp_path, "title", title_features=X)[0], Retrieval(model, X).V, atol=LIMIT)


def test_what_cannot_be_exported_is_refused_in_one_line(exported, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.delitem(onnx_graphs.HEADS, open_model(exported.run, exported.data)[0].config.head)
    assert "--onnx has no graph for --head" in failing_line("export", exported.run, "--onnx", "--out", out)
    monkeypatch.setitem(sys.modules, "onnx", None)
    line = failing_line("export", exported.run, "--onnx", "--out", out)
    assert line == "--onnx needs onnx: pip install 'twotower[onnx]'" and not out.exists()


def test_the_example_serves_what_recommend_says(exported, monkeypatch, capsys):
    data, example = exported.data, ROOT / "examples" / "serve_onnx.py"
    monkeypatch.setattr(sys, "argv", ["serve_onnx.py", str(exported.out), str(data.path), "5"])
    runpy.run_path(str(example), run_name="__main__")
    lines = [line.rsplit(" ", 2) for line in capsys.readouterr().out.splitlines()]
    pairs = SimpleNamespace(
        user=np.full(data.n_titles, 5), title=np.arange(data.n_titles), label=np.zeros(data.n_titles)
    )
    logits = score_pairs(exported.run, data, pairs)
    best = np.argsort(-logits, kind="stable")[:10]
    assert [name for name, _, _ in lines] == [data.title_ids[t] for t in best]
    np.testing.assert_allclose([float(logit) for _, logit, _ in lines], logits[best], atol=1e-4)

"""Exported embeddings: what anyone can score with, who has NumPy and nothing else of this program."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from tiny_runs import MTL, failing_line, train

from twotower.cli import cli
from twotower.data.dataset import Dataset
from twotower.serving.export import export
from twotower.serving.open_run import score_pairs

MODELS = {
    "baseline": {},
    "mtl": MTL | {"title_offsets": "territory", "group_prior": 2.0},
    "territories": MTL | {"territory_bias": True},
    "own batch-norm": MTL | {"batchnorm": "group"},
    "paper": {"head": "plain", "groups": 2, "output": "relu", "learned_logit": False, "title_offsets": "none"},
}

MEMORY = {
    "shared": {"memory": True, "title_offsets": "none"},
    "groups": MTL | {"memory": True, "title_offsets": "territory"},
}


@pytest.fixture(scope="module")
def runs(tiny_world, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("runs")
    return {name: train(tiny_world, folder / name, model, epochs=1) for name, model in MODELS.items()}


def column(path, name: str) -> list[str]:
    with open(path, newline="", encoding="utf-8") as file:
        return [row[name] for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", MODELS)
def test_their_product_is_the_score(runs, tiny_world, tmp_path, name):
    data, out = Dataset.open(tiny_world), tmp_path / "out"
    export(runs[name].path, data, out)
    users, titles, bias = (np.load(out / f"{array}.npy") for array in ("users", "titles", "bias"))
    codes = column(out / "territories.csv", "territory")
    lives_in = [codes.index(code) for code in column(out / "users.csv", "territory")]
    logits = users @ titles.T + bias[lives_in]  # (U, T)
    n = data.n_titles
    every = {"user": np.repeat(np.arange(data.n_users), n), "title": np.tile(np.arange(n), data.n_users)}
    pairs = SimpleNamespace(**every, label=np.zeros(data.n_users * n))
    scores = score_pairs(runs[name].path, data, pairs).reshape(logits.shape)
    np.testing.assert_allclose(logits, scores, rtol=1e-4, atol=1e-5)
    assert users.dtype == titles.dtype == bias.dtype == np.float32
    assert column(out / "titles.csv", "title") == data.title_ids


@pytest.mark.parametrize("users", [None, np.array([77, 5, 200])], ids=["all", "some"])
@pytest.mark.parametrize("name", MEMORY)
def test_with_memory_the_formula_is_the_score(tiny_world, tmp_path, name, users):
    """With NumPy alone, from the exported files."""
    data, out = Dataset.open(tiny_world), tmp_path / "out"
    run = train(tiny_world, tmp_path / "run", MEMORY[name], epochs=1)
    export(run.path, data, out, users)
    embeddings, titles, bias, a = (np.load(out / f"{array}.npy") for array in ("users", "titles", "bias", "memory"))

    def dense(file: str) -> np.ndarray:
        kept = np.load(out / f"{file}.npz")
        matrix = np.zeros(kept["shape"], np.float32)
        matrix[np.repeat(np.arange(len(matrix)), np.diff(kept["indptr"])), kept["indices"]] = kept["data"]
        return matrix

    history, cosines = (dense(file) for file in ("history", "cosines"))
    profiles, factors = (np.load(out / f"{array}.npy") for array in ("profiles", "factors"))
    of_factors = [profiles[:, :n] @ factors[:, :n].T for n in (8, 24, 72)]
    codes = column(out / "territories.csv", "territory")
    lives_in = [codes.index(code) for code in column(out / "users.csv", "territory")]
    cos = history @ cosines / np.sqrt(np.maximum(history.sum(1), 1))[:, None]
    of_pair = np.stack([cos, np.log(cos + 0.001), *of_factors, np.ones_like(cos)], axis=-1)  # (n, T, 6)
    own = np.einsum("ntx,nx->nt", of_pair, a)
    units, of_user, of_title = (np.load(out / f"{array}.npy") for array in ("units", "unit_user", "unit_title"))
    hidden = np.maximum(of_title[lives_in] + np.einsum("ntx,nxj->ntj", of_pair, of_user), 0)
    layer = np.einsum("nj,ntj->nt", units, hidden)
    assert np.abs(layer - layer[:, :1]).max() > 0.01, "and so do its units"
    logits = embeddings @ titles.T + bias[lives_in] + own + layer

    rows, n = np.arange(data.n_users) if users is None else users, data.n_titles
    every = {"user": np.repeat(rows, n), "title": np.tile(np.arange(n), len(rows)), "label": np.zeros(len(rows) * n)}
    scores = score_pairs(run.path, data, SimpleNamespace(**every)).reshape(logits.shape)
    np.testing.assert_allclose(logits, scores, rtol=1e-4, atol=1e-4)
    assert np.abs(own - own[:, :1]).max() > 0.01, "histories matter"
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert "log(cos + 0.001)" in manifest["formula"]
    named = "memory.npy", "history.npz", "cosines.npz", "profiles.npy", "factors.npy"
    assert {*named, "units.npy", "unit_user.npy", "unit_title.npy"} < set(manifest["files"])


def test_some_users_in_the_order_asked_for(runs, tiny_world, tmp_path):
    data = Dataset.open(tiny_world)
    export(runs["mtl"].path, data, tmp_path / "all")
    export(runs["mtl"].path, data, tmp_path / "some", np.array([77, 5, 200]))
    everybody, some = (np.load(tmp_path / name / "users.npy") for name in ("all", "some"))
    np.testing.assert_allclose(some, everybody[[77, 5, 200]], rtol=1e-5, atol=1e-6)
    assert column(tmp_path / "some" / "users.csv", "user") == ["77", "5", "200"]


def test_the_manifest_says_how_to_score(runs, tiny_world, tmp_path):
    told = export(runs["mtl"].path, Dataset.open(tiny_world), tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))
    assert "users[user] · titles[title] + bias[" in manifest["formula"]
    assert manifest["counts"] | {"nearest": None} == told._asdict() and manifest["run"] == "mtl"
    assert set(manifest["files"]) == {path.name for path in (tmp_path / "out").iterdir()} - {"manifest.json"}


def test_the_command_writes_a_folder_once_unless_told_to_overwrite(runs, tmp_path):
    out = tmp_path / "embeddings"
    arguments = ["export", str(runs["mtl"].path), "--out", str(out)]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"Embeddings of 300 users and 30 titles, 8 numbers each, saved to {out}.\n"
    assert "embedding users" in result.stderr
    assert "exists already" in failing_line(*arguments)
    assert CliRunner().invoke(cli, [*arguments, "--overwrite"]).exit_code == 0


def test_territory_and_file_choose_users(runs, tiny_world, tmp_path):
    data, run = Dataset.open(tiny_world), str(runs["mtl"].path)
    (tmp_path / "users.txt").write_text("44\n2\n")
    for name, option in (("a", ["--territory", data.territories.code[1]]), ("b", ["--users", tmp_path / "users.txt"])):
        arguments = ["export", run, "--out", tmp_path / name, *option]
        assert CliRunner().invoke(cli, list(map(str, arguments))).exit_code == 0
    expected = [str(user) for user in np.flatnonzero(data.user_territory == 1)]
    assert column(tmp_path / "a" / "users.csv", "user") == expected
    assert column(tmp_path / "b" / "users.csv", "user") == ["44", "2"]


def test_faults_are_one_line_and_leave_nothing(runs, own_world, tmp_path):
    run, out = runs["mtl"].path, tmp_path / "out"
    assert "none: no such run" in failing_line("export", tmp_path / "none", "--out", out)
    assert "--territory: unknown territory" in failing_line("export", run, "--territory", "Atlantis", "--out", out)
    line = failing_line("export", run, "--out", own_world, "--overwrite")
    assert line.startswith(f"{own_world}: its manifest.json is of something else")
    (own_world / "titles.npy").write_bytes((own_world / "titles.npy").read_bytes()[:-4])
    assert "titles.npy" in failing_line("export", run, own_world, "--out", out)
    assert not out.exists() and not list(tmp_path.glob(".*"))

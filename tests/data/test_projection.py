"""Vectors made like those of another dataset: the same columns, whoever stands in the rows."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_dataset import N_TITLES, N_USERS, make
from tiny_runs import failing_line

from twotower.core.errors import InputError
from twotower.data.dataset import HISTORY, Dataset
from twotower.data.dataset_writer import DatasetWriter, write_vectors
from twotower.data.features.embed import EmbedConfig, embed
from twotower.data.features.projection import embed_with_basis
from twotower.data.territories import look_up

ALL = {
    "user_dims": 6, "profile": ("age", "sex"), "text": ("words",), "categorical": ("genre", "home"),
    "popularity": False,
}  # fmt: skip
EVENTS = [("anna", "t3"), ("anna", "t5"), ("bert", "t5"), ("bert", "new"), ("carl", "new")]


def arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    dataset = Dataset.open(path)
    return np.array(dataset.user_vectors), np.array(dataset.title_vectors)


def newcomers(path: Path, titles=("t5", "new", "t3"), events=EVENTS, columns: dict | None = None) -> Path:
    """Three users, the last from a territory that is new; ``t5`` and ``t3`` are as in ``make``."""
    known = {"words": ["quiet sad film", "sad unheard", "loud film"], "genre": ["", "rock|polka", "pop|rock"]}
    with DatasetWriter(path, "import", 0, {}) as writer:
        writer.write_territories(replace(look_up(["PL", "AD"]), users=np.array([2, 1])))
        of_titles = known | {"home": ["FR", "DE", "FR"]} if columns is None else columns
        writer.write_titles({"title": list(titles), **of_titles}, np.ones((3, 2), bool))
        users = {"age": ["young", "", "dead"], "sex": ["f", "m", "f"]}
        writer.write_users(np.array([0, 0, 1]), ["anna", "bert", "carl"], users)
        row = [["anna", "bert", "carl"].index(user) for user, _ in events]
        writer.append_events(HISTORY, np.array(row, int), np.array([titles.index(title) for _, title in events], int))
        writer.finish(0, 0, True)
    return path


@pytest.fixture
def old(tmp_path):
    path = make(tmp_path / "old")
    embed(path, EmbedConfig(**ALL))
    return path


@pytest.mark.parametrize("options", [{}, ALL, {"history_power": 0.0, "territory_onehot": False}, {"user_dims": 0}])
def test_a_dataset_like_itself_has_the_same_vectors_bit_for_bit(tmp_path, options):
    path, twin = make(tmp_path / "old"), make(tmp_path / "twin")
    embed(path, EmbedConfig(**options))
    summary = embed_with_basis(twin, path)
    assert [x.tobytes() for x in arrays(twin)] == [x.tobytes() for x in arrays(path)]
    embedding = Dataset.open(path).embedding
    assert [list(part) for part in summary.user_parts] == embedding["user_parts"]
    assert Dataset.open(twin).identity == Dataset.open(path).identity


def test_order_of_users_and_titles_does_not_matter(tmp_path, old):
    data, other = Dataset.open(old), tmp_path / "other"
    users, titles = np.random.default_rng(1).permutation(N_USERS), np.random.default_rng(2).permutation(N_TITLES)
    with DatasetWriter(other, "import", 0, {}) as writer:
        order = [2, 0, 1]
        table = data.territories
        writer.write_territories(replace(look_up([table.code[c] for c in order]), users=table.users))
        columns = {name: [column[t] for t in titles] for name, column in data.titles.items()}
        writer.write_titles(columns, np.ones((N_TITLES, 3), bool))
        columns = {name: [column[u] for u in users] for name, column in data.user_columns.items()}
        home = np.argsort(order)[np.asarray(data.user_territory)[users]]
        writer.write_users(home, columns.pop("user"), columns)
        user, title = data.history()
        writer.append_events(HISTORY, np.argsort(users)[user], np.argsort(titles)[title])
        writer.finish(1, 1, True)
    embed_with_basis(other, old)
    (made_users, made_titles), (old_users, old_titles) = arrays(other), arrays(old)
    np.testing.assert_array_equal(made_users, old_users[users])
    np.testing.assert_allclose(made_titles, old_titles[titles], rtol=1e-5, atol=1e-6)


def test_newcomers_have_their_histories_projected_onto_the_factors(tmp_path, old):
    data = Dataset.open(old)
    embed_with_basis(newcomers(tmp_path / "new"), old)
    users, _ = arrays(tmp_path / "new")
    counts = np.zeros((N_USERS, N_TITLES))
    np.add.at(counts, data.history(), 1)
    W = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0)
    of_rows, of_columns = W.sum(1), W.sum(0)
    A = W / np.sqrt(np.maximum(np.outer(of_rows, of_columns), 1e-12))
    _, s, Vt = np.linalg.svd(A, full_matrices=False)
    directions = Vt[:6].T * s[:6] ** 2  # (T, 6): A V s² = U s³
    anna, bert = np.zeros((2, N_TITLES))
    anna[[3, 5]] = 1 / np.sqrt(2 * of_columns[[3, 5]])
    bert[5] = 1 / np.sqrt(of_columns[5])  # what he watched of the new title is not known
    expected = np.stack([anna, bert]) @ directions
    unscaled = A @ directions
    expected /= np.sqrt(np.mean(np.square(unscaled[unscaled.any(axis=1)])))
    signs = np.sign((users[:2, :6] * expected).sum(axis=0))
    np.testing.assert_allclose(users[:2, :6], expected * signs, atol=1e-4)
    assert not users[2, :6].any(), "the only title that carl watched is new"


def test_columns_are_those_of_the_other_dataset_and_what_it_does_not_know_is_zero(tmp_path, old):
    summary = embed_with_basis(newcomers(tmp_path / "new"), old)
    users, titles = arrays(tmp_path / "new")
    old_users, old_titles = arrays(old)
    assert (users.shape[1], titles.shape[1]) == (old_users.shape[1], old_titles.shape[1])
    # territories DE FR PL, ages old young, sexes f m
    assert users[:, 6:].tolist() == [[0, 0, 1, 0, 1, 1, 0], [0, 0, 1, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1, 0]]
    np.testing.assert_allclose(titles[[0, 2]], old_titles[[5, 3]], rtol=1e-5, atol=1e-6)
    text, genre, home, history = np.split(titles[1], [5, 7, 9])
    assert text.any() and genre.tolist() == [0, 1] and home.tolist() == [1, 0] and not history.any()
    assert summary.notes == [
        "1 title not in old, such as 'new': 2 events of the history with it left out.".replace("old", str(old)),
        "1 user without history: these columns are 0.",
        f"1 territory not in {old}, such as 'AD', with 1 user: their territory columns are 0.",
        f"age: 1 value not in {old}, such as 'dead': its columns are 0.",
        f"genre: 1 value not in {old}, such as 'polka': its columns are 0.",
        "1 title without history: these columns are 0.",
    ]


def test_a_title_with_words_of_the_other_dataset_lies_where_they_do(tmp_path, old):
    embed_with_basis(newcomers(tmp_path / "new"), old)
    text, of_old = arrays(tmp_path / "new")[1][1, :5], arrays(old)[1][:, :5]
    cosine = of_old @ text / np.linalg.norm(of_old, axis=1) / np.linalg.norm(text)
    assert {int(t) % 6 for t in np.argsort(-cosine)[:6]} == {0, 1, 5}, "all that is sad"


def test_a_chain_of_days_keeps_the_columns_of_the_first(tmp_path, old):
    second = make(tmp_path / "second", shuffle_labels=1)
    embed_with_basis(second, old)
    embed_with_basis(newcomers(tmp_path / "a"), old)
    embed_with_basis(newcomers(tmp_path / "b"), second)
    assert [x.tobytes() for x in arrays(tmp_path / "b")] == [x.tobytes() for x in arrays(tmp_path / "a")]
    assert Dataset.open(tmp_path / "b").identity["vectors"] == Dataset.open(old).identity["vectors"]


def test_own_vectors_come_in_again(tmp_path):
    path, files = make(tmp_path / "old"), {}
    for name, rows in (("x", N_USERS), ("y", 3), ("narrow", 3), ("z", 3)):
        files[name] = tmp_path / f"{name}.npy"
        np.save(files[name], np.random.default_rng(rows).random((rows, 2 if name == "narrow" else 5)))
    embed(path, EmbedConfig(user_vectors=files["x"], territory_onehot=True, text=("words",)))
    new = newcomers(tmp_path / "new")
    for given, fault in (
        ({}, rf"has user vectors of its own: give those of {new}, from the same model, with --user-vectors FILE"),
        ({"user_vectors": files["narrow"]}, r"narrow.npy: 2 dimensions, the vectors of .*old have 5"),
        (
            {"user_vectors": files["y"], "title_vectors": files["z"]},
            r"made its title vectors itself, so this option has no effect",
        ),
    ):
        with pytest.raises(InputError, match=fault):
            embed_with_basis(new, path, **given)
        assert not Dataset.open(new).has_vectors
    embed_with_basis(new, path, user_vectors=files["y"])
    users = arrays(new)[0]
    np.testing.assert_array_equal(users[:, :5], np.load(files["y"]).astype(np.float32))
    assert users[:, 5:].tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0]]


def test_what_was_kept_of_former_vectors_goes(tmp_path, old):
    def basis():
        return {name.removeprefix("basis/") for name in Dataset.open(old).files.facts if name.startswith("basis/")}

    assert basis() == {
        "basis.json", *(f"history-{name}.npy" for name in ("s", "V", "weight")),
        *(f"text-{name}.npy" for name in ("s", "V", "idf")),
    }  # fmt: skip
    embed(old, EmbedConfig(text_dims=0), overwrite=True)
    assert basis() and "text-V.npy" not in basis()
    Dataset.open(old).check()
    write_vectors(old, *arrays(old))
    assert not basis()
    Dataset.open(old).check()


def test_what_cannot_be_copied_is_told_in_one_line(tmp_path, old, tiny_world):
    new, bare = newcomers(tmp_path / "new"), make(tmp_path / "bare")
    assert "old: has vectors already" in failing_line("embed", old, "--basis-from", old)
    assert "bare: has no vectors; make some with: twotower embed" in failing_line("embed", new, "--basis-from", bare)
    assert "were not made by twotower embed" in failing_line("embed", new, "--basis-from", tiny_world)
    assert "no such directory" in failing_line("embed", new, "--basis-from", tmp_path / "nowhere")
    line = failing_line("embed", new, "--basis-from", old, "--profile", "sex")
    assert line == f"--profile has no effect with --basis-from {old}: its vectors are made in the same way"
    other = newcomers(tmp_path / "other", titles=("T5", "new", "T3"), events=[])
    line = failing_line("embed", other, "--basis-from", old)
    assert line == f"{other}: none of its 3 titles, such as 'T5', is in {old}"
    poor = newcomers(tmp_path / "poor", columns={"words": ["", "", ""], "genre": ["", "", ""]})
    line = failing_line("embed", poor, "--basis-from", old)
    assert line == f"{poor}: no title column 'home', as in the vectors of {old}"
    s_file, text_file = (Dataset.open(old).files.where(f"basis/{name}-s.npy") for name in ("history", "text"))
    s_file.write_bytes(text_file.read_bytes())
    assert "history-s.npy" in failing_line("embed", new, "--basis-from", old)
    assert not Dataset.open(new).has_vectors


@pytest.mark.parametrize("damage", ["[]", '{"users": [], "titles": [{"kind": "magic"}]}', '{"users": 3, "titles": 4}'])
def test_a_damaged_basis_is_one_line(tmp_path, old, damage):
    write_vectors(old, *arrays(old), Dataset.open(old).embedding, {"basis.json": json.loads(damage)})
    assert "basis: damaged" in failing_line("embed", newcomers(tmp_path / "new"), "--basis-from", old)

"""Vectors are made of what came before the labels, and of nothing else."""

from pathlib import Path

import numpy as np
import pytest
from small_dataset import N_TITLES, N_USERS, make

from twotower.core.errors import InputError
from twotower.data.dataset import HISTORY, Dataset
from twotower.data.dataset_writer import DatasetWriter
from twotower.data.features import embed as module
from twotower.data.features.embed import EmbedConfig, embed, one_hot_part
from twotower.data.features.weighting import Weighting
from twotower.data.territories import look_up


@pytest.fixture
def world(tmp_path):
    return make(tmp_path / "world")


def without_popularity(options: dict) -> EmbedConfig:
    own = {"user_vectors", "title_vectors"} <= options.keys()
    return EmbedConfig(**{"popularity": None if own else False, **options})


def vectors(path: Path, **options) -> tuple[np.ndarray, np.ndarray]:
    embed(path, without_popularity(options), overwrite=True)
    dataset = Dataset.open(path)
    return np.array(dataset.user_vectors), np.array(dataset.title_vectors)


def parts(path: Path, **options) -> tuple[dict[str, int], dict[str, int]]:
    summary = embed(path, without_popularity(options), overwrite=True)
    return dict(summary.user_parts), dict(summary.title_parts)


def fault_of(path: Path, **options) -> str:
    with pytest.raises(InputError) as caught:
        embed(path, without_popularity(options), overwrite=True)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_label_changes_a_byte_of_any_vector(tmp_path):
    options = {"profile": ("age",), "categorical": ("genre",)}
    first = vectors(make(tmp_path / "first"), **options)
    for seed in range(3):
        other = make(tmp_path / f"other{seed}", shuffle_labels=seed)
        labels = [np.concatenate(Dataset.open(p).events(0)) for p in (tmp_path / "first", other)]
        assert not np.array_equal(*labels)
        assert [x.tobytes() for x in vectors(other, **options)] == [x.tobytes() for x in first]


def test_the_history_does_change_them(tmp_path, world):
    with_history = vectors(world, user_dims=4, territory_onehot=False)
    without = Dataset.open(make(tmp_path / "other", history=False))
    assert "zeros" not in fault_of(without.path, user_dims=4, territory_onehot=False)
    assert with_history[0].any()


def test_user_vectors_are_history_territory_and_profile_side_by_side(world):
    users, _ = vectors(world, user_dims=4, profile=("age", "sex"))
    assert users.shape == (N_USERS, 4 + 3 + 2 + 2)
    assert users.dtype == np.float32
    assert users[:3, 4:].tolist() == [[1, 0, 0, 1, 0, 1, 0], [0, 1, 0, 0, 1, 0, 1], [0, 0, 1, 0, 0, 1, 0]]


def test_title_vectors_are_text_categories_and_history_side_by_side(world):
    options = {"user_dims": 4, "text_dims": 3, "categorical": ("genre", "home")}
    _, titles = vectors(world, **options)
    assert parts(world, **options)[1] == {"text": 3, "genre": 2, "home": 2, "history": 4}
    assert titles.shape == (N_TITLES, 3 + 2 + 2 + 4)
    assert titles[:3, 3:7].tolist() == [[1, 1, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]]


@pytest.mark.parametrize("power", [None, 0.0, 1.5])
def test_history_vectors_span_the_leading_singular_vectors(world, power):
    users, titles = vectors(world, user_dims=4, territory_onehot=False, text_dims=0, history_power=power)
    dataset = Dataset.open(world)
    counts = np.zeros((N_USERS, N_TITLES))
    np.add.at(counts, dataset.history(), 1)
    from scipy import sparse

    counts = sparse.csr_matrix(counts)
    U, s, Vt = np.linalg.svd(Weighting.of("degree", counts).weigh(counts).toarray(), full_matrices=False)
    for made, singular in ((users, U[:, :4]), (titles, Vt[:4].T)):
        expected = singular * s[:4] ** (module.POWER if power is None else power)
        expected /= np.sqrt(np.mean(np.square(expected[1:])))  # the first has no history and does not count
        signs = np.sign((made * expected).sum(axis=0))
        np.testing.assert_allclose(made, expected * signs, atol=1e-4)


def test_what_comes_from_an_svd_has_entries_of_mean_square_one_and_rows_without_history_are_zero(world):
    users, titles = vectors(world, user_dims=4, territory_onehot=False, text_dims=3, text=("words",))
    assert not users[0].any()
    assert np.mean(np.square(users[1:])) == pytest.approx(1, rel=1e-5)
    assert not titles[0, 3:].any()
    assert np.mean(np.square(titles[1:, 3:])) == pytest.approx(1, rel=1e-5)
    assert np.mean(np.square(titles[:, :3])) == pytest.approx(1, rel=1e-5)


def test_users_and_titles_that_have_no_vector_are_told_of(world):
    notes = embed(world, EmbedConfig(user_dims=4)).notes
    assert "1 user without history: these columns are 0." in notes
    assert "1 title without history: these columns are 0." in notes


def test_dimensions_are_capped_by_the_rank_and_that_is_told(world):
    summary = embed(world, EmbedConfig(text=("words",), popularity=False))
    assert dict(summary.user_parts)["history"] == N_TITLES - 1
    assert dict(summary.title_parts) == {"text": 5, "history": N_TITLES - 1}
    assert f"History: {N_TITLES - 1} columns, not 192: the rank of its matrix is no higher." in summary.notes
    assert "Text: 5 columns, not 256: the rank of its matrix is no higher." in summary.notes


def test_all_columns_that_are_not_categorical_are_text_unless_told(world):
    everything, one = vectors(world)[1], vectors(world, text=("words",))[1]
    two = vectors(world, text=("words", "genre", "home"))[1]
    assert everything.tobytes() == two.tobytes()
    assert everything.shape != one.shape
    rest = vectors(world, categorical=("genre", "home"), title_side=False)[1]
    assert rest[:, :5].tobytes() == vectors(world, text=("words",), title_side=False)[1].tobytes()


def test_texts_that_share_words_are_near_to_each_other(world):
    _, titles = vectors(world, text=("words",), title_side=False)
    near = titles @ titles.T
    assert near[0, 6] == pytest.approx(near[0, 0], rel=1e-4), "the same words"
    assert near[0, 1] > near[0, 3] + 0.1, "sad song, sad film; loud film"


def test_parts_can_be_left_out(world):
    assert parts(world, territory_onehot=False)[0] == {"history": 11}
    assert parts(world, user_dims=0)[0] == {"territory": 3}
    assert "history" not in parts(world, user_dims=0)[1]
    assert "history" not in parts(world, title_side=False)[1]
    assert "text" not in parts(world, text_dims=0)[1]


def test_own_vectors_take_the_place_of_what_is_made_by_default(world, tmp_path):
    X, Y = np.random.default_rng(0).random((N_USERS, 5)), np.random.default_rng(1).random((N_TITLES, 6))
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    users, titles = vectors(world, user_vectors=tmp_path / "x.npy", title_vectors=tmp_path / "y.npy")
    assert np.array_equal(users, X.astype(np.float32))
    assert np.array_equal(titles, Y.astype(np.float32))


def test_one_side_alone_may_be_own(world, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((N_USERS, 5)))
    both = parts(world)
    assert parts(world, user_vectors=tmp_path / "x.npy") == ({"own": 5}, both[1])


def test_what_is_asked_for_is_put_beside_own_vectors(world, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((N_USERS, 5)))
    np.save(tmp_path / "y.npy", np.ones((N_TITLES, 6)))
    made = parts(
        world, user_vectors=tmp_path / "x.npy", title_vectors=tmp_path / "y.npy", user_dims=4, territory_onehot=True,
        profile=("sex",), text=("words",), categorical=("genre",), title_side=True,
    )  # fmt: skip
    assert made[0] == {"own": 5, "history": 4, "territory": 3, "sex": 2}
    assert made[1] == {"own": 6, "text": 5, "genre": 2, "history": 4}


def test_own_vectors_with_ids_are_put_in_order(world, tmp_path):
    rows = "".join(f"u{i},{i},{-i}\n" for i in reversed(range(N_USERS)))
    (tmp_path / "x.csv").write_text("user,a,b\n" + rows)
    users, _ = vectors(world, user_vectors=tmp_path / "x.csv")
    assert users[:, 0].tolist() == list(range(N_USERS))


def test_what_vectors_are_made_of_is_kept_in_the_manifest(world):
    embed(world, EmbedConfig(user_dims=4, profile=("sex",)))
    provenance = Dataset.open(world).manifest["provenance"]["vectors"]
    assert provenance["user_parts"] == [["history", 4], ["length", 1], ["territory", 3], ["sex", 2]]
    assert provenance["config"]["user_dims"] == 4


def test_vectors_that_exist_are_replaced_only_on_demand(world):
    embed(world, EmbedConfig(user_dims=4))
    with pytest.raises(InputError, match="has vectors already"):
        embed(world, EmbedConfig(user_dims=3))
    assert Dataset.open(world).user_vectors.shape[1] == 8
    embed(world, EmbedConfig(user_dims=3), overwrite=True)
    assert Dataset.open(world).user_vectors.shape[1] == 7


def test_bad_input_leaves_the_vectors_as_they_were(world, tmp_path):
    before = [x.tobytes() for x in vectors(world)]
    np.save(tmp_path / "y.npy", np.ones((N_TITLES + 1, 6)))
    assert "13 rows, expected 12" in fault_of(world, title_vectors=tmp_path / "y.npy")
    dataset = Dataset.open(world)
    assert [dataset.user_vectors.tobytes(), dataset.title_vectors.tobytes()] == before


def test_an_unknown_column_is_refused_with_those_there_are(world):
    assert fault_of(world, profile=("agee",)) == f"{world}: no user column 'agee'; it has 'age', 'sex'"
    assert fault_of(world, text=("title",)) == f"{world}: no title column 'title'; it has 'words', 'genre', 'home'"
    assert "no title column 'year'" in fault_of(world, categorical=("year",))


def test_a_dataset_without_anything_to_make_vectors_of_is_refused(tmp_path):
    bare = make(tmp_path / "bare", history=False, text=False)
    assert (
        "to make title vectors of: there are no events before the training days (see import --train-days)"
        in fault_of(bare)
    )
    assert "nothing to make user vectors of" in fault_of(bare, user_dims=0, territory_onehot=False)


def test_one_hot_columns_are_the_values_in_order_of_the_alphabet():
    assert one_hot_part("genre", ["b", "", "a|b|b"]).columns.tolist() == [[0, 1], [0, 0], [1, 1]]
    assert one_hot_part("genre", ["", ""]).columns.shape == (2, 0)


def test_ids_and_text_are_no_categories(monkeypatch):
    monkeypatch.setattr(module, "MAX_CATEGORIES", 2)
    assert one_hot_part("genre", ["a", "b"]).columns.shape == (2, 2)
    with pytest.raises(InputError, match="column 'genre': 3 values, expected at most 2 for --categorical"):
        one_hot_part("genre", ["a", "b", "c"])


def test_progress_tells_every_long_step(world):
    stages = []
    embed(world, EmbedConfig(), progress=lambda stage, done, total: stages.append((stage, done)))
    assert {stage for stage, _ in stages} == {"SVD of history", "SVD of text", "writing vectors"}
    assert all((stage, 1) in stages for stage, _ in stages)


def test_columns_of_numbers_are_no_text_unless_asked(tmp_path):
    columns = {"title": ["a", "b", "c"], "genre": ["pop hit", "pop", "hit"], "year": ["1999", "", "2001"]}
    with DatasetWriter(tmp_path / "set", "import", 0, {}) as writer:
        writer.write_territories(look_up(["DE", "FR"]))
        writer.write_titles(columns, np.ones((3, 2), bool))
        writer.write_users(np.array([0, 1]), ["u", "v"])
        writer.append_events(HISTORY, np.array([0, 0, 1]), np.array([0, 1, 2]))
        writer.finish(1, 0, has_time=False)
    summary = embed(tmp_path / "set", EmbedConfig())
    assert "Text of titles: 'genre'." in summary.notes
    assert "Columns of numbers are not used as text: 'year' (--text or --categorical uses them)." in summary.notes
    asked = embed(tmp_path / "set", EmbedConfig(categorical=("year",)), overwrite=True)
    assert ("year", 2) in asked.title_parts and not any("numbers" in note for note in asked.notes)

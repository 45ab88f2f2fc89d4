"""`twotower embed`: what one types and what one gets, from small data and from real data."""

from dataclasses import asdict, fields

import numpy as np
import pytest
from click.testing import CliRunner
from small_dataset import N_TITLES, N_USERS, make

from twotower.cli import cli
from twotower.cli.embed import embed as command
from twotower.data.dataset import Dataset
from twotower.data.features.embed import EmbedConfig


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "world")


def run(*arguments: str):
    return CliRunner().invoke(cli, ["embed", *arguments])


def widths(*arguments: str) -> tuple[int, int]:
    """Columns of user and title vectors."""
    result = run("--overwrite", *arguments)
    assert result.exit_code == 0, result.output
    dataset = Dataset.open("world")
    return dataset.user_vectors.shape[1], dataset.title_vectors.shape[1]


def test_it_makes_vectors_prints_their_parts_and_says_what_is_next(world, snapshot):
    result = run("world", "--user-dims", "4", "--profile", "sex")
    assert result.exit_code == 0, result.output
    snapshot(result.stdout)
    assert "SVD of history" in result.stderr


def test_what_is_next_has_the_groups_that_the_dataset_has(world):
    for groups, heads in ((2, " --mtl --groups 2"), (1, "")):
        grouped = CliRunner().invoke(cli, ["group", "world", "--groups", str(groups)])
        assert grouped.stdout.endswith(f"Next: twotower train world{heads}\n"), grouped.output
        result = run("world", "--overwrite")
        assert result.stdout.endswith(f"Vectors saved to world. Next: twotower train world{heads}\n"), result.output


@pytest.mark.parametrize(("users", "warned"), [(4, False), (6, True)])
def test_columns_of_few_users_are_warned_of_where_there_could_be_more(tmp_path, monkeypatch, users, warned):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{club}{u},{club}{t},DE\n" for club in "ab" for u in range(users) for t in range(8))
    (tmp_path / "log.csv").write_text("user,title,territory\n" + rows, encoding="utf-8")
    assert CliRunner().invoke(cli, ["import", "shop", "--events", "log.csv"]).exit_code == 0
    result = run("shop")
    assert result.exit_code == 0, result.output
    assert ("with fewer than 10 effective users" in result.stdout) == warned


def test_every_setting_is_an_option_with_the_same_default():
    defaults = command.make_context("embed", []).params
    assert {item.name: defaults[item.name] for item in fields(EmbedConfig)} == asdict(EmbedConfig())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], (15, 21)),
        (["--user-dims", "4"], (8, 14)),
        (["--no-popularity"], (14, 17)),
        (["--no-territory-onehot"], (12, 21)),
        (["--profile", "age", "--profile", "sex"], (19, 21)),
        (["--text", "words"], (15, 20)),
        (["--text-dims", "2"], (15, 17)),
        (["--text", "words", "--categorical", "genre", "--categorical", "home"], (15, 24)),
        (["--no-title-side"], (15, 10)),
        (["--user-vectors", "x.npy"], (5, 21)),
        (["--user-vectors", "x.npy", "--territory-onehot"], (8, 21)),
        (["--title-vectors", "y.npy"], (15, 6)),
        (["--title-vectors", "y.npy", "--title-side"], (15, 17)),
        (["--user-vectors", "x.npy", "--title-vectors", "y.npy", "--popularity"], (6, 10)),
    ],
)
def test_every_option_changes_the_vectors(world, options, expected):
    np.save("x.npy", np.ones((N_USERS, 5)))
    np.save("y.npy", np.ones((N_TITLES, 6)))
    assert widths(*options) == expected


def test_each_weighting_gives_other_vectors(world):
    made = set()
    for name in ("degree", "regularised", "bm25", "idf", "none"):
        widths("--weighting", name)
        made.add(Dataset.open("world").user_vectors.tobytes())
    assert len(made) == 5


def test_vectors_are_replaced_only_on_demand(world):
    assert run().exit_code == 0
    result = run()
    assert result.exit_code == 2
    assert result.stderr == "twotower: error: world: has vectors already; --overwrite replaces them\n"


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["nowhere"], "nowhere: no such directory"),
        (["--profile", "shoe"], "world: no user column 'shoe'; it has 'age', 'sex'"),
        (["--history-power", "2", "--user-dims", "0"], "--history-power has no effect with --user-dims 0"),
        (["--history-power", "-1"], "--history-power -1.0: expected a number from 0 to 9"),
        (["--title-side", "--user-dims", "0"], "--title-side has no effect with --user-dims 0"),
        (["--user-vectors", "nan.npy", "--no-territory-onehot"], "--no-territory-onehot has no effect with --user-v"),
        (["--title-vectors", "nan.npy", "--no-title-side"], "--no-title-side has no effect with --title-vectors"),
        (
            ["--user-vectors", "nan.npy", "--title-vectors", "nan.npy", "--history-power", "2"],
            "--history-power has no effect with own vectors of users and titles",
        ),
        (
            ["--user-vectors", "nan.npy", "--title-vectors", "nan.npy", "--no-popularity"],
            "--no-popularity has no effect with own vectors of users and titles",
        ),
        (["--weighting", "idf", "--user-dims", "0"], "--weighting has no effect with --user-dims 0"),
        (["--text", "words", "--text-dims", "0"], "--text has no effect with --text-dims 0"),
        (["--user-vectors", "none.npy"], "none.npy: No such file or directory"),
        (["--user-vectors", "nan.npy"], "nan.npy, row 2: NaN or infinity, in 28 of 30 rows"),
        (["--title-vectors", "nan.npy"], "nan.npy: 30 rows, expected 12: one for each title in the dataset's order"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_vectors(world, options, fault):
    np.save("nan.npy", np.where(np.arange(N_USERS) < 2, 1.0, np.nan)[:, np.newaxis])
    result = run(*options)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"twotower: error: {fault}")
    assert result.stderr.count("\n") == 1
    assert not Dataset.open("world").has_vectors


@pytest.mark.slow
def test_lastfm_has_the_reference_vectors(lastfm_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [
        "import", "--events", str(lastfm_dir / "lastfm.csv.gz"), "--title", "artist", "--territory", "country",
        "--user-info", "sex", "--titles", str(lastfm_dir / "artist_tags.csv.gz"), "--title-weight", "n",
        "--unknown-ids", "keep",
    ]  # fmt: skip
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    assert widths("--profile", "sex") == (192 + 1 + 159 + 2, 256 + 192 + 1 + 32)
    dataset = Dataset.open("world")
    dataset.check_vectors()
    artist = {name: i for i, name in enumerate(dataset.title_ids)}
    text, history = dataset.title_vectors[:, :256], dataset.title_vectors[:, 256:448]
    for part in (text, history):
        unit = part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-9)
        likeness = unit @ unit[artist["metallica"]]
        assert likeness[artist["megadeth"]] > likeness[artist["madonna"]] + 0.2

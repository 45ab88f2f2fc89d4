"""``twotower simulate``: options become a world, and the world is summed up."""

from dataclasses import asdict, fields

import numpy as np
import pytest
from click.testing import CliRunner

from twotower.cli import cli
from twotower.data.dataset import Dataset
from twotower.data.sample import Sample
from twotower.data.synthetic.world import WorldConfig

TOY = ["--users", "600", "--titles", "40", "--territories", "20", "--user-dim", "8", "--title-dim", "8"]


def run(*arguments):
    return CliRunner().invoke(cli, ["simulate", *map(str, arguments)])


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("simulate") / "toy"
    return path, run(path, *TOY)


def test_a_world_is_made_and_the_next_step_named(toy, snapshot):
    path, result = toy
    assert result.exit_code == 0, result.output
    assert Dataset.open(path).n_users == 600
    snapshot(result.stdout, hide={r"\d": "9"})  # layout and words: the numbers have their own test


def test_where_all_tastes_are_of_one_group_no_heads_are_proposed(tmp_path):
    result = run(tmp_path / "one", *TOY, "--groups", "1")
    assert result.stdout.endswith(f"Next: twotower train {tmp_path / 'one'}\n"), result.output


def test_the_summary_counts_what_is_in_the_world(toy):
    path, result = toy
    world = Dataset.open(path)
    events, days = world.manifest["counts"]["events"], world.truth("first_streams")
    assert "600 users in 20 territories" in result.stdout
    assert "40 titles: 14 global, 6 regional, 20 local" in result.stdout
    assert f"{events:,} streams: history, 60 training days, 3 test days" in result.stdout
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
    assert f"{size - (path / 'manifest.json').stat().st_size / 1e6:.1f} MB on disk" in result.stdout
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line.strip()}
    train, test = days[:, :60].sum(axis=1), days[:, 60:].sum(axis=1)
    users = world.territories.users
    majors = world.territories.majors()
    for row in majors:
        expected = [f"{n:,}" for n in (users[row], train[row], test[row])]
        assert rows[world.territories.code[row]][-4:] == [*expected, f"{train[row] / users[row]:.1f}"]
    others = np.setdiff1d(np.arange(20), majors)
    assert rows["4"][1:4] == ["others", f"{users[others].sum():,}", f"{train[others].sum():,}"]
    assert rows["all"][1:4] == ["600", f"{train.sum():,}", f"{test.sum():,}"]


def test_a_world_without_test_days_can_be_trained_on(tmp_path):
    path, model = tmp_path / "w", tmp_path / "run"
    result = run(path, *TOY, "--test-days", 0)
    assert result.exit_code == 0 and "60 training days, 0 test days" in result.stdout
    small = ["--hidden", "8", "--epochs", "1", "--mtl", "--groups", "2", "--rank", "2"]
    for command in (["train", str(path), *small, "--run", str(model)], ["evaluate", str(model)]):
        result = CliRunner().invoke(cli, command)
        assert result.exit_code == 0, result.output
    pairs, test_users = Sample(Dataset.open(path)).test_pairs(), Sample(Dataset.open(path)).test_users
    assert len(pairs) and set(pairs.day) <= set(range(60)) and set(pairs.user) <= set(test_users)
    titles = CliRunner().invoke(cli, ["recommend", str(model), "--top", "1"]).stdout.splitlines()
    assert len(titles) == 601


def test_progress_goes_to_stderr(toy):
    assert "simulating users: 600 of 600" in toy[1].stderr and "simulating" not in toy[1].stdout


OTHER = {
    "users": 700, "titles": 50, "territories": 25, "groups": 3, "shift": 0.25, "taste": 1.5, "local": 0.25,
    "regional": 0.25, "streams": 0.75, "noise": 3.0, "history_days": 7,
    "train_days": 9, "test_days": 2, "user_dim": 12, "title_dim": 10, "seed": 5,
}  # fmt: skip


def test_every_setting_is_an_option_that_reaches_the_world(tmp_path):
    assert set(OTHER) == {field.name for field in fields(WorldConfig)}
    options = [part for name, value in OTHER.items() for part in (f"--{name.replace('_', '-')}", value)]
    result = run(tmp_path / "w", *options)
    assert result.exit_code == 0, result.output
    assert Dataset.open(tmp_path / "w").manifest["provenance"]["config"] == OTHER
    assert result.stdout.endswith("--mtl --groups 3\n")


def test_what_is_not_said_keeps_its_default(toy):
    config = Dataset.open(toy[0]).manifest["provenance"]["config"]
    changed = {"users", "titles", "territories", "user_dim", "title_dim"}
    assert {n for n, value in config.items() if value != asdict(WorldConfig())[n]} == changed


def test_the_directory_is_called_world_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*TOY)
    assert result.exit_code == 0 and Dataset.open("world").n_users == 600
    assert result.stdout.endswith("Next: twotower train world --mtl --groups 4\n")


def test_an_existing_world_is_only_replaced_when_asked(toy):
    path, _ = toy
    refused = run(path, *TOY)
    assert refused.exit_code == 2 and "exists already" in refused.stderr and "--overwrite" in refused.stderr
    assert run(path, *TOY, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--users", "100"], "users = 100: expected at least territories = 200"),
        (["--users", "many"], "'many' is not a valid integer"),
        (["--shift", "2"], "shift = 2.0: expected from 0 to 1"),
        (["--shift", "nan"], "shift = nan: expected a number"),
        (["--groups", "201"], "groups = 201: expected 1 to 200 territories"),
        (["--local", "0.9", "--regional", "0.2"], "local = 0.9: expected with regional"),
        (["--heads", "4"], "No such option"),
    ],
)
def test_a_bad_option_is_one_line_and_exit_code_2_and_makes_nothing(options, message, tmp_path):
    result = run(tmp_path / "w", *options)
    assert result.exit_code == 2 and message in result.stderr and "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    result = run(tmp_path / "file" / "w", *TOY)
    assert result.exit_code == 2 and str(tmp_path / "file") in result.stderr
    assert len(result.stderr.splitlines()) == 1

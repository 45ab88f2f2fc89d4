"""``twotower group``: groups are stored, and shown as a table."""

import numpy as np
import pytest
from click.testing import CliRunner

from twotower.cli import cli
from twotower.data.dataset import Dataset
from twotower.data.grouping import geographic_groups
from twotower.data.synthetic.simulate import simulate
from twotower.data.synthetic.world import WorldConfig


def run(*arguments):
    return CliRunner(env={"COLUMNS": "120"}).invoke(cli, ["group", *map(str, arguments)])


@pytest.fixture
def world(tmp_path):
    config = WorldConfig(users=1000, titles=20, territories=40, user_dim=4, title_dim=4, train_days=5)
    dataset = simulate(tmp_path / "w", config)
    _ = dataset.territories  # as they are before
    return dataset


def groups_in(path):
    return Dataset.open(path).territories.group


def table_of(result):
    """Words of each row of the table by the number of the group."""
    lines = (line.split() for line in result.stdout.splitlines())
    return {int(words[0]): words[1:] for words in lines if words and words[0].isdecimal()}


def test_groups_are_stored_in_the_dataset(world):
    assert (groups_in(world.path) == -1).all()
    result = run(world.path, "--groups", 3)
    assert result.exit_code == 0, result.output
    assert np.array_equal(groups_in(world.path), geographic_groups(world.territories, 3))
    stored, following = result.stdout.splitlines()[-1].split(" Next: ")
    assert stored == f"Groups saved to {world.path}."
    assert following == f"twotower train {world.path} --mtl --groups 3"


def test_there_are_four_groups_unless_told_otherwise(world):
    run(world.path)
    assert set(groups_in(world.path)) == {0, 1, 2, 3}


def test_the_table_names_the_majors_and_counts_the_rest(world):
    rows = table_of(run(world.path))
    group, of_territory = groups_in(world.path), world.territories.users
    assert set(rows) == {0, 1, 2, 3}
    for g, words in rows.items():
        major, minor, users, share, _ = words[-5:]
        assert (major, minor) == ("4", str((group == g).sum() - 4))
        assert users == f"{of_territory[group == g].sum():,}"
        assert share == f"{of_territory[group == g].sum() / 10:.1f}"
        text = " ".join(words)
        for row in range(16):
            assert (world.territories.name[row] in text) == (group[row] == g)
        assert f"and {minor} others" in text


def test_the_number_of_majors_changes_groups_and_table(world):
    few = run(world.path, "--majors", 4)
    few_groups = groups_in(world.path)
    assert [words[-5] for words in table_of(few).values()] == ["1"] * 4
    assert sorted(few_groups[:4]) == [0, 1, 2, 3]
    run(world.path, "--majors", 20)
    assert not np.array_equal(groups_in(world.path), few_groups)


def test_all_territories_are_named_on_request(world):
    assert " others" in run(world.path).stdout
    result = run(world.path, "--all")
    text = " ".join(result.stdout.split())
    assert " others" not in text
    assert sum(text.count(name.split()[0]) for name in world.territories.name) >= 40


def test_groups_come_from_a_file(world, tmp_path):
    codes = world.territories.code
    lines = [f"{code},{row % 2}" for row, code in enumerate(codes)]
    (tmp_path / "groups.csv").write_text("territory,group\n" + "\n".join(lines) + "\n")
    result = run(world.path, "--from", tmp_path / "groups.csv")
    assert result.exit_code == 0, result.output
    assert groups_in(world.path).tolist() == [row % 2 for row in range(40)]
    assert result.stdout.splitlines()[-1].endswith("--groups 2")
    assert run(world.path, "--from", tmp_path / "groups.csv", "--groups", 2).exit_code == 0
    other = run(world.path, "--from", tmp_path / "groups.csv", "--groups", 3)
    assert other.exit_code == 2 and "has 2 groups, but --groups is 3" in other.stderr


def test_the_dataset_is_called_world_unless_told_otherwise(world, monkeypatch):
    world.path.rename(world.path.with_name("world"))
    monkeypatch.chdir(world.path.parent)
    assert run().exit_code == 0 and set(groups_in("world")) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--groups", "41"], "41 groups for 40 territories: expected --groups from 1 to 40"),
        (["--groups", "0"], "0 groups for 40 territories"),
        (["--majors", "0"], "Invalid value for '--majors'"),
        (["--from", "nowhere.csv"], "nowhere.csv: No such file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2_and_changes_nothing(options, message, world):
    result = run(world.path, *options)
    assert result.exit_code == 2 and message in result.stderr and "Traceback" not in result.output
    assert (groups_in(world.path) == -1).all()


def test_a_missing_dataset_is_named(tmp_path):
    result = run(tmp_path / "nowhere")
    assert result.exit_code == 2 and "nowhere: no such directory" in result.stderr


def test_a_row_of_a_bad_file_is_named(world, tmp_path):
    (tmp_path / "groups.csv").write_text("territory,group\nAtlantis,0\n")
    result = run(world.path, "--from", tmp_path / "groups.csv")
    assert result.exit_code == 2 and "groups.csv line 2: unknown territory 'Atlantis'" in result.stderr

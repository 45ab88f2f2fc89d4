"""Numbers in sentences."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from tiny_runs import train

from twotower.cli import cli
from twotower.core.errors import InputError
from twotower.core.formatting import counted
from twotower.data.grouping import geographic_groups, grouping_from_file
from twotower.data.territories import look_up


def test_a_number_agrees_with_its_noun():
    assert [counted(n, "user") for n in (0, 1, 2, 2905)] == ["0 users", "1 user", "2 users", "2,905 users"]
    assert [counted(n, "territory", "territories") for n in (1, 2)] == ["1 territory", "2 territories"]


def test_one_of_a_kind_is_told_in_the_singular(tmp_path):
    territories = replace(look_up(["DE", "FR"]), users=np.array([2, 1]))
    (tmp_path / "g.csv").write_text("territory,group\nDE,0\n")
    for told, expected in (
        (lambda: geographic_groups(territories, 3), "3 groups for 2 territories: "),
        (lambda: geographic_groups(look_up(["DE"]), 2), "2 groups for 1 territory: "),
        (lambda: grouping_from_file(tmp_path / "g.csv", territories), "g.csv: 1 territory has no line"),
    ):
        with pytest.raises(InputError, match=expected):
            told()


def test_one_user_is_exported_and_one_title_recommended_in_the_singular(tiny_world, tmp_path):
    run = train(tiny_world, tmp_path / "run", epochs=1).path
    (tmp_path / "one").write_text("7\n")
    for command, options, told in (
        ("export", [], f"Embeddings of 1 user and 30 titles, 8 numbers each, saved to {tmp_path / 'export'}.\n"),
        ("recommend", ["--top", "1"], f"1 recommendation for 1 user saved to {tmp_path / 'recommend'}.\n"),
    ):
        arguments = [command, str(run), "--users", str(tmp_path / "one"), "--out", str(tmp_path / command), *options]
        assert CliRunner().invoke(cli, arguments).stdout == told

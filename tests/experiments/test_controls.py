"""The experiment on worlds with a known answer: no gain where nothing differs, none for users assigned at random.

Both worlds show every title everywhere, so that tastes alone may depend on where somebody lives. In ``blind`` they do
not, and users' vectors are histories that do not tell; in ``turned`` groups of territories have nothing in common. The
committed records say the same of large worlds (``test_results_page.py``); this runs the command itself.
"""

from pathlib import Path

import pytest
from click.testing import CliRunner
from numba import config as numba_config
from tiny_experiments import run_tiny

from twotower.cli import cli

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(numba_config.DISABLE_JIT), reason="plain Python would train for half an hour"),
]

WORLD = ("--users", 16_000, "--titles", 100, "--territories", 24, "--user-dim", 32, "--title-dim", 32, "--local", 0,
         "--regional", 0, "--taste", 3, "--streams", 1, "--history-days", 20, "--train-days", 20,
         "--test-days", 6)  # fmt: skip
QUICK = ("--no-memory", "--hidden", 32, "--rank", 8, "--groups", 4, "--batch-size", 1024, "--epochs", 3, "--periods", 1,
         "--seeds", 5, "--replicates", 300, "--min-positives", 30, "--threads", 1)  # fmt: skip
MANY = ("--random-users", "25%", "--test-users", "60%")  # of twice the users: narrow intervals
NEAR = 1.0  # percent: the most that an interval reaches above 0 where there is nothing to find; seen: 0.4
LOSS = 1.2  # percent: the same below 0, as heads divide the data; seen: 0.9
ENOUGH = 100  # positives of a territory whose own gain is seen; with 74 one of world 0 has −0.9 (−7 to …)


def twotower(*words: object) -> None:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == 0, result.output


def compared(world: Path, *options: object) -> dict[tuple[str, str], dict]:
    """The gains of each pair of methods in an experiment on a world, and of territories with enough positives."""
    target = world.parent / f"{world.name}-experiment"
    record = run_tiny(world, target, *QUICK, *options, methods="upsampled,mtl,shuffled")
    enough = [territory["test_positives"] >= ENOUGH for territory in record["territories"]]
    for gains in record["gains"]:
        gains["seen"] = [gain for gain, seen in zip(gains["average"], enough, strict=True) if seen]
    return {(gains["method"], gains["baseline"]): gains for gains in record["gains"]}


def test_where_nothing_differs_nothing_is_gained(tmp_path):
    world = tmp_path / "blind"
    twotower("simulate", world, *WORLD, "--shift", 0, "--users", 32_000)
    twotower("embed", world, "--no-territory-onehot", "--overwrite")
    blind = compared(world, *MANY)
    for method in ("mtl", "shuffled"):
        gains = blind[method, "upsampled"]
        for told in (gains["overall"], gains["all"]):
            assert told["low"] < 0 and told["high"] < NEAR, f"{method} gains where nothing differs: {told}"
            assert told["low"] > -LOSS, f"{method} loses much where nothing differs: {told}"
        assert gains["all"]["evaluated"] >= 5 and gains["all"]["better"] == 0


def test_where_tastes_turn_heads_gain_and_users_dealt_to_heads_by_chance_do_not(tmp_path):
    world = tmp_path / "turned"
    twotower("simulate", world, *WORLD, "--shift", 1)
    turned = compared(world)
    gains = turned["mtl", "upsampled"]
    assert gains["overall"]["low"] > 2 and gains["all"]["low"] > 2
    assert len(gains["seen"]) >= 5 and min(gains["seen"]) > 0
    assert gains["all"]["worse"] == 0 and gains["all"]["better"] >= 5
    shuffled = turned["shuffled", "upsampled"]
    for where in ("overall", "all"):
        assert shuffled[where]["low"] < 0 and shuffled[where]["high"] < gains[where]["low"]
        assert turned["mtl", "shuffled"][where]["low"] > 2
    assert shuffled["all"]["better"] == 0

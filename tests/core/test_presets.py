"""Presets and ``--mtl``: one function builds the configuration of commands, methods and programs."""

import pytest

from twotower.core.config import Config, ModelConfig
from twotower.core.errors import InputError
from twotower.core.presets import MOST_SHRINKING, build_config


def test_without_anything_it_is_the_default_with_memory_and_the_paper_has_none():
    assert build_config() == Config(ModelConfig(memory=True))
    assert build_config(settings={"model": {"memory": False}}) == Config()
    assert not build_config("paper").model.memory


def test_the_paper_is_to_the_letter_and_its_heads_are_plain():
    paper = build_config("paper", mtl=True)
    model = paper.model
    assert (model.output, model.learned_logit, model.head, model.title_bias) == ("relu", False, "plain", False)
    assert (model.tower_floor, model.head_floor) == (0.0, 0.0)
    assert (paper.train.batching, paper.train.head_decay) == ("pairs", 0.0)


def test_heads_of_mtl_decay_and_other_heads_do_not():
    train = build_config(mtl=True).train
    assert (train.head_decay, train.bias_decay) == (10.0, 30.0)
    other = build_config(mtl=True, settings={"model": {"head": "residual"}}).train
    assert (other.head_decay, other.bias_decay) == (0.0, 0.0)
    assert build_config(mtl=True, settings={"train": {"head_decay": 2}}).train.head_decay == 2.0
    assert build_config(mtl=True, settings={"model": {"title_bias": False}}).train.bias_decay == 0.0


def test_a_large_learning_rate_limits_the_decay_of_mtl():
    fast = build_config(mtl=True, settings={"train": {"learning_rate": 0.1}}).train
    assert fast.head_decay == fast.bias_decay == pytest.approx(MOST_SHRINKING / 0.1)


def test_a_file_without_a_title_bias_gets_the_one_of_mtl_with_its_decay(tmp_path):
    (tmp_path / "c.toml").write_text("[model]\ntitle_bias = false\n")
    config = build_config(mtl=True, file=tmp_path / "c.toml")
    assert config.model.title_bias and config.train.bias_decay == 30.0


def test_groups_are_those_of_the_settings_else_of_the_caller_else_four():
    assert build_config(mtl=True).model.groups == 4
    assert build_config(mtl=True, groups=7).model.groups == 7
    assert build_config(mtl=True, settings={"model": {"groups": 3}}, groups=7).model.groups == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("papers",), "--preset 'papers': expected one of default, paper"),
        (("paper", False, {"train": {"epochs": 0}}), "settings: train.epochs = 0: expected at least 1"),
        (("paper", False, [("here", {"modle": {}})]), "here: section = 'modle': expected one of model, train"),
    ],
)
def test_what_cannot_be_is_one_line(arguments, message):
    with pytest.raises(InputError) as error:
        build_config(*arguments)
    assert str(error.value) == message

"""Settings: what can't be is refused in one line with its origin, and what is written is read back."""

import math
from dataclasses import FrozenInstanceError, fields

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from twotower.core.config import (
    BATCHINGS,
    BATCHNORMS,
    DEBIASES,
    HEADS,
    OUTPUTS,
    Config,
    ModelConfig,
    TrainConfig,
    load_toml,
)
from twotower.core.errors import InputError
from twotower.core.settings import KINDS, kind_of

SECTIONS = {"model": ModelConfig, "train": TrainConfig}
FIELDS = [(section, item) for section, kind in SECTIONS.items() for item in fields(kind)]
FIELD_IDS = [f"{section}.{item.name}" for section, item in FIELDS]

WRONG_TYPES = {
    "int": [1.5, "3", True, None, [1]],
    "float": ["0.1", True, None, math.nan, math.inf, -math.inf, 10**400],
    "bool": [1, 0, "yes", None],
    "str": [1, True, None],
}

WRONG_VALUES = [
    *[("model", "experts", value) for value in (1, 257, 10**12)],
    *[("model", "hidden", value) for value in (0, -1, 10**12)],
    *[("model", "groups", value) for value in (0, -4, 2)],  # 2 groups without anything of their own
    *[("model", "head", value) for value in ("", "Plain", "heads")],
    *[("model", "rank", value) for value in (0, -1)],
    ("model", "output", "sigmoid"),
    *[("model", "batchnorm", value) for value in ("title", "group")],  # the latter with a single group
    *[("train", name, 0) for name in ("epochs", "patience", "validations_per_epoch", "batch_size")],
    *[("train", name, -1) for name in ("epochs", "seed", "threads")],
    ("train", "batch_size", 1),
    *[("train", "learning_rate", value) for value in (0.0, -0.1)],
    *[("train", name, value) for name in ("beta1", "beta2") for value in (-0.1, 1.0, 1.5)],
    *[("train", "eps", value) for value in (0.0, -1e-8, 1e-60)],  # the last is 0 in float32
    *[("train", name, value) for name in ("head_decay", "bias_decay", "tower_decay") for value in (-0.1, 1000.0)],
    ("train", "head_decay", 0.1),  # without heads
    ("train", "bias_decay", 0.1),  # without a title bias
    *[("train", name, "random") for name in ("task_weights", "debias")],
    *[("train", "debias_strength", value) for value in (0.0, -1.0, 1e9)],
    ("train", "task_weights", "inverse"),  # with a single group
    ("train", "pcgrad", True),  # likewise
    ("train", "batching", "random"),
    *[("train", "validation", value) for value in (-0.1, 1.0, 1.5)],
]


def error_of(values: dict, source: str = "config") -> str:
    with pytest.raises(InputError) as caught:
        Config.from_dict(values, source)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("section", "name", "value"), WRONG_VALUES)
def test_a_value_that_cannot_be_is_named_with_what_was_expected(section, name, value):
    message = error_of({section: {name: value}}, "settings.toml")
    assert message.startswith(f"settings.toml: {section}.{name} = {value!r}: expected ")


@pytest.mark.parametrize(("section", "item"), FIELDS, ids=FIELD_IDS)
def test_every_setting_refuses_other_types(section, item):
    for value in WRONG_TYPES[kind_of(item)]:
        message = error_of({section: {item.name: value}})
        assert message == f"config: {section}.{item.name} = {value!r}: expected {KINDS[kind_of(item)][1]}"


@pytest.mark.parametrize(("section", "item"), FIELDS, ids=FIELD_IDS)
def test_every_setting_has_a_line_of_help(section, item):
    assert item.metadata["help"].endswith(".")


def test_a_whole_number_stands_for_a_fraction_and_becomes_one():
    config = Config.from_dict({"train": {"learning_rate": 1, "validation": 0}})
    assert isinstance(config.train.learning_rate, float) and isinstance(config.train.validation, float)
    assert config == Config.from_dict({"train": {"learning_rate": 1.0, "validation": 0.0}})


def test_an_exponent_of_popularity_is_at_most_1_and_a_penalty_may_be_larger():
    for debias in ("ipw", "logq"):
        message = error_of({"train": {"debias": debias, "debias_strength": 1.5}})
        assert message.endswith(f"expected above 0 and at most 1 for {debias}")
    penalty = {"train": {"debias": "penalty", "debias_strength": 20}, "model": {"title_offsets": "none"}}
    assert Config.from_dict(penalty).train.debias_strength == 20


def test_offsets_of_titles_do_not_undo_what_is_done_against_popularity():
    for debias in DEBIASES[1:]:
        message = error_of({"train": {"debias": debias}, "model": {"title_offsets": "title"}})
        assert message.endswith("which would put popularity back (see --title-offsets none)")


def test_a_rank_is_at_most_the_width_where_it_counts():
    assert error_of({"model": {"head": "lowrank", "hidden": 8, "rank": 9}}).endswith("from 1 to hidden = 8")
    assert Config.from_dict({"model": {"head": "plain", "hidden": 4}}).model.rank == 8


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"modle": {}}, "f: section = 'modle': expected one of model, train"),
        ({"epochs": 3}, "f: section = 'epochs': expected one of model, train"),
        ({"train": 3}, "f: train = 3: expected a table of settings"),
        ({"train": {"epoch": 3}}, "f: key = 'train.epoch': expected one of epochs, batch_size,"),
        ({"model": {"epochs": 3}}, "f: key = 'model.epochs': expected one of hidden, groups,"),
    ],
)
def test_unknown_sections_and_keys_are_refused_with_those_that_are_known(values, message):
    assert error_of(values, "f").startswith(message)


def test_later_layers_override_earlier_ones():
    layers = [("a", {"train": {"epochs": 1, "seed": 1}}), ("b", {"train": {"epochs": 2}, "model": {"hidden": 9}})]
    config = Config.from_layers(*layers)
    assert (config.train.epochs, config.train.seed, config.model.hidden) == (2, 1, 9)
    assert Config.from_layers(*reversed(layers)).train.epochs == 1


def test_only_the_result_of_all_layers_has_to_be_valid():
    groups, heads = ("file", {"model": {"groups": 6}}), ("options", {"model": {"head": "plain"}})
    assert Config.from_layers(groups, heads).model.groups == 6
    with pytest.raises(InputError, match=r"^file: model\.groups = 6"):
        Config.from_layers(groups, ("options", {"model": {"hidden": 4}}))


def test_a_default_that_does_not_fit_is_blamed_on_nobody():
    assert error_of({"model": {"head": "lowrank", "hidden": 4}}).startswith("model.rank = 8")


@st.composite
def configs(draw) -> Config:
    hidden, head = draw(st.integers(1, 64)), draw(st.sampled_from(HEADS))
    bias, output = draw(st.booleans()), draw(st.sampled_from(OUTPUTS))
    groups = draw(st.integers(1, 9)) if head != "none" or bias else 1
    model = ModelConfig(
        hidden=hidden,
        groups=groups,
        head=head,
        rank=draw(st.integers(1, hidden)),
        experts=draw(st.integers(2, 256)),
        title_bias=bias,
        territory_bias=draw(st.booleans()) if output == "linear" else False,
        batchnorm=draw(st.sampled_from(BATCHNORMS)) if groups > 1 else "all",
        output=output,
        learned_logit=draw(st.booleans()),
    )
    share = st.floats(0, 1, exclude_max=True)
    return Config(
        model,
        TrainConfig(
            epochs=draw(st.integers(1, 99)),
            learning_rate=draw(st.floats(1e-9, 10)),
            beta1=draw(share),
            eps=draw(st.floats(1e-30, 1)),
            head_decay=draw(st.floats(0, 0.09)) if head != "none" else 0,
            bias_decay=draw(st.floats(0, 0.09)) if bias else 0,
            tower_decay=draw(st.floats(0, 0.09)),
            batching=draw(st.sampled_from(BATCHINGS)),
            validation=draw(share),
            seed=draw(st.integers(0, 2**64)),
        ),
    )


@examples(50)
@given(configs())
def test_what_is_written_as_toml_is_read_back(tmp_path_factory, config):
    path = tmp_path_factory.getbasetemp() / "round_trip.toml"
    path.write_text(tomli_w.dumps(config.to_dict()))
    assert Config.from_dict(load_toml(path), str(path)) == config


def test_a_file_that_is_not_toml_is_one_line_with_its_place(tmp_path):
    path = tmp_path / "settings.toml"
    for content in (b"[train]\nepochs = = 3\n", b"\xff\xfe\x00", b"[train"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"settings\.toml: not readable as TOML") as caught:
            load_toml(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(b"[train]\nepochs = = 3\n")
    with pytest.raises(InputError, match="line 2"):
        load_toml(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.toml: no such file, expected settings in TOML"):
        load_toml(tmp_path / "nowhere.toml")
    with pytest.raises(InputError, match="not readable as TOML"):
        load_toml(tmp_path)


def test_a_byte_order_mark_does_no_harm(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_bytes(b"\xef\xbb\xbf[train]\nepochs = 7\n")
    assert load_toml(path) == {"train": {"epochs": 7}}


def test_settings_are_checked_wherever_they_are_made_and_stay_as_they_are():
    with pytest.raises(InputError):
        TrainConfig(epochs=0)
    with pytest.raises(FrozenInstanceError):
        TrainConfig().epochs = 3


def test_without_heads_it_is_the_single_task_baseline():
    assert (ModelConfig().head, ModelConfig().multi_task) == ("none", False)


def test_a_linear_output_has_no_floor_but_a_hidden_layer_has():
    assert ModelConfig().output_floor == -math.inf
    assert ModelConfig(head="residual").tower_floor == -math.inf
    assert ModelConfig(head="plain").tower_floor == 0.0, "under a plain head the tower's end is hidden"
    assert ModelConfig(head="plain").head_floor == -math.inf

"""A user's own model before the leak detector, and the example of a common bug."""

import re
import runpy
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from subjects import tiny_subject

from twotower.core.errors import InputError
from twotower.core.serialisation import plain
from twotower.lab.leaks import user_model
from twotower.lab.leaks.record import LABELS, TITLES, USERS
from twotower.lab.leaks.user_model import load_function

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "heads_with_their_own_batchnorm.py"
PAGE = ROOT / "docs" / "how-to" / "own-model.md"

#: A model of one matrix a group; {select} is how it keeps other groups out.
MODEL = """
import numpy as np

def gradients(user_features, title_features, group, labels, n_groups, seed):
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((n_groups, user_features.shape[1]))
    grads = np.zeros_like(W)
    for k in range(n_groups):
        error = user_features @ W[k] * title_features.mean(1) - labels
        {select}
    return {{"W": grads}}
"""
SELECTS = "mine = group == k; grads[k] = (error[mine] * title_features[mine].mean(1)) @ user_features[mine]"
MULTIPLIES = "grads[k] = (error * (group == k) * title_features.mean(1)) @ user_features"
SEALED = {what: {"isolated"} for what in (LABELS, USERS, TITLES)}
SHARES_LABELS = "mine = group == k; grads[k] = error[mine] @ user_features[mine] / labels.sum()"


@pytest.fixture
def own(tmp_path):
    """A file with a model in it, by name."""

    def write(text: str, function: str = "gradients", file: str = "model.py") -> str:
        (tmp_path / file).write_text(textwrap.dedent(text), encoding="utf-8")
        return f"{tmp_path / file}:{function}"

    return write


@pytest.fixture(scope="module")
def subject(tiny_world):
    return tiny_subject(tiny_world, groups=3)


def find_leaks_in(name: str, subject, draws: int = 3) -> dict:
    """The record as JSON has it."""
    return plain(user_model.find_leaks_in(name, subject, draws))


def verdicts(name: str, subject) -> dict[str, set[str]]:
    """The verdicts on each kind of disturbance."""
    rows = find_leaks_in(name, subject, 2)["rows"]
    return {what: {row["verdict"] for row in rows if row["input"] == what} for what in (LABELS, USERS, TITLES)}


def complaint(name: str, subject) -> str:
    with pytest.raises(InputError) as error:
        find_leaks_in(name, subject, 1)
    assert "\n" not in str(error.value)
    return re.sub(r"\S+/", "", str(error.value))


# ---------------------------------------------------------------- what is found


def test_a_model_that_selects_its_rows_is_sealed(own, subject):
    assert verdicts(own(MODEL.format(select=SELECTS)), subject) == SEALED


def test_a_mask_that_multiplies_is_found_by_nan(own, subject):
    record = find_leaks_in(own(MODEL.format(select=MULTIPLIES)), subject, 1)
    for row in record["rows"]:
        assert row["change"]["changed"] == 0 and row["verdict"] == ("isolated" if row["input"] == TITLES else "leak")
        assert row["input"] == TITLES or row["nan"]["changed"] > 0


def test_labels_of_others_that_reach_a_head_are_found(own, subject):
    found = verdicts(own(MODEL.format(select=SHARES_LABELS)), subject)
    assert found == {LABELS: {"leak"}, USERS: {"isolated"}, TITLES: {"isolated"}}


def test_a_model_that_uses_its_buffers_again_cannot_hide(own, subject):
    text = MODEL.format(select=SHARES_LABELS).replace("np.zeros_like(W)", "BUFFER; grads[:] = 0")
    text += "BUFFER = np.zeros((3, 16))\n"
    assert verdicts(own(text), subject)[LABELS] == {"leak"}


def test_the_function_gets_what_it_is_promised(own, subject):
    text = """
    import numpy as np
    def gradients(user_features, title_features, group, labels, n_groups, seed):
        B = len(labels)
        assert user_features.shape == (B, 16) and user_features.dtype == np.float64
        assert len(title_features) == len(group) == B and group.dtype == np.int64
        assert n_groups == 3 and seed == 3 and set(group) == {0, 1, 2}
        user_features[:] = title_features[:] = labels[:] = group[:] = 0  # its own copies
        return {"W": np.zeros((3, 2))}
    """
    before = subject.batch.user_features.copy(), subject.batch.labels.copy()
    record = find_leaks_in(own(text), subject, 1)
    assert record["leaks"] == 0 and record["model"].endswith("model.py:gradients")
    assert np.array_equal(before[0], subject.batch.user_features) and np.array_equal(before[1], subject.batch.labels)


def test_a_model_that_refuses_nan_is_not_tried_with_it(own, subject):
    picky = "if not np.isfinite(labels).all(): raise ValueError('labels')\n        " + SELECTS
    record = find_leaks_in(own(MODEL.format(select=picky)), subject, 1)
    assert record["leaks"] == 0
    assert record["notes"] == [f"Not tested with NaN: {record['model'].split(':')[0]} line 10: ValueError: labels"]


def test_dropout_from_the_seed_is_no_leak(own, subject):
    dropout = "error[np.random.default_rng([seed, k]).random(len(labels)) < 0.5] = 0\n        " + SELECTS
    assert verdicts(own(MODEL.format(select=dropout)), subject) == SEALED


def test_it_may_import_its_neighbours(own, subject):
    own("def zeros(n): return [[0.0]] * n\n", file="neighbour_of_a_model.py")
    text = "from neighbour_of_a_model import zeros\ndef gradients(*given): return {'W': zeros(given[4])}\n"
    assert find_leaks_in(own(text), subject, 1)["leaks"] == 0


def test_what_it_prints_goes_to_stderr(own, subject, capsys):
    text = "print('loading')\ndef gradients(*given): print('hello'); return {'W': [0.0] * given[4]}"
    find_leaks_in(own(text), subject, 1)
    out, err = capsys.readouterr()
    assert out == "" and "loading" in err and "hello" in err


# ---------------------------------------------------------------- what is wrong with it


def gives(value: str) -> str:
    return f"import numpy as np\ndef gradients(u, t, group, labels, K, seed):\n    return {value}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (gives("None"), "model.py:gradients: returned NoneType, expected a dict of gradients by name"),
        (gives("{}"), "model.py:gradients: returned an empty dict, expected a dict of gradients by name"),
        (gives("{'W': np.zeros((2, 5))}"), "W is (2, 5), expected leading axis 3: a part for each group"),
        (gives("{'W': 0.5}"), "W is (), expected leading axis 3: a part for each group"),
        (gives("{'W': ['a', 'b', 'c']}"), "W is <U1 (3,), expected numbers with leading axis 3"),
        (gives("{'W': [[1], [2, 3], [4]]}"), "model.py: the gradient W is no array: ValueError"),
        (gives("{'W': np.array([[0, 1], [2, np.nan], [0, 0]])}"), "W[1, 1] is nan, expected finite gradients"),
        (gives("{'W': np.array([0, np.inf, 0])}"), "W[1] is inf, expected finite gradients"),
        (gives("{'W': np.random.random(3)}"), "two calls with the same seed differ in W; draw all random numbers from"),
        (gives("{'W': np.zeros(3)} if labels.sum() % 2 else {'V': np.zeros(3)}"), "where other groups' rows changed"),
        (gives("{'W': np.zeros(3) / labels.missing}"), "model.py line 3: AttributeError: 'numpy.ndarray' object"),
        ("def gradients(u): pass", "model.py: TypeError: gradients() takes 1 positional argument but 6 were given"),
        ("import nowhere_to_be_found", "model.py line 1: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("x = 1\ndef gradients(:\n", "model.py line 2: SyntaxError: "),
        ("import sys\n\nsys.exit(1)", "model.py line 3: SystemExit: 1"),
        ("def other(): pass\ngradients = 3", "model.py: no function 'gradients'; its functions are other"),
        ("gradients = 3", "model.py: no function 'gradients'; it has none"),
    ],
)
def test_what_is_wrong_with_a_model_is_one_line(own, subject, text, said):
    assert said in complaint(own(text), subject)


def test_an_error_names_the_innermost_line_of_the_users_file(own, subject):
    text = "import json\ndef read():\n    return json.loads('no')\ndef gradients(*given):\n    return read()\n"
    assert "model.py line 3: JSONDecodeError" in complaint(own(text), subject)


@pytest.mark.parametrize("name", ["model.py", "model.py:", ":gradients"])
def test_a_name_has_a_file_and_a_function(name):
    with pytest.raises(InputError, match=r"expected FILE\.py:NAME"):
        load_function(name)


def test_a_file_that_is_not_there_or_not_python(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.py: no such file"):
        load_function(f"{tmp_path}/nothing.py:gradients")
    (tmp_path / "model.txt").write_text("")
    with pytest.raises(InputError, match="not a Python file"):
        load_function(f"{tmp_path}/model.txt:gradients")


def test_ctrl_c_in_a_model_is_ctrl_c(own, subject):
    with pytest.raises(KeyboardInterrupt):
        find_leaks_in(own("def gradients(*given): raise KeyboardInterrupt"), subject)


# ---------------------------------------------------------------- the example


@pytest.fixture(scope="module")
def example():
    return SimpleNamespace(**runpy.run_path(str(EXAMPLE)))


@pytest.mark.parametrize("select_first", [False, True])
def test_the_examples_gradients_are_right(example, rng, select_first):
    B, K = 40, 3
    given = rng.standard_normal((B, 6)), rng.standard_normal((B, 5)), rng.integers(0, K, B), rng.integers(0, 2, B)
    p = example.parameters(6, 5, K, seed=1)

    def loss(name, value):
        return example.loss_and_head_gradients({**p, name: value}, *given, select_first)[0]

    for name, gradient in example.loss_and_head_gradients(p, *given, select_first)[1].items():
        direction = rng.standard_normal(gradient.shape)
        numeric = (loss(name, p[name] + 1e-6 * direction) - loss(name, p[name] - 1e-6 * direction)) / 2e-6
        assert (gradient * direction).sum() == pytest.approx(numeric, rel=1e-6), name


def test_in_the_example_features_of_others_reach_a_head_though_labels_do_not(subject):
    record = find_leaks_in(f"{EXAMPLE}:gradients", subject)
    for row in record["rows"]:
        assert row["verdict"] == ("leak" if row["input"] == USERS else "isolated")
        assert row["change"]["changed"] == (row["change"]["elements"] if row["input"] == USERS else 0)
    assert record["leaks"] == 3


def test_the_examples_corrected_version_is_sealed(subject):
    assert {row["verdict"] for row in find_leaks_in(f"{EXAMPLE}:gradients_fixed", subject)["rows"]} == {"isolated"}


def test_the_examples_two_versions_differ_in_nothing_but_the_rows_of_a_head(example, rng):
    given = rng.standard_normal((20, 6)), rng.standard_normal((20, 5)), np.zeros(20, int), rng.integers(0, 2, 20), 1, 0
    bug, fixed = example.gradients(*given), example.gradients_fixed(*given)  # one group: all rows are its own
    assert all(np.array_equal(bug[name], fixed[name]) for name in bug)


def test_the_model_on_the_page_runs_and_is_sealed(own, subject):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert verdicts(own(code), subject) == SEALED

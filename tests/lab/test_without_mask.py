"""What would leak: with the mask off, every head's gradients from the rows of every group, as the textbook has them."""

import numpy as np
import pytest
from textbook_inspection import CLOSE, MODELS, Textbook, inspect, looked_into, stirred

from twotower.model.variants.objective import Objective


@pytest.fixture(scope="module", params=[name for name in MODELS if name != "baseline"])
def found(request, tiny_world):
    return looked_into(tiny_world, request.param)


def test_every_cell_is_the_textbooks_with_the_mask_off(found):
    textbook, record = found
    parts = [textbook.of_group(j, masked=False) for j in range(len(record["groups"]))]
    for block in record["blocks"]:
        if block["owner"] is None or block["part"] == "territory":
            assert block["unmasked"] is None
            continue
        expected = [np.linalg.norm(textbook.part(part, block)) for part in parts]
        np.testing.assert_allclose(block["unmasked"], expected, **CLOSE, err_msg=block["name"])
        assert min(expected) > 0, "a test that everybody leaks"


def test_own_rows_send_what_they_send_with_the_mask_on(found):
    _, record = found
    for block in record["blocks"]:
        if block["unmasked"] is not None:
            own = block["owner"]
            assert block["unmasked"][own] == pytest.approx(block["by_group"][own], rel=1e-4)


def test_a_heads_leak_is_the_sum_over_all_foreign_rows(found):
    textbook, record = found
    groups, model = len(record["groups"]), textbook.subject.model
    assert [leak["head"] for leak in record["leak"]] == [*range(groups)] * (len(record["leak"]) // groups)
    for leak in record["leak"]:
        k, prefix = leak["head"], {"head": "head.", "title bias": "title_bias."}[leak["part"]]
        own = [name for name in model.params if name.startswith(prefix)]
        everybody = textbook.gradients(textbook.batch.group != k, masked=False)
        others = np.sqrt(sum(np.sum(everybody[name][k] ** 2) for name in own))
        np.testing.assert_allclose(leak["others"], others, **CLOSE)
        for j in range(groups):
            part = textbook.of_group(j, masked=False)
            expected = np.sqrt(sum(np.sum(part[name][k] ** 2) for name in own))
            np.testing.assert_allclose(leak["by_group"][j], expected, **CLOSE)
        assert leak["own"] == leak["by_group"][k]


def test_without_heads_there_is_nothing_to_leak_into(tiny_world):
    record = inspect(stirred(tiny_world, "baseline"))
    assert record["leak"] == [] and all(block["unmasked"] is None for block in record["blocks"])


def test_an_absent_groups_head_would_get_foreign_rows_alone(tiny_world):
    record = inspect(stirred(tiny_world, "low-rank", groups=8))
    absent = [k for k, group in enumerate(record["groups"]) if not group["pairs"]]
    assert absent
    for leak in record["leak"]:
        assert leak["head"] not in absent or (leak["own"] == 0 < leak["others"] and leak["ratio"] is None)


def test_weights_of_the_objective_count_for_foreign_rows_too(tiny_world):
    subject = stirred(tiny_world, "low-rank")
    plain = inspect(subject)["leak"]
    subject.model.objective = Objective(group_weight=np.array([3, 3], np.float32))
    tripled = inspect(subject)["leak"]
    for leak, before in zip(tripled, plain, strict=True):
        np.testing.assert_allclose(leak["by_group"], 3 * np.array(before["by_group"]), rtol=1e-5)


def test_a_penalty_on_all_logits_stays_in_what_a_heads_own_rows_send(tiny_world):
    """It needs one logit a pair, which only the mask says: own cells are those of the pass with the mask on."""
    subject = stirred(tiny_world, "low-rank")
    plain = inspect(subject)
    popularity = np.arange(subject.dataset.n_titles, dtype=np.float32)
    subject.model.objective = Objective(popularity=popularity, penalty=5.0)
    for before, block in zip(plain["blocks"], inspect(subject)["blocks"], strict=True):
        if block["unmasked"] is not None:
            own = block["owner"]
            assert block["unmasked"][own] == pytest.approx(block["by_group"][own], rel=1e-4)
            assert block["by_group"][own] != pytest.approx(before["by_group"][own], rel=1e-2)
            assert block["unmasked"][1 - own] == pytest.approx(before["unmasked"][1 - own], rel=1e-5)


def test_an_offset_is_on_the_logit_of_foreign_rows(tiny_world):
    """An offset that is the same for all titles is a bias: the textbook's with that bias."""
    subject = stirred(tiny_world, "low-rank")
    subject.model.objective = Objective(title_offset=np.full(subject.dataset.n_titles, 0.7, np.float32))
    record, textbook = inspect(subject), Textbook(subject)
    textbook.params["logit.bias"] = textbook.params["logit.bias"] + 0.7
    for j in (0, 1):
        part = textbook.of_group(j, masked=False)
        for block in record["blocks"]:
            if block["unmasked"] is not None:
                expected = np.linalg.norm(textbook.part(part, block))
                np.testing.assert_allclose(block["unmasked"][j], expected, **CLOSE)

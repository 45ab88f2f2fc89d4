"""The page of a traced step in headless Chromium: every step shows the numbers of the Python run, either way."""

import re

import numpy as np
import pytest

from twotower.core.serialisation import plain
from twotower.lab.trace.numbers import number_texts
from twotower.lab.trace.tiny_network import tiny_network
from twotower.lab.trace.trace import trace
from twotower.model import reference

pages = pytest.importorskip("lesson_pages", reason="pages need jinja2 and matplotlib: pip install -e '.[report]'")
textbook, made, records, addresses, opened = (
    pages.textbook,
    pages.made,
    pages.records,
    pages.addresses,
    pages.opened,
)
node, table, write_page = pages.node, pages.table, pages.write_page


def array(page) -> list[list[float | None]]:
    return table(page, "array")


def go_to(page, place: int) -> None:
    """To a step, from 0, of the run that is shown."""
    page.locator("#slider").fill(str(place + 1))


WALK = """count => {
  const seen = [];
  const read = row => [...row.querySelectorAll('td')].map(cell => Number(cell.dataset.value));
  for (let place = 0; place < count; place += 1) {
    if (place) document.getElementById('next').click();
    const rows = [...document.querySelectorAll('#array tbody tr:not([data-masked])')];
    const lit = document.querySelector('.node.work, .node.leak');
    seen.push([rows.map(read), document.getElementById('step-text').textContent, lit.dataset.node,
      Number(lit.querySelector('.value').dataset.value)]);
  }
  return seen;
}"""


def lines_of(step) -> list[list[float]]:
    """The numbers of a step as the page lays them out, row by row."""
    values = np.array(step["values"], float)
    if values.ndim == 1 and step["rows"] is None:
        values = values[None]
    return values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1).tolist()


@pytest.mark.parametrize("mask", ["on", "off"])
def test_every_step_shows_the_numbers_of_the_run(opened, records, mask):
    steps = records["trace"]["runs"][mask]["steps"]
    seen = opened("trace", f"#mask={mask}").evaluate(WALK, len(steps))
    for place, (step, (numbers, text, lit, norm)) in enumerate(zip(steps, seen, strict=True)):
        assert numbers == lines_of(step), f"step {place + 1}: {step['name']}"
        assert text.startswith(f"Step {place + 1} of {len(steps)} · {step['stage']}")
        assert all(step[key] in text for key in ("name", "maths", "source", "function"))
        if step["block"] in ("user.1", "user.2", "title.1", "title.2", "loss"):
            assert lit == step["block"]
        if step["stage"] == "backward":
            assert norm == pytest.approx(np.linalg.norm(np.array(step["values"])), rel=1e-12)


@pytest.mark.parametrize("mask", ["on", "off"])
def test_the_heads_gradients_are_the_textbooks(opened, records, mask):
    network = tiny_network(title_bias=True)
    _, gradients = reference.loss_and_gradients(network.params, network.batch, network.config, masked=mask == "on")
    steps, page = records["trace"]["runs"][mask]["steps"], opened("trace", f"#mask={mask}")
    for name in ("head.W", "title_bias.C"):
        for k in (0, 1):
            place = next(i for i, step in enumerate(steps) if step["name"] == f'grads["{name}"][{k}]')
            go_to(page, place)
            np.testing.assert_allclose(array(page), np.atleast_2d(gradients[name][k]), rtol=1e-12)
            assert "differ with the mask" in page.inner_text("#array-note")


def differing(step, other) -> int:
    """How many numbers of a step are not those of the other run, row by row of the same pair."""
    keys = step["pairs"] if step["pairs"] is not None else range(len(np.atleast_1d(step["values"])))
    others = other["pairs"] if other["pairs"] is not None else range(len(np.atleast_1d(other["values"])))
    theirs = dict(zip(others, np.atleast_1d(np.array(other["values"], float)), strict=True))
    own = zip(keys, np.atleast_1d(np.array(step["values"], float)), strict=True)
    return sum(int(np.size(row) if key not in theirs else np.sum(row != theirs[key])) for key, row in own)


def keyed(steps) -> dict[tuple, dict]:
    """Steps by what they are and the how-manieth of it, which both runs share."""
    by_key: dict[tuple, dict] = {}
    for step in steps:
        name = (step["stage"], step["block"], step.get("parameter"), step["group"], step["name"])
        by_key[(*name, sum(key[:-1] == name for key in by_key))] = step
    return by_key


def test_the_mask_keeps_the_step_and_marks_what_differs(opened, records):
    runs = records["trace"]["runs"]
    page = opened("trace")
    for k in (0, 1):
        for name, block in (("dU", "head"), ("z", "score"), ("dA", "head"), ("U", "head")):
            on, off = (
                next(
                    (i, step)
                    for i, step in enumerate(runs[mask]["steps"])
                    if (step["name"], step["block"], step["group"]) == (name, block, k)
                )
                for mask in ("on", "off")
            )
            go_to(page, on[0])
            assert page.locator("#array td.differs").count() == differing(on[1], off[1])
            page.get_by_role("switch").click()
            assert array(page) == lines_of(off[1])
            assert page.locator("#array td.differs").count() == differing(off[1], on[1]) > 0
            page.get_by_role("switch").click()
            assert page.input_value("#slider") == str(on[0] + 1)


def test_foreign_rows_are_dimmed_masked_out_or_leaks(opened, records):
    steps = records["trace"]["runs"]["on"]["steps"]
    place = next(i for i, step in enumerate(steps) if step["block"] == "head" and step["name"] == "U")
    page = opened("trace", f"#step={place + 1}")
    assert page.locator("#array tr[data-masked]").count() == 2  # Cem's pairs are not of group 0
    assert page.locator("#array tr[data-row]").count() == 3
    page.get_by_role("switch").click()
    assert page.locator("#array tr.leaking").evaluate_all("rows => rows.map(row => row.dataset.row)") == ["Cem", "Cem"]
    assert "leak" in node(page, "head.0").get_attribute("class")
    page = opened("trace")
    page.locator("#group-chips label").nth(2).click()
    dimmed = page.locator("#array tr.other").evaluate_all("rows => rows.map(row => row.dataset.row)")
    assert dimmed == ["Ann", "Ann", "Bob"]


def test_a_group_or_a_user_picks_rows_and_their_part_of_the_gradient(opened, records):
    steps = records["trace"]["runs"]["on"]["steps"]
    place, step = next((i, s) for i, s in enumerate(steps) if s["block"] == "user.2" and s["name"] == "dZ")
    page, values = opened("trace", f"#step={place + 1}"), np.array(step["values"])
    page.locator("#group-chips label").nth(1).click()
    assert pages.shown(page, "user.2") == pytest.approx(np.linalg.norm(values[:3]), rel=1e-12)
    page.locator("#row").select_option("Bob")
    assert pages.shown(page, "user.2") == pytest.approx(np.linalg.norm(values[2]), rel=1e-12)
    assert page.locator("#array tr:not(.other)[data-row]").count() == 1
    edges = [page.locator(f'[data-edge="user.2>head.{k}"]').get_attribute("class") for k in (0, 1)]
    assert edges == ["edge own", "edge "]  # Bob is of group 0


def test_numbers_are_written_as_in_the_terminal(opened, records):
    page = opened("trace", "#mask=off")
    for place, step in enumerate(records["trace"]["runs"]["off"]["steps"][::3]):
        go_to(page, 3 * place)
        texts = page.locator("#array td[data-value]").evaluate_all("all => all.map(td => td.firstChild.textContent)")
        assert texts == number_texts(np.ravel(step["values"]).tolist()), step["name"]


def test_the_next_step_that_the_mask_changes_is_the_next_that_differs(opened, records):
    on, off = (keyed(records["trace"]["runs"][mask]["steps"]) for mask in ("on", "off"))
    changed = [i for i, key in enumerate(on, 1) if key not in off or on[key]["values"] != off[key]["values"]]
    page = opened("trace")
    page.get_by_role("button", name="Next step that the mask changes").click()
    assert int(page.input_value("#slider")) == changed[0]
    note = page.inner_text("#array-note")
    assert "the same 12 numbers. With the mask off there are 8 more, of other groups’ rows" in note
    page.get_by_role("button", name="Next step that the mask changes").click()
    assert int(page.input_value("#slider")) == changed[1]


def test_buttons_keys_slider_and_landmarks_step(opened, records):
    page, steps = opened("trace"), records["trace"]["runs"]["on"]["steps"]

    def place():
        return int(page.input_value("#slider"))

    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert place() == 2
    page.get_by_label("last step").click()
    assert place() == len(steps)
    page.keyboard.press("ArrowRight")
    assert place() == len(steps)
    page.get_by_label("step back").click()
    assert place() == len(steps) - 1
    page.get_by_label("first step").click()
    page.get_by_label("step back").click(force=True)  # there is none before the first
    assert place() == 1
    page.locator("#slider").focus()
    page.keyboard.press("ArrowRight")
    assert place() == 2
    names = page.locator(".stages button").all_inner_texts()
    assert names == ["forward", "group 0", "group 1", "backward", "Adam"]
    page.get_by_role("button", name="Adam", exact=True).click()
    assert steps[place() - 1]["stage"] == "adam" and steps[place() - 2]["stage"] != "adam"
    assert page.locator(".stages [aria-current]").inner_text() == "Adam"
    node(page, "user.1").click()  # a block leads to its next step
    assert steps[place() - 1].get("parameter", "").startswith("user.")
    page.locator("#outline summary").click()
    page.locator("#outline button", has_text=re.compile("^40 ")).click()
    assert place() == 40


def test_it_plays_and_pauses(opened):
    page = opened("trace", "#step=1")
    page.clock.install(time=0)
    page.clock.pause_at(86_400_000)  # else time passes by itself as well
    page.get_by_role("button", name="Play").click()
    page.clock.run_for(5000)
    assert page.input_value("#slider") == "4"
    page.get_by_role("button", name="Pause").click()
    page.clock.run_for(5000)
    assert page.input_value("#slider") == "4"


@pytest.mark.parametrize("head", ["plain", "lowrank", "mmoe", "cross-stitch", "market-gate"])
def test_every_kind_of_head_can_be_stepped_through(opened, addresses, tmp_path, head):
    record = plain(trace(head=head, group=1, memory=True))
    write_page(record, tmp_path / "page.html")
    addresses[head] = (tmp_path / "page.html").as_uri()
    steps = record["runs"]["off"]["steps"]
    seen = opened(head, "#mask=off").evaluate(WALK, len(steps))
    assert [numbers for numbers, *_ in seen] == [lines_of(step) for step in steps]


def test_a_trace_of_one_group_opens_on_that_group_and_a_link_says_otherwise(opened):
    chosen = "#group-chips input:checked"
    assert opened("trace of group 1").locator(chosen).get_attribute("value") == "1"
    assert opened("trace of group 1", "#group=0").locator(chosen).get_attribute("value") == "0"
    assert opened("trace").locator(chosen).get_attribute("value") == ""


def test_the_page_opens_with_the_mask_as_the_command_said_and_a_link_says_otherwise(opened, addresses, tmp_path):
    def is_on(page) -> bool:
        return page.get_attribute("#mask", "aria-checked") == "true"

    write_page(trace(), tmp_path / "page.html", "off")
    addresses["off"] = (tmp_path / "page.html").as_uri()
    page = opened("off")
    assert not is_on(page) and page.inner_text("#finding").startswith("Mask off")
    page.get_by_role("switch").click()
    seen = page.evaluate("location.hash")
    assert is_on(page) and is_on(opened("off", seen))  # the address says what differs from how the page opens
    assert is_on(opened("trace")) and not is_on(opened("trace", "#mask=off"))


def test_ties_are_rounded_as_in_the_terminal(opened, addresses, records, tmp_path):
    ties = [0.03125, -0.09375, 0.15625, 2.00003125, 1.5, 0.0625, 0.40625, 0.1 + 0.2, 12.34375, 0.00003]
    ties += [place / 32 for place in range(1, 40)]
    small = [tie * 2.0**-20 for tie in ties if tie < 0.5] + [1.25 * 2.0**-44, 3 * 2.0**-33]
    record = records["trace"]
    steps = [dict(step) for step in record["runs"]["on"]["steps"][:2]]
    for step, numbers in zip(steps, (ties, small), strict=True):
        step.update(values=[[number] for number in numbers], shape=[len(numbers), 1], rows=None, pairs=None)
    write_page({**record, "runs": {"on": {**record["runs"]["on"], "steps": steps}}}, tmp_path / "page.html")
    addresses["ties"] = (tmp_path / "page.html").as_uri()
    for step, numbers in enumerate((ties, small), 1):
        read = opened("ties", f"#step={step}").locator("#array tbody td").all_inner_texts()
        assert read == number_texts(numbers)

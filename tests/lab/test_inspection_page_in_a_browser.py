"""The page of an inspected batch in headless Chromium: figure, matrix and tables show the numbers of the Python run."""

from math import hypot

import numpy as np
import pytest
from browsers import PHONE
from textbook_inspection import CLOSE, inspect, stirred

from twotower.core.formatting import minus

pages = pytest.importorskip("lesson_pages", reason="pages need jinja2 and matplotlib: pip install -e '.[report]'")
textbook, made, records, addresses, opened = (
    pages.textbook,
    pages.made,
    pages.records,
    pages.addresses,
    pages.opened,
)
matrix, node, shown, table, write_page = pages.matrix, pages.node, pages.shown, pages.table, pages.write_page


def with_cosines(record: dict, cosines: list[list[float]]) -> dict:
    rows = zip(record["conflict"], cosines, strict=True)
    return {**record, "conflict": [{**row, "cosine": cosine} for row, cosine in rows]}


def texts(page, block: str) -> list[str]:
    return page.locator(f'#matrix-table td[data-block="{block}"]').all_inner_texts()


def test_numbers_are_rounded_and_written_as_in_the_terminal(opened, addresses, records, tmp_path):
    """Ties to the even digit; digits that the terminal leaves out are zeros at the end."""
    record, ties = records["inspection"], [0.15625, 0.0234375, 1.125, 10.25, 0.00002, 2.0**-12, 2.0**-20 * 1.25]
    blocks = [{**block, "by_group": [tie] * 3} for block, tie in zip(record["blocks"][-len(ties) :], ties, strict=True)]
    cosine = [[1.0, 0.125, -0.375], [0.125, 1.0, 0.625], [-0.375, 0.625, 1.0]]
    write_page(with_cosines({**record, "blocks": blocks}, cosine), tmp_path / "page.html")
    addresses["ties"] = (tmp_path / "page.html").as_uri()
    page = opened("ties")
    expected = [minus(f"{tie:#.3g}") for tie in ties]
    assert [texts(page, block["name"])[0] for block in blocks] == expected
    cosines = page.locator("#conflict-table tbody tr").first.locator("td").all_inner_texts()
    assert cosines[:3] == ["1.00", "0.12", "−0.38"]


def number(text: str) -> float:
    return float(text.replace("−", "-").replace(",", "").replace(" %", "").replace("exactly ", ""))


def together(record, part, layer, numbers) -> float:
    """The norm of all blocks of a part, or of one owner's."""
    norms = [numbers(b) for b in record["blocks"] if b["part"] == part and layer in (b["layer"], b["owner"])]
    return hypot(*norms)


def test_the_matrix_shows_the_numbers_of_the_run(opened, records, textbook):
    page = opened("inspection")
    norms = matrix(page)
    assert norms == {block["name"]: block["by_group"] for block in records["inspection"]["blocks"]}
    for k in range(3):
        gradients = textbook.of_group(k)
        for block in records["inspection"]["blocks"]:
            expected = np.linalg.norm(textbook.part(gradients, block))
            np.testing.assert_allclose(norms[block["name"]][k], expected, **CLOSE)


def test_texts_are_the_numbers_rounded_and_only_nothing_reads_as_nothing(opened, records):
    page = opened("inspection")
    for block in records["inspection"]["blocks"]:
        read = texts(page, block["name"])
        assert [number(text) for text in read] == pytest.approx(block["by_group"], rel=6e-3)
        assert [text == "0" for text in read] == [norm == 0 for norm in block["by_group"]]


def test_the_zeros_of_the_mask_are_in_sight_when_the_page_opens(opened, records):
    page = opened("inspection", viewport={"width": 1280, "height": 800})
    inside = """all => all.filter(td => {
        const [cell, region] = [td.getBoundingClientRect(), td.closest('.scroll').getBoundingClientRect()];
        return cell.bottom <= Math.min(region.bottom, innerHeight) && cell.right <= region.right }).length"""
    masked = page.locator("#matrix-table td.zero")
    heads = [block for block in records["inspection"]["blocks"] if block["part"] in ("head", "title bias")]
    assert masked.evaluate_all(inside) == masked.count() == 2 * len(heads) > 0
    lines = page.locator("#matrix-table tbody tr")
    first = lines.evaluate_all("all => all.flatMap((row, n) => row.classList.contains('first') ? [n] : [])")
    parts = [block["part"] for block in records["inspection"]["blocks"]]
    assert first == [n for n, part in enumerate(parts) if n and part != parts[n - 1]]


def test_without_the_mask_the_matrix_shows_what_leaks(opened, records, textbook):
    page = opened("inspection")
    page.get_by_role("switch").click()
    norms = matrix(page)
    for block in records["inspection"]["blocks"]:
        assert norms[block["name"]] == (block["unmasked"] or [None] * 3)
    assert page.locator("#matrix-note").inner_text().startswith("–: all share these blocks")
    leaks = page.locator("#matrix-table td.leak")
    assert leaks.count() == sum(1 for b in records["inspection"]["blocks"] if b["owner"] is not None) * 2
    gradients = textbook.of_group(1, masked=False)
    for block in records["inspection"]["blocks"]:
        if block["part"] == "head":
            expected = np.linalg.norm(textbook.part(gradients, block))
            np.testing.assert_allclose(norms[block["name"]][1], expected, **CLOSE)
    page.get_by_role("switch").click()
    assert matrix(page) == {block["name"]: block["by_group"] for block in records["inspection"]["blocks"]}
    assert leaks.count() == 0 and not page.locator("#matrix-note").is_visible()


def test_shares_stand_where_norms_stood(opened, records):
    page = opened("inspection")
    page.get_by_label("shares of the whole gradient").check()
    assert matrix(page) == {block["name"]: block["share"] for block in records["inspection"]["blocks"]}
    assert texts(page, "head.P[0]")[1:] == ["0 %", "0 %"]


@pytest.mark.parametrize("group", [0, 2])
def test_a_picked_group_lights_its_path_and_the_others_are_exactly_nothing(opened, records, group):
    page, record = opened("inspection"), records["inspection"]
    page.locator("#group-chips label").nth(group + 1).click()
    for side in ("user", "title"):
        for layer in (1, 2):
            expected = together(record, f"{side} tower", layer, lambda block: block["by_group"][group])
            assert shown(page, f"{side}.{layer}") == pytest.approx(expected, rel=1e-12)
    for k in range(3):
        expected = together(record, "head", k, lambda block: block["by_group"][group])
        assert shown(page, f"head.{k}") == pytest.approx(expected, rel=1e-12)
        tone = node(page, f"head.{k}").get_attribute("class")
        assert ("lit" in tone, "dark" in tone) == (k == group, k != group)
        edge = page.locator(f'[data-edge="head.{k}>score"]').get_attribute("class")
        assert edge == ("edge own" if k == group else "edge dark")
        if k != group:
            assert node(page, f"head.{k}").locator(".value").text_content() in ("exactly 0", "0")
            assert "exactly 0" in node(page, f"head.{k}").get_attribute("aria-label")
    heads = [b for b in record["blocks"] if b["owner"] not in (None, group)]
    zeros = sum(1 for block in heads if block["by_group"][group] == 0)
    sentence = f"Of their {len(heads)} numbers in other groups’ blocks, {zeros} are exactly 0"
    assert sentence in page.inner_text("#finding")


def test_without_the_mask_foreign_heads_light_up_as_leaks(opened, records):
    page, record = opened("inspection", "#group=1&mask=off"), records["inspection"]
    for k in range(3):
        expected = together(record, "head", k, lambda block: block["unmasked"][1])
        assert shown(page, f"head.{k}") == pytest.approx(expected, rel=1e-12)
        assert ("leak" in node(page, f"head.{k}").get_attribute("class")) == (k != 1)
    assert shown(page, "user.1") is None  # measured with the mask on alone
    for head in (0, 2):  # all parts that the group owns: head, biases, memory
        moved = np.linalg.norm([line["by_group"][1] for line in record["leak"] if line["head"] == head])
        assert f"{head} by {moved:.3g}" in page.inner_text("#finding")


def test_thicker_lines_have_larger_gradients(opened, records):
    page = opened("inspection")
    widths = page.evaluate(
        """[0, 1, 2].map(k => parseFloat(document.querySelector(`[data-edge="head.${k}>score"]`).style.strokeWidth))"""
    )
    norms = [together(records["inspection"], "head", k, lambda block: block["gradient"]) for k in range(3)]
    assert np.argsort(widths, kind="stable").tolist() == np.argsort(norms, kind="stable").tolist()


def test_figure_and_matrix_pick_for_each_other(opened, records):
    page, record = opened("inspection"), records["inspection"]
    node(page, "user.2").click()
    assert page.locator("#matrix-table tr.picked th").all_inner_texts() == ["user.beta2", "user.gamma2", "user.W2"]
    for k in range(3):  # every head shows what its group's rows send there
        expected = together(record, "user tower", 2, lambda block, k=k: block["by_group"][k])
        assert shown(page, f"head.{k}") == pytest.approx(expected, rel=1e-12)
    page.get_by_role("button", name="block head.Q[1]").click()
    assert node(page, "head.1").get_attribute("aria-pressed") == "true"
    assert node(page, "user.2").get_attribute("aria-pressed") == "false"
    assert "2 of 3 groups send exactly 0" in page.inner_text("#finding")
    page.locator('td[data-block="title.W1"][data-group="2"] button').click()
    assert node(page, "title.1").get_attribute("aria-pressed") == "true"
    assert page.locator("#group-chips input:checked").get_attribute("value") == "2"
    block = next(block for block in record["blocks"] if block["name"] == "title.W1")
    assert shown(page, "title.1") == block["by_group"][2]  # the picked block's, not the layer's
    node(page, "head.0").click()
    assert page.locator("#group-chips input:checked").get_attribute("value") == "0"


def test_a_picked_line_comes_into_sight_within_the_tables_own_region(opened):
    page = opened("inspection", "#block=title.W1", viewport={"width": 1280, "height": 500})
    place = """row => [row.offsetTop - row.closest('.scroll').scrollTop, row.closest('.scroll').clientHeight]"""
    top, height = page.locator("#matrix-table tr.picked").evaluate(place)
    assert 0 < top < height < page.locator("#matrix-table").evaluate("table => table.offsetHeight")
    assert page.evaluate("scrollY") == 0


def test_the_tables_beneath_show_the_record(opened, records):
    page, record = opened("inspection"), records["inspection"]
    assert table(page, "conflict-table") == [[*line["cosine"], line["norm"]] for line in record["conflict"]]
    leak = [[r["own"], r["others"], r["ratio"], *r["by_group"]] for r in record["leak"]]
    names = [f"{part} {k}" for part in ("head", "title bias") for k in range(3)]
    assert page.locator("#leak-table tbody th").all_inner_texts() == names
    assert table(page, "leak-table") == [pytest.approx(line, rel=1e-12) for line in leak]
    facts = ("pairs", "users", "positives", "base_rate", "loss")
    assert table(page, "batch-table") == [[group[name] for name in facts] for group in record["groups"]]
    counted = [line for line in table(page, "dead-table") if len(line) > 2]
    expected = [r for r in record["dead"] if r["dead"] is not None]
    assert [line[:2] for line in counted] == [[r["units"], r["dead"]] for r in expected]
    assert page.locator("#sentences li").all_inner_texts() == record["summary"]


def test_a_dozen_heads_are_drawn_as_eight_with_the_picked_one_among_them(opened):
    page = opened("many")
    heads = page.locator('svg.network [data-node^="head."]')
    assert heads.count() == 7 and page.locator("svg.network .more text").text_content() == "+5"
    page.get_by_label("Group", exact=True).select_option("9")
    assert shown(page, "head.9") == 9.5 and heads.count() == 7


def test_what_is_0_for_want_of_a_gradient_is_not_said_to_be_masked(opened, addresses, tiny_world, tmp_path):
    subject = stirred(tiny_world, "experts")
    subject.model.params["experts.Q"][:] = 0  # as before the first step: no gradient reaches the gates
    write_page(inspect(subject), tmp_path / "page.html")
    addresses["fresh"] = (tmp_path / "page.html").as_uri()
    page = opened("fresh", "#group=1")
    assert [node(page, f"head.{k}").locator(".value").text_content() for k in range(2)] == ["exactly 0"] * 2
    assert ["dark" in node(page, f"head.{k}").get_attribute("class") for k in range(2)] == [True, False]
    page = opened("fresh")
    assert page.locator("svg.network .node.dark").count() == 0


def test_blocks_of_a_phone_stand_side_by_side(opened, addresses, tiny_world, tmp_path):
    write_page(inspect(stirred(tiny_world, "low-rank", groups=8)), tmp_path / "page.html")
    addresses["eight"] = (tmp_path / "page.html").as_uri()
    page = opened("eight", viewport=PHONE)
    boxes = page.locator("svg.network .node:not(.more) > .box").evaluate_all(
        "all => all.map(e => ['x', 'y', 'width', 'height'].map(name => Number(e.getAttribute(name))))"
    )
    for place, (x, y, w, h) in enumerate(boxes):
        for x2, y2, w2, h2 in boxes[:place]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
    spill = """node => {
        const [box, text, title] = ['.box', '.value', '.title'].map(
            part => node.querySelector(part).getBoundingClientRect());
        const inside = Math.max(box.left - text.left, text.right - box.right, text.bottom - box.bottom);
        const upright = text.height > text.width; // its first digit stands below the title's baseline
        const baseline = title.bottom - 0.2 * title.height;
        return text.width && Math.max(inside, upright ? baseline - text.top : -Infinity) }"""
    assert max(page.locator("svg.network .node:not(.more)").evaluate_all(f"all => all.map({spill})")) <= 0
    for k in (1, 7):
        page.get_by_label("Group", exact=True).select_option(str(k))
        assert node(page, f"bias.{k}").count() == 1 and node(page, f"head.{k}").count() == 1


def test_a_dash_is_explained_where_a_group_has_no_rows(opened, addresses, records, tmp_path):
    record = records["inspection"]
    groups = [{**group, "pairs": k and group["pairs"]} for k, group in enumerate(record["groups"])]
    write_page({**record, "groups": groups}, tmp_path / "page.html")
    addresses["absent"] = (tmp_path / "page.html").as_uri()
    assert opened("absent").locator(".dash").all_inner_texts() == ["–: no rows of this group in the batch"] * 3
    page = opened("inspection")
    assert page.locator(".dash").count() == 0
    titles = page.locator("#dead-table tr", has_text="title.1").locator("td").all_inner_texts()
    assert titles[2:] == [""] * 3  # titles belong to no group


def test_a_cosine_of_nearly_0_is_no_conflict(opened, addresses, records, tmp_path):
    cosine = [[1.0, -0.004, -0.3], [-0.004, 1.0, 0.2], [-0.3, 0.2, 1.0]]
    record = records["inspection"]
    write_page(with_cosines(record, cosine), tmp_path / "page.html")
    addresses["cosines"] = (tmp_path / "page.html").as_uri()
    marked = opened("cosines").locator("#conflict-table td.negative").all_inner_texts()
    assert marked == ["−0.30", "−0.30"]


@pytest.mark.parametrize("name", ["paper", "residual", "experts", "cross-stitch", "title bias alone", "territories"])
def test_every_kind_of_network_is_drawn_with_its_numbers(opened, addresses, tiny_world, tmp_path, name):
    record = inspect(stirred(tiny_world, name))
    write_page(record, tmp_path / "page.html")
    addresses[name] = (tmp_path / "page.html").as_uri()
    page = opened(name, "#group=1")
    where = {"experts": "middle", "territory": "territory", "logit": "score"}
    for block in record["blocks"]:
        part, owner = block["part"], block["owner"]
        place = {"head": f"head.{owner}", "title bias": f"bias.{owner}", **where}.get(part)
        place = "middle" if part == "head" and owner is None else place or f"{part.split()[0]}.{block['layer']}"
        same = [b for b in record["blocks"] if b["part"] == part and (part in where or b["owner"] == owner)]
        same = [b for b in same if b["layer"] == block["layer"]]
        assert shown(page, place) == pytest.approx(hypot(*(b["by_group"][1] for b in same)), rel=1e-12), block["name"]
    page.get_by_role("switch").click()
    assert matrix(page) == {b["name"]: b["unmasked"] or [None] * 2 for b in record["blocks"]}


def test_the_sentence_counts_the_zeros_that_the_summary_counts(opened, addresses, records, tiny_world, tmp_path):
    subject = stirred(tiny_world, "three groups")
    subject.model.params["head.Q"][:] = 0  # as before the first step: nothing comes back to head.P
    record = inspect(subject)
    write_page(record, tmp_path / "page.html")
    addresses["fresh heads"] = (tmp_path / "page.html").as_uri()
    for name, shown_record in (("fresh heads", record), ("inspection", records["inspection"])):
        blocks = [block for block in shown_record["blocks"] if block["owner"] is not None and block["gradient"]]
        assert f"all {2 * len(blocks)} cells for other groups are exactly 0" in shown_record["summary"][1]
        sentence = opened(name).inner_text("#finding")
        assert f"all {2 * len(blocks)} numbers are exactly 0" in sentence
        assert ("not counting blocks without a gradient" in sentence) == (name == "fresh heads")


def test_a_baseline_has_no_mask_to_switch(opened, addresses, tiny_world, tmp_path):
    write_page(inspect(stirred(tiny_world, "baseline")), tmp_path / "page.html")
    addresses["baseline"] = (tmp_path / "page.html").as_uri()
    page = opened("baseline")
    assert page.get_by_role("switch").count() == 0 and page.locator('[data-node^="head."]').count() == 0
    assert page.locator("#groups, #measures").evaluate_all("all => all.map(e => e.hidden)") == [True, True]
    assert "all groups share every block" in page.inner_text("#finding")
    assert page.locator('[data-edge="user.2>score"]').get_attribute("class") == "edge shared"

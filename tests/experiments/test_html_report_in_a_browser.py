"""The report in headless Chromium: it works from a file, on a phone, in the dark, by keyboard; nothing is fetched."""

from itertools import pairwise

import pytest
from browsers import DESKTOP, PHONE
from made_up_experiments import EVIL, made_up_record

from twotower.experiments.report.html import write_report

pytest.importorskip("jinja2", reason="the report needs jinja2: pip install -e '.[report]'")
pytest.importorskip("matplotlib", reason="the report needs matplotlib: pip install -e '.[report]'")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(made_up_record(), path)
    return path.as_uri()


@pytest.fixture
def opened(browser, address):
    """Open the report in a context of its own; at the end it must have said and fetched nothing."""
    contexts, complaints, requests = [], [], []

    def opened(**settings):
        contexts.append(browser.new_context(**{"viewport": DESKTOP, **settings}))
        contexts[-1].set_default_timeout(60_000)
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
    assert set(requests) <= {address}


def column(page, table: str, index: int) -> list[str]:
    """The shown texts of one column."""
    return page.locator(f"#{table} tbody tr:visible > :nth-child({index})").all_inner_texts()


def background(page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_a_page_opens_from_a_file_without_a_word(opened):
    page = opened()
    assert page.title() == "made-up – twotower experiment"
    assert page.locator("h1").inner_text() == "made-up"


def test_no_id_comes_twice_and_every_reference_leads_somewhere(opened):
    page = opened()
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    wanted = page.evaluate(
        """[...document.querySelectorAll('[aria-labelledby],[aria-controls],[for],a[href^="#"]')].map(e =>
        e.getAttribute('aria-labelledby') || e.getAttribute('aria-controls') || e.getAttribute('for')
        || e.getAttribute('href').slice(1))"""
    )
    assert set(wanted) <= set(ids)


def test_every_section_is_a_landmark_with_a_heading_and_a_link(opened):
    page = opened()
    for role in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1
    sections = page.locator("main section").all()
    assert len(sections) == 12
    for section in sections:
        name = section.locator("h2").inner_text()
        assert page.get_by_role("region", name=name, exact=True).count() == 1
        assert page.get_by_role("navigation").get_by_role("link", name=name, exact=True).count() == 1


def test_headings_skip_no_level(opened):
    levels = opened().evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(e => Number(e.tagName[1]))")
    assert levels[0] == 1 and all(b - a <= 1 for a, b in pairwise(levels))


def test_the_first_tab_stop_skips_to_the_report(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_tables_sort_by_keyboard_and_say_so(opened):
    page = opened()
    heading = page.locator("#gain-table-0 thead th", has_text="Average")
    place = 1 + page.locator("#gain-table-0 thead th").all_inner_texts().index(heading.inner_text())
    assert heading.get_attribute("aria-sort") == "none"
    heading.locator("button").focus()
    for key, direction in (("Enter", "descending"), (" ", "ascending")):
        page.keyboard.press(key)
        values = [float(text.replace("−", "-")) for text in column(page, "gain-table-0", place)]
        assert len(values) == 8 and values == sorted(values, reverse=direction == "descending")
        assert heading.get_attribute("aria-sort") == direction
        assert page.locator("#announcer").text_content() == f"Sorted by Average, {direction}"
    page.locator("#gain-table-0 thead button").first.press("Enter")
    assert column(page, "gain-table-0", 1) == sorted(column(page, "gain-table-0", 1))
    assert heading.get_attribute("aria-sort") == "none"


def test_undefined_cells_stay_last_either_way(opened):
    page = opened()
    page.get_by_label("Show the 4 minor territories as well").first.check()
    heading = page.locator("#gain-table-0 thead th", has_text="Average")
    for _ in range(2):
        heading.locator("button").press("Enter")
        assert column(page, "gain-table-0", 1)[-1].startswith("TV")


def test_minor_territories_are_folded_until_asked_for(opened):
    page = opened()
    box = page.get_by_label("Show the 4 minor territories as well").first
    assert len(column(page, "gain-table-0", 1)) == 8
    box.press(" ")
    assert len(column(page, "gain-table-0", 1)) == 12
    box.press(" ")
    assert len(column(page, "gain-table-0", 1)) == 8


def test_the_explorer_shows_the_records_numbers(opened):
    page, record = opened(), made_up_record()
    page.get_by_label("Territory", exact=True).select_option("DE")
    page.get_by_label("Title", exact=True).select_option("tt0007")
    rows = [row.split("\t") for row in page.locator("#explorer-body tr").all_inner_texts()]
    shown = [[int(cell.split(" ")[0]) for cell in row[1:]] for row in rows]
    counts = record["histograms"]["counts"]["DE"]["tt0007"]
    assert [list(column) for column in zip(*shown, strict=True)] == counts
    share = f"({100 * counts[2][0] / sum(counts[2]):.1f} %)"
    assert rows[0][0] == "0.00 to 0.05" and rows[0][3].endswith(share)
    assert page.locator("#explorer-head").inner_text().split() == ["Score", *record["histograms"]["methods"]]
    facts = page.locator("#explorer-facts").inner_text()
    assert EVIL in facts and "a global title" in facts and f"{sum(counts[0])} test users here" in facts


def test_the_explorer_is_drawn_anew_and_has_a_name(opened):
    page = opened()
    lines = page.locator("#explorer-figure path")
    assert lines.count() == 3
    assert len({line.get_attribute("stroke-dasharray") for line in lines.all()}) == 3  # not by colour alone
    before = lines.last.get_attribute("d")
    page.get_by_label("Title", exact=True).press("ArrowDown")
    assert lines.last.get_attribute("d") != before
    before = lines.last.get_attribute("d")
    page.get_by_label("Square-root scale").check()
    assert lines.last.get_attribute("d") != before
    assert page.locator("#explorer-figure svg[role=img] title").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_scrolling_sideways(opened, scheme):
    page = opened(viewport=PHONE, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    for region in page.locator(".scroll").all():
        assert region.get_attribute("tabindex") == "0" and region.get_attribute("aria-labelledby")


def test_on_a_phone_a_gain_is_seen_beside_its_territory(browser, tmp_path):
    """The heading of a row leaves room for its first number, and stays when the table is moved to the last one."""
    record = made_up_record()
    once = [{**gains, "by_period": gains["by_period"][:1]} for gains in record["gains"]]
    for gains in (once, record["gains"]):
        n = len(gains[0]["by_period"])
        scores = {name: {**of, "by_period": of["by_period"][:n]} for name, of in record["pr_auc"].items()}
        shorter = {"gains": gains, "periods": record["periods"][:n], "pr_auc": scores}
        write_report({**record, **shorter}, tmp_path / "report.html")
        page = browser.new_page(viewport=PHONE)
        page.goto((tmp_path / "report.html").as_uri())
        page.locator(".scroll", has=page.locator("#gain-table-0")).evaluate("e => { e.scrollLeft = e.scrollWidth }")
        for rows in ("tbody tr", "tfoot tr"):
            row = page.locator(f"#gain-table-0 {rows}").first
            heading, last = row.locator("th").bounding_box(), row.locator("td").last.bounding_box()
            assert heading["x"] >= 0 and heading["x"] + heading["width"] < last["x"]
        page.locator(".scroll", has=page.locator("#gain-table-0")).evaluate("e => { e.scrollLeft = 0 }")
        box = page.locator("#gain-table-0 tfoot td").first.bounding_box()
        assert box["x"] + box["width"] < PHONE["width"]
        page.close()


def test_a_wide_table_scrolls_by_keyboard_in_its_own_region(opened):
    page = opened(viewport=PHONE)
    region = page.locator(".scroll", has=page.locator("#gain-table-0"))
    region.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("e => e.scrollLeft > 0", arg=region.element_handle())
    assert page.evaluate("scrollX") == 0


def test_dark_mode_changes_page_and_figures(opened):
    light, dark = opened(color_scheme="light"), opened(color_scheme="dark")
    assert background(light) != background(dark)

    def text(page):
        return page.evaluate("getComputedStyle(document.querySelector('svg.drawing text')).fill")

    assert text(light) != text(dark)
    drawn = dark.evaluate(
        "[...document.querySelectorAll('svg.drawing *')].flatMap(e => [e.style.fill, e.style.stroke]).filter(Boolean)"
    )
    assert all(color == "none" or color.startswith("var(--") for color in drawn)


def test_without_script_all_rows_and_figures_are_there(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator("#gain-table-0 tbody tr:visible").count() == 12
    assert page.locator("svg.drawing:visible").count() == 7
    assert "needs JavaScript" in page.locator("#histograms").inner_text()
    context.close()


def test_paper_gets_light_colours_and_no_navigation(opened):
    page = opened(color_scheme="dark")
    page.emulate_media(media="print")
    assert background(page) == "rgb(255, 255, 255)"
    assert not page.get_by_role("navigation").is_visible()

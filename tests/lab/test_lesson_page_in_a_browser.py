"""The pages of lessons in headless Chromium: by link and keyboard, on a phone and a projector, in the dark."""

from itertools import pairwise

import pytest
from browsers import DESKTOP, PHONE, PROJECTOR
from made_up_lessons import EVIL

pages = pytest.importorskip("lesson_pages", reason="pages need jinja2 and matplotlib: pip install -e '.[report]'")
textbook, made, records, addresses, opened = (
    pages.textbook,
    pages.made,
    pages.records,
    pages.addresses,
    pages.opened,
)
focused, matrix, node = pages.focused, pages.matrix, pages.node


def test_a_link_leads_to_what_was_seen(opened):
    page = opened("inspection")
    page.get_by_role("switch").click()
    page.locator('td[data-block="head.Q[1]"][data-group="2"] button').click()
    seen = page.evaluate("location.hash")
    assert "mask=off" in seen and "group=2" in seen
    again = opened("inspection", seen)
    assert again.inner_text("#finding") == page.inner_text("#finding")
    assert matrix(again) == matrix(page)
    page = opened("trace", "#step=33&mask=off&group=1&theme=dark&type=large")
    assert page.input_value("#slider") == "33" and page.get_attribute("#mask", "aria-checked") == "false"
    assert page.evaluate("[document.documentElement.dataset.theme, document.documentElement.dataset.type]") == [
        "dark",
        "large",
    ]


@pytest.mark.parametrize("name", ["inspection", "trace"])
def test_an_address_of_nonsense_opens_the_page(opened, name):
    page = opened(name, "#step=9999&mask=maybe&group=77")
    for fragment in ("#step=-3&group=x&row=nobody&block=none", "#%%%=1&=&step", "#group=&theme=red"):
        pages.go_to(page, fragment)
    assert page.locator("svg.network .node").count() > 5
    assert page.get_attribute("#mask", "aria-checked") == "true"


@pytest.mark.parametrize("name", ["evil-inspection", "evil-trace"])
def test_hostile_names_are_shown_as_text(opened, name):
    page = opened(name)
    assert page.locator("img, main script, main b b").count() == 0
    assert EVIL in page.locator("main").text_content()


@pytest.mark.parametrize("name", ["inspection", "trace", "many", "evil-inspection", "evil-trace"])
def test_a_phone_needs_no_scrolling_sideways(opened, name):
    page = opened(name, viewport=PHONE)
    for fragment in ("", "#group=1&theme=dark", "#mask=off", "#type=large&mask=off", "#step=2&row=plain"):
        pages.go_to(page, fragment)
        assert page.evaluate("document.documentElement.scrollWidth") == 360, fragment
    for region in page.locator(".scroll:visible").all():
        assert region.get_attribute("tabindex") == "0"
        assert region.get_attribute("aria-labelledby") or region.get_attribute("aria-label")


@pytest.mark.parametrize("type", ["", "large"])
@pytest.mark.parametrize("name", ["inspection", "trace"])
def test_on_a_phone_the_buttons_of_the_header_need_no_row_of_their_own(opened, name, type):
    page = opened(name, f"#type={type}", viewport=PHONE)
    beside = page.locator("h1" if type else ".kicker").bounding_box()
    buttons = [page.locator(f"#{button}").bounding_box() for button in ("size", "theme")]
    for box in buttons:
        assert box["x"] >= beside["x"] + beside["width"] and box["x"] + box["width"] <= PHONE["width"]
        assert beside["y"] <= box["y"] + box["height"] / 2 <= beside["y"] + beside["height"]
    words = page.locator("h1").evaluate("""h1 => h1.textContent.split(' ').map(word => {
        const range = document.createRange(), start = h1.textContent.indexOf(word);
        range.setStart(h1.firstChild, start); range.setEnd(h1.firstChild, start + word.length);
        return range.getClientRects().length })""")
    assert set(words) == {1}, "a word of the title is broken"


NAMES = """all => all.map(table => {
    const name = table.querySelector('thead .group-name'), region = table.closest('.scroll');
    const columns = [...table.querySelectorAll('thead th:has(.group-name)')].map(th => th.getBoundingClientRect());
    return { named: name.getBoundingClientRect().width > 1,
             fits: columns.at(-1).right <= region.getBoundingClientRect().right + 1,
             hint: name.parentElement.title,
             legend: region.parentElement.querySelector('.legend:not([hidden])')?.innerText } })"""


def test_groups_whose_names_do_not_fit_are_numbered_and_a_legend_says_which_is_which(opened, addresses, tmp_path):
    record = pages.made_up_inspection(groups=8, name="Country")
    for block in record.blocks:
        block.by_group = [norm and 0.00123 for norm in block.by_group]
    pages.write_page(record, tmp_path / "page.html")
    addresses["eight groups"] = (tmp_path / "page.html").as_uri()
    tables = "#matrix-table, #conflict-table, #leak-table, #dead-table"
    page = opened("eight groups", viewport={"width": 1280, "height": 800})
    names = page.locator(tables).evaluate_all(NAMES)
    assert [table["fits"] for table in names] == [True] * 4
    matrix, *_ = names
    assert not matrix["named"] and matrix["hint"] == "group 0: Country 0"
    assert matrix["legend"].startswith("Groups: 0 Country 0 · 1 Country 1 ·")
    page = opened("inspection", viewport={"width": 1280, "height": 800})
    names = page.locator(tables).evaluate_all(NAMES)
    assert all(table["named"] and table["fits"] and not table["legend"] for table in names)
    page.get_by_role("button", name="Large type").click()
    pages.drawn(page)
    assert all(table["fits"] for table in page.locator(tables).evaluate_all(NAMES))


@pytest.mark.parametrize("name", ["inspection", "trace"])
def test_a_projector_gets_larger_letters_and_no_scrolling_sideways(opened, name):
    sizes = []
    for viewport, fragment in ((DESKTOP, ""), (PROJECTOR, ""), (PROJECTOR, "#type=large")):
        page = opened(name, fragment, viewport=viewport)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        sizes.append(page.evaluate("parseFloat(getComputedStyle(document.querySelector('svg.network')).fontSize)"))
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("name", ["inspection", "trace"])
def test_dark_by_the_system_or_by_the_button(opened, name):
    def ground(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light, dark = opened(name, color_scheme="light"), opened(name, color_scheme="dark")
    day, night = ground(light), ground(dark)
    assert day != night
    light.get_by_role("button", name="Dark").click()
    dark.get_by_role("button", name="Dark").click()
    assert (ground(light), ground(dark)) == (night, day)
    assert light.get_by_role("button", name="Dark").get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize("name", ["inspection", "trace"])
def test_landmarks_headings_and_references_hold(opened, name):
    page = opened(name)
    for role in ("banner", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(e => Number(e.tagName[1]))")
    assert levels[0] == 1 and all(b - a <= 1 for a, b in pairwise(levels))
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    wanted = page.evaluate(
        """[...document.querySelectorAll('[aria-labelledby],[aria-describedby],[for]')].map(e =>
        e.getAttribute('aria-labelledby') || e.getAttribute('aria-describedby') || e.getAttribute('for'))"""
    )
    assert set(wanted) <= set(ids)
    assert page.locator("[role=status]").count() >= 1


@pytest.mark.parametrize("name", ["inspection", "trace"])
def test_tab_goes_through_the_page_in_few_stops_and_out_again(opened, name):
    page = opened(name)
    stops = []
    for _ in range(40):
        page.keyboard.press("Tab")
        stops.append(focused(page))
        if stops[-1].startswith("<body"):
            break
    assert stops[-1].startswith("<body"), "the focus never leaves the page"
    assert len(stops) == len(set(stops)) <= 26
    assert 'id="skip"' in stops[0]
    assert sum("data-node" in stop for stop in stops) == 1  # the figure is one stop, arrow keys go on


def test_the_skip_link_leads_to_the_page_and_keeps_the_address(opened):
    page = opened("trace", "#step=5")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    assert page.input_value("#slider") == "5"


def test_arrow_keys_walk_the_figure_and_the_matrix(opened):
    page = opened("inspection")
    assert node(page, "user.features").get_attribute("role") == "img"  # there is nothing to pick
    node(page, "user.1").focus()
    page.keyboard.press("ArrowUp")
    assert 'data-node="user.2"' in focused(page)
    page.keyboard.press("ArrowRight")
    assert 'data-node="title.2"' in focused(page)
    page.keyboard.press("Enter")
    assert node(page, "title.2").get_attribute("aria-pressed") == "true"
    assert 'data-node="title.2"' in focused(page)
    page.keyboard.press("Escape")
    assert node(page, "title.2").get_attribute("aria-pressed") == "false"
    page.get_by_role("button", name="block user.beta1").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.parentElement.dataset.block") == "user.gamma1"
    assert page.locator("#group-chips input:checked").get_attribute("value") == "1"


def test_focus_is_visible(opened):
    page = opened("inspection")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_who_wants_no_motion_gets_none(opened):
    still, moving = (opened("inspection", reduced_motion=wish) for wish in ("reduce", "no-preference"))
    names = "getComputedStyle(document.querySelector('.flow.down')).animationName"
    assert still.evaluate(names) == "none" and moving.evaluate(names) != "none"


@pytest.mark.parametrize("name", ["inspection", "trace"])
def test_without_script_the_page_says_where_the_numbers_are(browser, addresses, name):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(addresses[name])
    assert "The same numbers are in the terminal" in page.locator("main").inner_text()
    context.close()

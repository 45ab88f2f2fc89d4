"""The pages of lessons in a browser, for their tests: how they are opened, and how their numbers are read."""

import pytest
from browsers import DESKTOP
from lab_records import from_json
from made_up_lessons import EVIL, made_up_inspection, made_up_trace
from textbook_inspection import Textbook, stirred

from twotower.core.serialisation import plain
from twotower.lab.attribution.inspection import inspect
from twotower.lab.attribution.record import Inspection
from twotower.lab.page import write_page as write
from twotower.lab.trace.record import Trace
from twotower.lab.trace.trace import trace

RECORDS = {
    "evil-inspection": lambda: made_up_inspection(name=EVIL),
    "evil-trace": lambda: made_up_trace(name=EVIL),
    "many": lambda: made_up_inspection(groups=12),
    "trace": lambda: trace(title_bias=True),
    "trace of group 1": lambda: trace(group=1),
}


@pytest.fixture(scope="module")
def textbook(tiny_world):
    return Textbook(stirred(tiny_world, "three groups"))


@pytest.fixture(scope="module")
def made(textbook):
    return {"inspection": inspect(textbook.subject), **{name: make() for name, make in RECORDS.items()}}


@pytest.fixture(scope="module")
def records(made):
    """The records as JSON has them."""
    return {name: plain(record) for name, record in made.items()}


@pytest.fixture(scope="module")
def addresses(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lessons")
    for name, record in made.items():
        write(record, folder / f"{name}.html")
    return {name: (folder / f"{name}.html").as_uri() for name in made}


def write_page(record, path, *mask) -> None:
    """Write the page of a record, or of one as JSON has it."""
    if isinstance(record, dict):
        record = from_json({"inspection": Inspection, "trace": Trace}[record["kind"]], record)
    write(record, path, *mask)


@pytest.fixture
def opened(browser, addresses):
    """Open a page in a context of its own; at the end it must have said and fetched nothing."""
    contexts, complaints, requests = [], [], []

    def opened(name, fragment="", **settings):
        settings = {"viewport": DESKTOP, "reduced_motion": "reduce", **settings}
        contexts.append(browser.new_context(**settings))
        contexts[-1].set_default_timeout(60_000)
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url.split("#")[0]))
        page.goto(addresses[name] + fragment)
        page.locator("svg.network").wait_for()
        drawn(page)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
    assert set(requests) <= set(addresses.values())


def drawn(page) -> None:
    """Wait until the page has been laid out: what watches sizes draws anew in the next frame, and may do so again."""
    page.evaluate("async () => { for (let n = 0; n < 4; n += 1) await new Promise(requestAnimationFrame) }")


def go_to(page, fragment: str) -> None:
    """Change what stands after # in the address, and wait until the page shows it."""
    page.evaluate(
        """fragment => new Promise(done => {
        const before = location.hash;
        addEventListener('hashchange', done, { once: true });
        location.hash = fragment;
        if (location.hash === before) done(); })""",
        fragment,
    )
    drawn(page)


def matrix(page) -> dict[str, list[float | None]]:
    """The numbers of the matrix, by block."""
    return page.evaluate(
        """Object.fromEntries([...document.querySelectorAll('#matrix-table tbody tr')].map(row =>
        [row.cells[0].textContent, [...row.querySelectorAll('td[data-block]')].map(cell =>
        'value' in cell.dataset ? Number(cell.dataset.value) : null)]))"""
    )


def node(page, name: str):
    return page.locator(f'svg.network [data-node="{name}"]')


def shown(page, name: str) -> float | None:
    """The number that stands on a block of the figure."""
    value = node(page, name).locator(".value").get_attribute("data-value")
    return None if value is None else float(value)


def table(page, name: str) -> list[list[float | None]]:
    """The numbers of a table beneath, null where a cell has none."""
    return page.evaluate(
        """id => [...document.querySelectorAll(`#${id} tbody tr`)].map(row => [...row.querySelectorAll('td')].map(
        cell => 'value' in cell.dataset ? Number(cell.dataset.value) : null))""",
        name,
    )


def focused(page) -> str:
    return page.evaluate("document.activeElement.outerHTML.slice(0, 300)")

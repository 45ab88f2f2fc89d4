"""The page: a record set into one template as data, with the scripts that draw it. Written whole or not at all."""

from pathlib import Path
from typing import Protocol

from twotower.core.serialisation import plain
from twotower.core.storage import try_file, write_file
from twotower.report.template import check_packages, rendered

HERE = Path(__file__).parent
NBSP = "\u00a0"  # a number stays with its noun
STYLES = ("page.css", "figure.css")
SHARED = ("elements.js", "state.js", "network.js", "layout.js", "figure.js")  # one script is made of them, in order
SCRIPTS = {
    "inspection": (*SHARED, "paths.js", "matrix.js", "panels.js", "inspection.js"),
    "trace": (*SHARED, "arrays.js", "work.js", "stepper.js", "trace.js"),
}


class Record(Protocol):
    """A record with a page: a dataclass."""

    kind: str
    twotower: str

    def named(self) -> str:
        """What it is of."""

    def sizes(self) -> list[str]:
        """What the numbers are of, in a few words each."""


def check_place(path: Path) -> None:
    """Errors: InputError when a page could not be made, or not be written there. To be asked before the work."""
    check_packages(path, "jinja2")
    try_file(path)


def write_page(record: Record, path: Path, mask: str = "on") -> None:
    """Write the page of a record to ``path``, whole or not at all; ``mask`` says how it opens.

    Errors: as ``check_place``.
    """
    check_place(path)
    write_file(path, page_text(record, mask))


def page_text(record: Record, mask: str = "on") -> str:
    """The page as text. The record is in it as data, every number as it is; the scripts show it."""
    parts = {
        "record": plain(record),
        "kind": record.kind,
        "mask": mask,
        "css": [(HERE / name).read_text("utf-8") for name in STYLES],
        "js": [(HERE / name).read_text("utf-8") for name in SCRIPTS[record.kind]],
        "facts": [words.replace(" ", NBSP) for words in record.sizes()],
        "name": record.named(),
        "version": record.twotower,
    }
    return rendered(HERE, parts)

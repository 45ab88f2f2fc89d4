"""The page: a record set into one template as data, with the scripts that draw it. Written whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twotower.core.errors import InputError
from twotower.core.serialisation import plain
from twotower.core.storage import try_file, write_file

HERE = Path(__file__).parent
NBSP = "\u00a0"  # a number stays with its noun
KINDS = ("inspection", "trace")
STYLES = ("page.css", "figure.css")
SHARED = ("elements.js", "state.js", "network.js", "layout.js", "figure.js")  # one script is made of them, in order
SCRIPTS = {
    "inspection": (*SHARED, "paths.js", "matrix.js", "panels.js", "inspection.js"),
    "trace": (*SHARED, "arrays.js", "work.js", "stepper.js", "trace.js"),
}

Record = Mapping[str, Any]


def check_place(path: Path) -> None:
    """Errors: InputError when a page could not be made, or not be written there. To be asked before the work."""
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise InputError(f"{path}: a page needs {error.name}: pip install 'twotower[report]'") from None
    try_file(path)


def write_page(record: Record, path: Path, mask: str = "on") -> None:
    """Write the page of an inspection record or of a trace record to ``path``, whole or not at all.

    ``mask`` says how it opens. Errors: as ``check_place``; ValueError for another record.
    """
    check_place(path)
    write_file(path, page_text(record, mask))


def page_text(record: Record, mask: str = "on") -> str:
    """The page as text. The record is in it as data, every number as it is; the scripts show it."""
    import jinja2

    kind = record.get("kind")
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}: a page shows a record of kind {' or '.join(KINDS)}")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # arrays and groups keep their order
    parts = {
        "record": plain(record),
        "kind": kind,
        "mask": mask,
        "css": [(HERE / name).read_text("utf-8") for name in STYLES],
        "js": [(HERE / name).read_text("utf-8") for name in SCRIPTS[kind]],
        "facts": facts(record),
        "name": str((record.get("subject") or {}).get("name") or "a tiny network"),
        "version": record.get("twotower"),
    }
    return environment.get_template("template.html.j2").render(parts)


def facts(record: Record) -> list[str]:
    """What the numbers are of, in a few words each. What the record does not state is left out."""
    subject, network = record.get("subject") or {}, record.get("network") or {}
    counted = [(subject, name) for name in ("pairs", "users", "titles")]
    words = [f"{place[name]:,}{NBSP}{name}" for place, name in counted if isinstance(place.get(name), int)]
    words += [f"{len(network[name])}{NBSP}{name}" for name in ("users", "titles", "groups") if network.get(name)]
    if subject.get("batch") is not None:
        words.insert(0, f"batch{NBSP}{subject['batch']}")
    if subject.get("trained") is not None:
        words.insert(0, "trained" if subject["trained"] else "untrained")
    return words + ([f"seed{NBSP}{record['seed']}"] if record.get("seed") is not None else [])

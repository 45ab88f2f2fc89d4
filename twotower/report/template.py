"""Pages from templates of jinja2, an optional package."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path

from twotower.core.errors import InputError

TEMPLATE = "template.html.j2"


def check_packages(path: Path, *names: str) -> None:
    """Errors: InputError, with the page's path, when a package that it needs is not installed."""
    try:
        for name in names:
            importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{path}: a page needs {error.name}: pip install 'twotower[report]'") from None


def rendered(folder: Path, parts: Mapping[str, object], **functions: Callable[..., str]) -> str:
    """The template of a folder with its parts and functions. What it names and is not there is an error."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # methods, territories, arrays keep their order
    environment.globals.update(functions)
    return environment.get_template(TEMPLATE).render(parts)

"""Approved output: a test compares a text with a file in ``tests/snapshots``, which ``--update-snapshots`` rewrites."""

import re
from collections.abc import Mapping
from difflib import unified_diff
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
SNAPSHOTS = TESTS / "snapshots"


class Snapshot:
    """Compares texts of one test with their approved files."""

    def __init__(self, module: Path, test: str, paths: Mapping[str, str], update: bool):
        self.folder = SNAPSHOTS / module.relative_to(TESTS).with_suffix("")
        self.test, self.paths, self.update = test, paths, update
        self.used: set[Path] = set()

    def __call__(self, text: str, name: str = "", hide: Mapping[str, str] | None = None) -> None:
        """Fail unless ``text`` is the approved one.

        ``name`` tells several snapshots of a test apart. ``hide`` maps regular expressions to what takes the place of
        their matches, for what differs from run to run, such as seconds. Temporary paths are hidden always, and spaces
        at the end of a line do not count.
        """
        file = self.folder / (re.sub(r"[^\w.-]+", "-", "-".join(filter(None, (self.test, name)))).strip("-") + ".txt")
        assert file not in self.used, f"{file.name} is compared twice: give each snapshot of a test a name"
        self.used.add(file)
        text = self.normalised(text, hide or {})
        if self.update:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
            return
        place = f"tests/snapshots/{file.relative_to(SNAPSHOTS)}"
        if not file.exists():
            pytest.fail(f"no {place}: write it with pytest --update-snapshots, and read it before you commit it")
        approved = file.read_text("utf-8")
        if text != approved:
            change = "\n".join(unified_diff(approved.splitlines(), text.splitlines(), "approved", "now", lineterm=""))
            pytest.fail(f"not as approved in {place}; pytest --update-snapshots accepts it\n{change}", pytrace=False)

    def normalised(self, text: str, hide: Mapping[str, str]) -> str:
        """The text without what differs from run to run."""
        for path, stand_in in self.paths.items():
            text = text.replace(path, stand_in)
        for pattern, stand_in in hide.items():
            text = re.sub(pattern, stand_in, text)
        return "".join(f"{line.rstrip()}\n" for line in text.splitlines())

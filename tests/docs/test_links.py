"""Every link of every page leads to a file, and its fragment to a heading of that file."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]+`", re.MULTILINE | re.DOTALL)
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "benchmarks" / "README.md"])


def anchors(page: Path) -> set[str]:
    """The fragments of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    text = CODE.sub("", page.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if fragment and file.suffix == ".md":
            assert fragment in anchors(file), target


def test_every_page_is_reached_from_the_readme():
    reached, new = set(), {ROOT / "README.md"}
    while new:
        page = new.pop()
        reached.add(page)
        links = re.findall(r"\]\(([^)\s#]+\.md)[^)]*\)", CODE.sub("", page.read_text("utf-8")))
        new |= {(page.parent / link).resolve() for link in links if "://" not in link} - reached
    assert set(PAGES) <= reached, sorted(str(page.relative_to(ROOT)) for page in set(PAGES) - reached)


FOLDERS = ("twotower", "tests", "benchmarks", "docs", "examples")
SOURCES = [path for folder in FOLDERS for end in ("py", "sh") for path in sorted((ROOT / folder).rglob(f"*.{end}"))]
SOURCES += [ROOT / "cli.py"]


def test_a_page_named_in_code_exists():
    assert len(SOURCES) > 300
    for path in SOURCES:
        for name in re.findall(r"\bdocs/[\w./-]+\.(?:md|svg)", path.read_text("utf-8")):
            assert (ROOT / name).exists(), f"{path} names {name}"


def test_a_file_that_a_page_names_exists():
    files = [str(path.relative_to(ROOT)) for path in SOURCES]
    for page in PAGES:
        if page.name == "CHANGELOG.md":
            continue  # it names what was
        for name in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", page.read_text("utf-8")):
            assert any(file == name or file.endswith(f"/{name}") for file in files), f"{page.name} names {name}"

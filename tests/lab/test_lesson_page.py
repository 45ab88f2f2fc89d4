"""The page of a lesson as text: complete, safe, one file, and the same for the same record."""

import configparser
import json
import re
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from html_pages import Outline, luminance
from made_up_lessons import EVIL, made_up_inspection, made_up_trace
from subjects import stirred_subject

from twotower.core.errors import InputError
from twotower.core.serialisation import plain
from twotower.lab.attribution.inspection import inspect
from twotower.lab.page import page, page_text, write_page
from twotower.lab.trace.trace import trace

pytest.importorskip("jinja2", reason="the page needs jinja2: pip install -e '.[report]'")

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "twotower" / "lab" / "page"
SCRIPTS = sorted(HOME.glob("*.js"))
MADE_UP = {"inspection": made_up_inspection, "trace": made_up_trace}


def data_of(text: str) -> dict:
    """The record that the page holds."""
    return json.loads(re.search(r'<script type="application/json" id="record">(.*?)</script>', text, re.DOTALL)[1])


@pytest.fixture(scope="module")
def records(tiny_world) -> dict:
    return {"inspection": inspect(stirred_subject(tiny_world)), "trace": trace(title_bias=True)}


@pytest.mark.parametrize("kind", ["inspection", "trace"])
def test_every_number_of_the_record_is_in_the_page_as_it_is(records, kind):
    assert data_of(page_text(records[kind])) == plain(records[kind])


@pytest.mark.parametrize("kind", MADE_UP)
def test_tags_nest_and_no_id_comes_twice(kind):
    outline = Outline(page_text(MADE_UP[kind]()))
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))


@pytest.mark.parametrize("kind", MADE_UP)
def test_nothing_is_fetched(kind):
    text = page_text(MADE_UP[kind]())
    assert all(link.startswith(("#", "data:")) for link in Outline(text).links)
    assert "default-src 'none'" in text
    assert not re.findall(r"@import|url\((?!#)|\bfetch\(|XMLHttpRequest|import\(|\bimport .* from", text)


@pytest.mark.parametrize("kind", MADE_UP)
def test_the_same_record_gives_the_same_bytes(kind):
    assert page_text(MADE_UP[kind]()) == page_text(MADE_UP[kind]())


@pytest.mark.parametrize("kind", MADE_UP)
def test_hostile_names_stay_text(kind):
    record = MADE_UP[kind](name=EVIL)
    text = page_text(record)
    assert Outline(text).scripts == 2  # the data and the script
    assert text.count("</script>") == 2
    assert "<img" not in text and "<b>\"'" not in text
    assert data_of(text) == plain(record)


def glued(facts: str) -> str:
    """Numbers and their nouns, which no line parts."""
    return re.sub(r"(?<=\w) (?=\w)", "\u00a0", facts)


def test_the_subject_says_what_the_numbers_are_of(records):
    text = page_text(records["inspection"])
    subject = records["inspection"].subject
    facts = f"untrained · batch 1 · {subject.pairs} pairs · {subject.users} users · {subject.titles} titles"
    assert glued(facts) in text
    assert glued("3 users · 2 titles · 2 groups · seed 0") in page_text(records["trace"])


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "lesson.html"
    write_page(made_up_trace(), target)
    assert target.read_text("utf-8") == page_text(made_up_trace())
    with pytest.raises(InputError, match=r"nowhere/lesson\.html: cannot write"):
        write_page(made_up_trace(), tmp_path / "nowhere" / "lesson.html")
    assert [path.name for path in tmp_path.iterdir()] == ["lesson.html"]


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(InputError, match=r"needs jinja2: pip install 'twotower\[report\]'"):
        write_page(made_up_trace(), tmp_path / "lesson.html")
    assert not list(tmp_path.iterdir())


def test_template_styles_and_scripts_are_installed_and_used():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    patterns = [pattern.strip() for pattern in settings["options.package_data"]["twotower.lab.page"].split(",")]
    files = [path.name for path in HOME.iterdir() if path.is_file() and path.suffix != ".py"]
    assert files and all(any(fnmatch(name, pattern) for pattern in patterns) for name in files)
    assert all(len((HOME / name).read_text("utf-8").splitlines()) <= 300 for name in files)
    used = {"template.html.j2", *page.STYLES, *(name for names in page.SCRIPTS.values() for name in names)}
    assert set(files) == used


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_make_no_markup_of_text(path):
    danger = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setTimeout\(['\"]"
    assert not re.findall(danger, path.read_text("utf-8"))


def test_contrast_suffices_in_light_in_dark_and_on_paper():
    blocks = re.findall(r":root[^{]*\{(.*?)\}", (HOME / "page.css").read_text("utf-8"), re.DOTALL)
    modes = [dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6})", block)) for block in blocks]
    assert len(modes) == 3
    for mode in modes:
        for ground in ("paper", "raised"):
            for name in ("ink", "muted", "good", "bad", "other"):
                pair = (luminance(mode[name]), luminance(mode[ground]))
                assert (max(pair) + 0.05) / (min(pair) + 0.05) >= 4.5, f"{name} on {ground}: {mode}"


def test_the_colours_are_those_of_the_report():
    house = (ROOT / "twotower" / "experiments" / "report" / "html" / "page.css").read_text("utf-8")
    for name, color in re.findall(r"--(\w+): (#[0-9a-f]{6})", (HOME / "page.css").read_text("utf-8")):
        assert f"--{name}: {color}" in house

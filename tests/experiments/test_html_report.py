"""The report as text: whole for whole records, smaller for smaller ones, and safe whatever the data say."""

import configparser
import json
import math
import re
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from html_pages import Outline, luminance
from made_up_experiments import EVIL, METHODS, made_up_record

from twotower.core.errors import InputError
from twotower.core.formatting import signed
from twotower.experiments.report import paper
from twotower.experiments.report.html import figures, page_text, write_report
from twotower.experiments.report.html.page import headlines
from twotower.experiments.report.wording import as_of, main_gains
from twotower.metrics.recommended import RANKING_METRICS

pytest.importorskip("jinja2", reason="the report needs jinja2: pip install -e '.[report]'")
pytest.importorskip("matplotlib", reason="the report needs matplotlib: pip install -e '.[report]'")

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "twotower" / "experiments" / "report" / "html"
DASH = "–"


@pytest.fixture
def no_drawings(monkeypatch):
    """Figures take most of the time, and say nothing of tables."""
    monkeypatch.setattr(figures, "drawn", lambda draw, name, caption, height: f'<svg id="{name}"></svg>')


@pytest.fixture(scope="module")
def page() -> str:
    return page_text(made_up_record())


def row_of(page: str, table: str, heading: str) -> str:
    """The text of the table's row that starts so."""
    body = re.search(rf'<table id="{table}".*?</table>', page, re.DOTALL)[0]
    rows = [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in re.findall(r"<tr.*?</tr>", body, re.DOTALL)]
    return next(row for row in rows if row.startswith(heading))


def test_a_report_has_every_section(page):
    names = re.findall(r'<section id="([^"]+)" aria-labelledby="\1-heading">', page)
    expected = "summary gains rankings territories titles histograms bias calibration distances paper configuration"
    assert names == [*expected.split(), "data"]
    assert all(f'href="#{name}"' in page for name in names)


def test_tags_nest_and_no_id_comes_twice(page):
    outline = Outline(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))


def test_nothing_is_fetched(page):
    assert all(link.startswith(("#", "data:")) for link in Outline(page).links)
    assert "default-src 'none'" in page
    assert not re.findall(r"@import|url\((?!#)", page)


def test_the_same_record_gives_the_same_bytes(page):
    assert page_text(made_up_record()) == page


def test_hostile_names_stay_text(page):
    outline = Outline(page)
    assert outline.scripts == 2  # the data and the script
    assert EVIL in outline.text
    assert "<script>alert" not in page


def test_every_text_of_the_record_is_escaped(no_drawings):
    def spoiled(value):
        if isinstance(value, dict):
            return {key: spoiled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [spoiled(item) for item in value]
        kept = {*METHODS, *RANKING_METRICS, "gini", "coverage", "local", "global"}
        kept |= {"better", "worse", "undecided", "too small"}
        return f'<b a="{value}">&' if isinstance(value, str) and value not in kept else value

    record = spoiled(made_up_record())
    codes = [t["code"] for t in record["territories"]]
    shown = record["histograms"]  # keys follow the names
    shown["counts"] = {
        codes[i]: dict(zip([t["id"] for t in record["titles"]], by_title.values(), strict=True))
        for i, by_title in enumerate(shown["counts"].values())
    }
    page = page_text(record)
    assert "<b a=" not in page.replace("\\u003cb a=", "")
    assert Outline(page).open == []


def test_the_explorers_data_are_the_records(page):
    data = json.loads(re.search(r'id="explorer-data">(.*?)</script>', page, re.DOTALL)[1])
    record = made_up_record()
    assert data["counts"] == record["histograms"]["counts"]
    assert [method["name"] for method in data["methods"]] == record["histograms"]["methods"]
    assert data["titles"]["tt0007"]["name"] == EVIL
    assert data["first"] == ["US", "tt0000"]


def test_the_page_states_the_day_of_the_recommendations(page):
    assert as_of(made_up_record()) in Outline(page).text
    assert "Recommendations are computed as of day 60" in page


def test_gains_stand_in_their_rows(page):
    record = made_up_record()
    gains = record["gains"][0]
    row = row_of(page, "gain-table-0", "GB")
    for value in (gains["by_period"][0][1], gains["average"][1], gains["low"][1], gains["high"][1]):
        assert signed(value) in row
    assert gains["verdict"][1] in row


def test_calibration_per_territory_stands_beside_its_support(page):
    territory = made_up_record()["territories"][1]
    support = f"{territory['test_pairs']:,} {territory['test_positives']:,}"
    assert row_of(page, "calibration-territory-ece", "GB") == " ".join(
        ["GB United Kingdom", support, *["0.0312 ± 0.0020"] * 4]
    )
    assert row_of(page, "calibration-territory-excess", "DE").endswith(" 0.0000 ± 0.0020")
    assert row_of(page, "calibration-territory-excess", "PL").endswith(" −0.0156 ± 0.0020")
    assert "too small to evaluate" in row_of(page, "calibration-territory-ece", "TV")
    bias = page[page.index('<section id="bias"') : page.index('<section id="calibration"')]
    table = re.search(r'<table id="calibration-territory-ece" class="sortable">.*?</table>', bias, re.DOTALL)[0]
    assert table.count('class="minor"') == 4 and table.index("Russia") < table.index('class="minor"')


def test_popularity_bias_per_territory_has_its_spread(page, no_drawings):
    gini = made_up_record()["bias"]["baseline"]["territories"]["gini"][1]
    assert f"GB United Kingdom {gini:.4f} ± 0.0312" in row_of(page, "bias-0", "GB")
    same = made_up_record()
    same["bias"]["baseline"]["territory_spreads"]["gini"][1] = 5.55e-17  # of seeds that agree
    assert f"GB United Kingdom {gini:.4f} ± 0.0000" in row_of(page_text(same), "bias-0", "GB")


def test_a_territory_too_small_says_so(page):
    row = row_of(page, "gain-table-0", "TV")
    assert "too small to evaluate" in row and "× too small" in row
    assert row.count(DASH) >= 4


def test_means_have_their_sign_test_with_its_condition_and_all_pairs_stand_below(page):
    for label in ("Mean of the major territories", "Mean of all evaluated territories"):
        assert "sign test p = 0.070, if territories were independent" in row_of(page, "gain-table-0", label)
    row = row_of(page, "gain-table-0", "All pairs, one ranking per period")
    assert row.split()[6:] == ["+6.00", "+5.00", "to", "+7.00"]


def test_gains_of_all_titles_of_a_kind_stand_below_the_pairs(page):
    assert row_of(page, "kind-table", "local upsampled") == "local upsampled 4 2 +0.75 −3.50 to +6.25"
    assert "undefined: too few positives in the test" in row_of(page, "kind-table", "other baseline")


def test_the_top_says_better_worse_or_undecided():
    record = made_up_record()
    for gains, (low, high) in zip(record["gains"], [(1.0, 2.0), (-1.0, 2.0)], strict=False):
        gains["major"] |= {"low": low, "high": high}
    assert [headline["words"].split(";")[0] for headline in headlines(record)] == ["better", "undecided"]


def test_titles_that_cannot_be_set_side_by_side_are_not_passed_over(no_drawings):
    page = page_text({**made_up_record(), "title_pairs": []})
    assert "No major territory has a local and a global title with enough positives" in page


def test_undefined_cells_have_words(page):
    cells = re.findall(r"<t[dh][^>]*>(?:(?!</t[dh]>).)*?–</span>.*?</t[dh]>", page)
    assert cells and all('title="' in cell and "visually-hidden" in cell for cell in cells)


def test_main_comparisons_are_ours_against_the_baselines():
    record = made_up_record()
    assert [gains["baseline"] for gains in main_gains(record)] == ["baseline", "upsampled"]
    assert [gains["baseline"] for gains in main_gains({**record, "baselines": []})] == ["baseline"]


def test_further_comparisons_are_shown_too(page):
    assert "mtl over more-random" in row_of(page, "comparison-table", "mtl over more-random")
    assert 'id="further-table-0"' in page


def alone(record):
    """The record of an experiment with one method, without local titles."""
    record |= {key: {"mtl": record[key]["mtl"]} for key in ("pr_auc", "bias", "calibration")}
    record["methods"] = [method for method in record["methods"] if method["name"] == "mtl"]
    shown = record["histograms"]
    counts = {c: {t: [rows[2]] for t, rows in by.items()} for c, by in shown["counts"].items()}
    record["histograms"] = {**shown, "methods": ["mtl"], "counts": counts}
    empty = {"baselines": [], "gains": [], "title_pairs": [], "title_kinds": [], "distances": []}
    return record | empty


def test_one_method_alone_gives_a_page(no_drawings):
    page = page_text(alone(made_up_record()))
    assert Outline(page).open == []
    assert "gain-table-0" not in page and "nothing to compare it with" in page
    assert 'id="score-table"' in page and "explorer-data" in page and 'id="distances"' not in page


def test_without_histograms_there_is_no_explorer(no_drawings):
    record = made_up_record()
    record["histograms"]["counts"] = {}
    page = page_text(record)
    assert Outline(page).open == [] and 'id="explorer' not in page and 'href="#histograms"' not in page


def test_a_single_period_gives_averages_alone(no_drawings):
    record = made_up_record()
    gains = [{**gains, "by_period": gains["by_period"][:1]} for gains in record["gains"]]
    scores = {name: {**of, "by_period": of["by_period"][:1]} for name, of in record["pr_auc"].items()}
    page = page_text({**record, "periods": record["periods"][:1], "gains": gains, "pr_auc": scores})
    assert row_of(page, "gain-table-0", "US").startswith(f"US United States {signed(gains[0]['average'][0])} ")


def test_nothing_judged_gives_a_page(no_drawings):
    record = made_up_record()
    none = [None] * len(record["territories"])
    mean = {"mean": None, "low": None, "high": None, "won": 0, "evaluated": 0, "better": 0, "worse": 0, "sign_p": None}
    undefined = {name: none for name in ("average", "spread", "low", "high", "p", "p_adjusted")}
    gains = [
        {**g, **undefined, "by_period": [none] * 3, "verdict": ["too small"] * len(none), "major": mean, "all": mean}
        for g in record["gains"]
    ]
    assert "too small" in row_of(page_text({**record, "gains": gains}), "gain-table-0", "US")


def test_not_a_number_is_undefined(no_drawings):
    record = made_up_record()
    record["gains"][0]["average"][0] = math.nan
    assert "nan" not in row_of(page_text(record), "gain-table-0", "US").lower()


@pytest.mark.parametrize(
    ("days", "average"),
    [
        (paper.AGAINST_BASELINE, paper.AGAINST_BASELINE_AVERAGE),
        (paper.AGAINST_UPSAMPLED, paper.AGAINST_UPSAMPLED_AVERAGE),
    ],
)
def test_the_papers_averages_are_those_of_its_days(days, average):
    found = [sum(column) / 3 for column in zip(*days, strict=True)]
    assert found == pytest.approx(average, abs=0.02)  # the days are rounded


def test_the_paper_stands_beside_ours_with_a_warning(page):
    text = " ".join(Outline(page).text.split())
    assert paper.CANNOT_MATCH in text and "private data" in text
    assert row_of(page, "paper-gain-table", "T2 ") == "T2 +34.05 +65.27 +16.36 +38.56 +23.46 +20.36 +8.17 +17.33"


def test_a_report_is_written_whole_or_not_at_all(tmp_path, no_drawings):
    target = tmp_path / "report.html"
    record = made_up_record()
    write_report(record, target)
    assert target.read_text("utf-8") == page_text(record)
    with pytest.raises(InputError, match=r"nowhere/report\.html: cannot write"):
        write_report(record, tmp_path / "nowhere" / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_a_missing_extra_is_named(missing, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=rf"needs {missing}: pip install 'twotower\[report\]'"):
        write_report({}, tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_template_style_and_script_are_installed():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    patterns = [
        pattern.strip() for pattern in settings["options.package_data"]["twotower.experiments.report.html"].split(",")
    ]
    files = [path.name for path in HOME.iterdir() if path.is_file() and path.suffix != ".py"]
    assert files and all(any(fnmatch(name, pattern) for pattern in patterns) for name in files)
    assert all(len((HOME / name).read_text("utf-8").splitlines()) <= 300 for name in files)


def test_contrast_suffices_in_light_in_dark_and_on_paper():
    blocks = re.findall(r":root \{(.*?)\}", (HOME / "page.css").read_text("utf-8"), re.DOTALL)
    modes = [dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6})", block)) for block in blocks]
    assert len(modes) == 3
    for mode in modes:
        for ground in ("paper", "raised"):
            for name in ("ink", "muted", "good", "bad", "other"):
                light, dark = sorted((luminance(mode[name]), luminance(mode[ground])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{name} on {ground}: {mode}"

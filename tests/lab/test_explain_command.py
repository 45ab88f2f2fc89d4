"""``twotower explain`` as it is typed."""

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from lab_records import frozen_record, shown_by
from tiny_runs import MTL, failing_line, train

from twotower.cli import cli
from twotower.core.serialisation import json_text
from twotower.data.dataset import Dataset
from twotower.lab.explain.explanation import explain as explain_score
from twotower.lab.explain.record import Explanation, HiddenUnits
from twotower.lab.explain.tables import print_explanation, units_line
from twotower.serving.recommend import recommend

MODEL = MTL | {"territory_bias": True, "title_offsets": "territory"}


@pytest.fixture(scope="module")
def run(tiny_world, tmp_path_factory) -> str:
    return str(train(tiny_world, tmp_path_factory.mktemp("runs") / "mtl", MODEL).path)


@pytest.fixture(scope="module")
def baseline(tiny_world, tmp_path_factory) -> str:
    return str(train(tiny_world, tmp_path_factory.mktemp("runs") / "baseline", epochs=1).path)


def explain(*arguments) -> str:
    result = CliRunner().invoke(cli, ["explain", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def values(text: str, *labels: str) -> list[float]:
    """The last number of each line that begins with a label."""
    lines = [line.strip().replace("−", "-") for line in text.splitlines()]
    found = [next(line for line in lines if line.startswith(label)) for label in labels]
    return [float(re.findall(r"[-+]?\d+\.\d+", line)[-1]) for line in found]


def test_json_is_the_record(run, tiny_world):
    record = explain_score(run, Dataset.open(tiny_world), "77", "#11", top=2)
    assert explain(run, "--user", 77, "--title", "#11", "--top", 2, "--json") == json_text(record) + "\n"


def test_the_terms_on_the_screen_add_up(run):
    record = json.loads(explain(run, "--user", 77, "--title", "#11", "--json"))
    text = explain(run, "--user", 77, "--title", "#11")
    sum_of_terms, line = text.split("z  ")[0], record["heads"][record["user"]["group"]]
    found = re.findall(r"(?<= )[−+]\d+\.\d{4}(?= *$)", sum_of_terms, re.MULTILINE)
    numbers = [float(x.replace("−", "-")) for x in found]
    assert numbers == [float(f"{value:+.4f}") for value in line["terms"].values()]
    assert values(text, "z ", "σ(z)") == [float(f"{line[name]:.4f}") for name in ("logit", "probability")]
    assert sum(numbers) == pytest.approx(line["logit"], abs=1e-4 * len(numbers))
    assert values(text, "base rate") == [float(f"{record['base_rates'][0]['rate']:.4f}")]
    for base in record["base_rates"]:
        assert f": {base['positives']:,} of {base['pairs']:,} positive" in text


def test_the_output_is_as_approved(snapshot):
    """Titles and ids are text: ``Face [/Off]`` is no markup, and no character controls the terminal."""
    text = shown_by(print_explanation, frozen_record(Explanation, "explanation"), 120)
    assert "Face [/Off]" in text and "[unknown]" in text and "[bold]u5" in text and "\x1b" not in text
    snapshot(text)


def line_of(text: str, start: str, *cells) -> str:
    """The line that begins with some text and ends with some cells, with true minus signs."""
    ending = r"\s+".join(re.escape(str(cell).replace("-", "−")) for cell in cells)
    found = re.search(rf"^{re.escape(start)}.*\s{ending}\s*$", text, re.MULTILINE)
    assert found, f"no line {start} … {cells}"
    return found[0]


def test_every_head_and_every_title_that_moves_has_a_line(run):
    record = json.loads(explain(run, "--user", 77, "--title", "#11", "--json"))
    text = explain(run, "--user", 77, "--title", "#11")
    for head in record["heads"]:
        numbers = f"{head['logit']:+.4f}", f"{head['probability']:.4f}", head["rank"]
        line = line_of(text, f"{head['group']} ({', '.join(head['largest'])}", *numbers)
        assert (" own " in line) == head["own"] and f" {head['territory']} " in line
    for moved in record["moved"]:
        start = f"{moved['group']} {moved['title']['name']} "
        line = line_of(re.sub(" +", " ", text), start, moved["own_rank"], moved["rank"])
        assert all(f"{number:+.4f}".replace("-", "−") in line for number in (moved["own_logit"], moved["logit"]))
    assert f"{record['hidden']['positive']} positive unit" in text


def test_top_is_how_many_titles_are_shown(run):
    few, more = (explain(run, "--user", 77, "--title", "#11", "--top", n) for n in (1, 3))
    assert len(few.splitlines()) + 2 == len(more.splitlines())


def test_a_model_without_heads_says_so(baseline):
    text = explain(baseline, "--user", 77, "--title", "#11")
    assert "one head" in text and "under every head" not in text and "s·⟨U, V⟩" in text


def test_titles_are_named_by_id(run, tiny_world):
    name = Dataset.open(tiny_world).title_ids[11]
    assert explain(run, "--user", 77, "--title", name) == explain(run, "--user", 77, "--title", "#11")


def test_the_rank_is_told_or_why_there_is_none(run, tiny_world):
    data = Dataset.open(tiny_world)
    best = recommend(run, data, np.array([77]), top=1).title[0, 0]
    assert f"{data.title_ids[best]}: neither; rank 1 of the " in explain(run, "--user", 77, "--title", f"#{best}")
    user, title, _ = next(event for event in zip(*data.all_events(), strict=True))
    assert "already watched" in explain(run, "--user", user, "--title", f"#{title}")
    title, home = np.argwhere(~np.asarray(data.availability))[0]
    user = np.flatnonzero(data.user_territory == home)[0]
    text = explain(run, "--user", user, "--title", f"#{title}")
    assert f"not available in {data.territories.code[home]}" in text


def test_a_dataset_that_was_moved_is_named(run, own_world):
    (own_world / "samples" / "default").rename(own_world / "samples" / "another")
    text = explain(run, "--user", 77, "--title", "#11", "--dataset", own_world)
    assert "unknown" in text and "base rate" not in text
    assert values(text, "z ") == values(explain(run, "--user", 77, "--title", "#11"), "z ")


def test_faults_are_one_line(run, tmp_path):
    assert "none: no such run" in failing_line("explain", tmp_path / "none", "--user", 1, "--title", "#1")
    assert "no user '300'" in failing_line("explain", run, "--user", 300, "--title", "#1")
    assert "the nearest: " in failing_line("explain", run, "--user", 1, "--title", "Nothing like it")
    elsewhere = "--dataset", tmp_path / "none"
    assert "no such directory" in failing_line("explain", run, "--user", 1, "--title", "#1", *elsewhere)
    assert "Invalid value for '--top'" in failing_line("explain", run, "--user", 1, "--title", "#1", "--top", 0)
    assert "Missing option '--user'" in failing_line("explain", run, "--title", "#1")


def test_a_model_without_scale_and_bias_shows_neither(tiny_world, tmp_path):
    shape = {"head": "plain", "output": "relu", "learned_logit": False, "title_offsets": "none", "groups": 2}
    run = train(tiny_world, tmp_path / "paper", shape, epochs=1).path
    text = explain(run, "--user", 77, "--title", "#11")
    assert "⟨U, V⟩" in text
    assert "s·" not in text and "bias of all logits" not in text


def test_a_score_without_any_unit_is_said_to_have_none():
    said = units_line(HiddenUnits(0, 0.0, 0, 0.0, 0, 0.0))
    assert said == "All hidden units contribute 0: no unit is above 0 in both U and V."

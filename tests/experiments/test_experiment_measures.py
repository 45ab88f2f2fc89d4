"""What is measured of a run: scores of the panel are those of the model, and of the control too."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_experiments import run, run_tiny

from twotower.cli.experiment import experiment
from twotower.core.progress import silent
from twotower.data.dataset import Dataset
from twotower.data.sample import Sample
from twotower.data.sampling.sample_config import SampleConfig
from twotower.experiments.measures import histograms, is_measured, shown_titles
from twotower.experiments.methods import METHODS, find_methods
from twotower.experiments.panel import choose_pairs, choose_panel, score_all
from twotower.experiments.plan import Plan
from twotower.experiments.report.tables import experiment_tables
from twotower.experiments.setup import Setup
from twotower.experiments.summary import summary
from twotower.experiments.titles import distance_records
from twotower.metrics.average_precision import average_precision
from twotower.metrics.calibration import reliability
from twotower.metrics.popularity_bias import probability
from twotower.training.job import shuffled_heads
from twotower.training.run import RunReader


@pytest.fixture(scope="module")
def finished(tiny_world, tmp_path_factory) -> Path:
    """Every method there is, on a copy of the tiny world, in one period: a run's scores are of its last weights."""
    import shutil

    home = tmp_path_factory.mktemp("zoo")
    shutil.copytree(tiny_world, home / "world")
    run_tiny(home / "world", home / "zoo", "--periods", "1", "--seeds", "1", methods=",".join(METHODS))
    return home


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.rival])
def test_scores_of_the_panel_are_those_of_the_test_pairs(finished, name):
    dataset = Dataset.open(finished / "world")
    if name == "shuffled":
        dataset = shuffled_heads(dataset, 0)
    pairs = Sample(dataset, "experiment-upsampled").test_pairs()
    path = finished / f"zoo/runs/{name}-0"
    rows, place = np.unique(pairs.user, return_inverse=True)
    scores = score_all(path, dataset, rows, lambda *where: None)
    np.testing.assert_allclose(scores[place, pairs.title], RunReader(path).scores, rtol=1e-4, atol=1e-5)


def test_every_method_learns_something_of_its_own(finished):
    record = json.loads((finished / "zoo/experiment.json").read_text("utf-8"))
    scores = {name: RunReader(finished / f"zoo/runs/{name}-0").scores for name in METHODS}
    for name in METHODS:
        same = [other for other in METHODS if other != name and np.array_equal(scores[name], scores[other])]
        alike = {name, *same} <= {"mtl", "lowrank-bias", "unshrunk"} or {name, *same} <= {"upsampled", "offsets"}
        assert not same or alike, f"{name} is the same as {same}"
    assert set(record["bias"]) == set(METHODS)


def test_overall_figures_are_those_of_the_scores(finished):
    record = json.loads((finished / "zoo/experiment.json").read_text("utf-8"))
    pairs = Sample(Dataset.open(finished / "world"), "experiment-random").test_pairs()
    for method in record["methods"]:
        scores = RunReader(finished / f"zoo/runs/{method['name']}-0").scores
        assert method["overall"] == [pytest.approx(average_precision(pairs.label, scores))]
        assert method["settings"]["train"]["incremental_periods"] == 0 and "seed" not in method["settings"]["train"]


def test_calibration_per_territory_is_that_of_its_test_pairs(finished):
    record = json.loads((finished / "zoo/experiment.json").read_text("utf-8"))
    dataset = Dataset.open(finished / "world")
    pairs = Sample(dataset, "experiment-upsampled").test_pairs()
    home = np.asarray(dataset.user_territory)[pairs.user]
    for name in ("baseline", "mtl", "shuffled"):
        p = probability(np.asarray(RunReader(finished / f"zoo/runs/{name}-0").scores))
        told = record["calibration"][name]
        assert told["excess"] == pytest.approx(p.mean() - pairs.label.mean(), abs=1e-6)
        for c, territory in enumerate(record["territories"]):
            here = home == dataset.territories.index(territory["code"])
            assert territory["test_pairs"] == here.sum()
            if not here.any():
                assert told["territories"]["ece"][c] is None
                continue
            alone = reliability(pairs.label[here], p[here])
            assert told["territories"]["ece"][c] == pytest.approx(alone.ece)
            assert told["territories"]["excess"][c] == pytest.approx(alone.excess)
        assert set(told["territory_spreads"]["ece"]) == {None}, "one seed has no spread"


def test_measures_and_gains_are_made_again_when_a_run_is(finished, tmp_path):
    import shutil

    shutil.copytree(finished / "zoo", tmp_path / "zoo")
    shutil.rmtree(tmp_path / "zoo/runs/mtl-0")
    kept = tmp_path / "zoo/measures/mtl-0.json"
    before = json.loads(kept.read_text())
    kept.write_text(json.dumps({"origin": before["origin"] | {"run": "an earlier one"}, "bias": {}, "calibration": {}}))
    gains = tmp_path / "zoo/measures/mtl-over-baseline.json"
    told = json.loads(gains.read_text())
    origin = told["origin"] | {"runs": [["earlier"], ["ones"]]}
    gains.write_text(json.dumps({"origin": origin, "gains": {"overall": None}}))
    run_tiny(finished / "world", tmp_path / "zoo", "--periods", "1", "--seeds", "1", methods="baseline,mtl")
    after = json.loads(kept.read_text())
    assert json.loads(gains.read_text())["gains"] == told["gains"]
    assert after["bias"] == before["bias"] and after["calibration"] == before["calibration"]
    assert after["origin"]["run"] == RunReader(tmp_path / "zoo/runs/mtl-0").created


def test_the_panel_is_offered_what_it_may_have_and_has_not_watched(finished):
    dataset = Dataset.open(finished / "world")
    sampled = Sample(dataset, "experiment-upsampled")
    counts = np.zeros((dataset.n_territories, dataset.n_titles), np.int64)
    plan = SimpleNamespace(main_method="mtl", method=lambda name: SimpleNamespace(sample="upsampled"))
    facts = {"dataset": dataset, "reference": sampled, "positives": {"upsampled": counts}, "plan": plan}
    facts["test_pairs"] = sampled.test_pairs()
    day = sampled.test_days[0]
    panel = choose_panel(SimpleNamespace(**facts, last_period=[day]), silent)
    for user, allowed in zip(panel.rows, panel.allowed, strict=True):
        there = dataset.availability[:, dataset.user_territory[user]] & (dataset.launch_day <= day)
        past = [titles[users == user] for on, users, titles in dataset.iter_events() if on < day]
        seen = np.unique(np.concatenate(past))
        assert not allowed[~there].any() and not allowed[seen].any()
        assert allowed.sum() == there.sum() - there[seen].sum()


def test_distances_are_means_over_seeds_of_all_and_of_each_territory():
    probabilities = {"method": [[0.5, 0.5, 0.9], [0.5, 0.5, 0.7]], "baseline": [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]}
    territories = SimpleNamespace(code=["US", "DE"], majors=lambda: np.array([0, 1]))
    plan = SimpleNamespace(main_method="method", baselines=["baseline"], seeds=2)
    opened = SimpleNamespace(plan=plan, dataset=SimpleNamespace(territories=territories))
    panel = SimpleNamespace(territory=np.array([0, 1]), probes={"local": (np.array([0, 0, 1]), np.arange(3))})
    measured = SimpleNamespace(array=lambda name, seed, kind: np.array(probabilities[name][seed]))
    found = {record["territory"]: record for record in distance_records(opened, panel, measured)}
    assert [found[code]["shift"] for code in (None, "US", "DE")] == pytest.approx([0.1, 0.0, 0.3])
    assert found["DE"]["ks"] == 1 and found["DE"]["wasserstein"] == pytest.approx(0.3)


def opened(home: Path, periods: int) -> Setup:
    """The setup of the experiment, or of one with other periods."""
    asked = {"seeds": 1, "groups": 2, "periods": periods, "preset": "default", "settings": {}}
    drawn = SampleConfig("30%", "50%", "30%", quota="adaptive", alpha=8.0)
    methods = tuple(find_methods("upsampled,mtl"))
    plan = Plan(home / "world", home / "zoo", "zoo", methods, **asked, sample=drawn, min_positives=3, replicates=20)
    return Setup(plan, silent)


@pytest.mark.parametrize(("periods", "day"), [(1, 8), (2, 10), (3, 10)])
def test_offers_are_those_of_the_day_that_the_weights_have_come_to(finished, periods, day):
    """What was watched in earlier test periods counts as watched, and what was launched in them is there."""
    setup = opened(finished, periods)
    dataset, panel = setup.dataset, choose_panel(setup, silent)
    assert panel.day == day
    place = {user: n for n, user in enumerate(panel.rows.tolist())}
    expected = np.zeros(panel.allowed.shape, bool)
    for n, territory in enumerate(panel.territory):
        expected[n] = np.asarray(dataset.availability)[:, territory] & (np.asarray(dataset.launch_day) <= day)
    for past in range(-1, day):
        for user, title in zip(*dataset.events(past), strict=True):
            if user in place:
                expected[place[user], title] = False
    assert (panel.allowed == expected).all()
    later = [place[u] for u in dataset.events(8)[0].tolist() if u in place]
    assert later, "nobody of them watches on the first test day: the test shows nothing"


def test_measures_of_another_day_are_made_again(finished):
    assert is_measured(opened(finished, 1), "mtl", 0)
    assert not is_measured(opened(finished, 3), "mtl", 0)


def test_histograms_count_the_users_who_may_be_offered_the_title(finished):
    setup = opened(finished, 3)
    panel = choose_panel(setup, silent)
    scores = np.random.default_rng(0).normal(size=panel.allowed.shape).astype(np.float32)
    found, (territories, titles) = histograms(setup, panel, scores), shown_titles(setup, panel)
    for row, c in enumerate(territories):
        known = titles[row][titles[row] >= 0]
        offered = panel.allowed[np.ix_(panel.territory == c, known)]
        assert found[row, : len(known)].sum(axis=1).tolist() == offered.sum(axis=0).tolist()
        assert not found[row, len(known) :].any()
    everybody = [(panel.territory == c).sum() * (titles[row] >= 0).sum() for row, c in enumerate(territories)]
    assert 0 < found.sum() < sum(everybody)


def test_pairs_are_chosen_among_the_true_cells_and_always_the_same():
    mask = np.random.default_rng(0).random((30, 20)) < 0.3
    user, title = choose_pairs(mask, 50)
    assert len(user) == 50 and mask[user, title].all() and len(set(zip(user, title, strict=True))) == 50
    again = choose_pairs(mask, 50)
    assert (again[0] == user).all() and (again[1] == title).all()
    assert len(choose_pairs(mask, 10_000)[0]) == mask.sum()


def test_the_options_are_those_of_training_but_for_what_the_experiment_does_itself():
    names = {parameter.name for parameter in experiment.params}
    assert {"hidden", "batch_size", "epochs", "patience", "head", "rank", "learning_rate"} <= names
    assert "seed" not in names and "incremental_periods" not in names
    assert len(names) == len(experiment.params), "an option twice"


def test_plain_words_say_what_is_not_known(finished):
    record = json.loads((finished / "zoo/experiment.json").read_text("utf-8"))
    words = summary(record)
    assert any("One seed does not show" in sentence for sentence in words)
    assert any("territories have enough test positives" in sentence for sentence in words)
    assert any("(at least 3, from 30 users)" in sentence for sentence in words)


def test_tables_have_a_row_for_everything(finished):
    record = json.loads((finished / "zoo/experiment.json").read_text("utf-8"))
    rows = {name: text.count("\n") - 1 for name, text in experiment_tables(record).items()}
    assert rows["table1"] == 6 and rows["methods"] == len(METHODS) and rows["titles"] == 30
    assert rows["calibration"] == 20 * len(METHODS)
    assert rows["table2_summary"] == len(record["gains"])


def test_a_report_is_written_where_it_can_be(finished):
    pytest.importorskip("jinja2"), pytest.importorskip("matplotlib")
    result = run(finished / "world", finished / "zoo", "--periods", "1", "--seeds", "1", "--html")
    assert result.exit_code == 0, result.output
    page = (finished / "zoo/report.html").read_text("utf-8")
    assert "mtl" in page and "<svg" in page and result.stdout.splitlines()[-1].endswith("report.html")

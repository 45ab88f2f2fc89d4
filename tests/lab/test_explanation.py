"""Why this score: the terms are the logit, the heads are what another life would give, the ranks are those shown."""

from types import SimpleNamespace

import numpy as np
import pytest
from sealing import reseal
from tiny_runs import MTL, train

from twotower.core.errors import InputError
from twotower.core.serialisation import plain
from twotower.data.dataset import Dataset
from twotower.data.dataset_writer import write_vectors
from twotower.data.memory.knowledge import read_history
from twotower.data.memory.memory import TERMS
from twotower.data.sample import Sample
from twotower.lab.explain import explanation
from twotower.lab.explain.explanation import SHOWN, explain, ranks
from twotower.lab.explain.ids import find_row
from twotower.lab.explain.memory_part import Recalled
from twotower.metrics.local_titles import count_positives, title_locality
from twotower.serving.open_run import open_memory, open_model, score_pairs
from twotower.serving.recommend import recommend

GROUPS = {"groups": 2}
TITLE_BIAS = {"title_bias": True} | GROUPS
#: Every kind of head, output and offset that a logit can be made of.
MODELS = {
    "baseline": {},
    "paper": {"head": "plain", "output": "relu", "learned_logit": False, "title_offsets": "none"} | GROUPS,
    "title bias alone": {"title_offsets": "none"} | TITLE_BIAS,
    "plain": {"head": "plain"} | TITLE_BIAS,
    "residual": {"head": "residual", "title_offsets": "group"} | GROUPS,
    "residual relu": {"head": "residual", "output": "relu"} | GROUPS,
    "lowrank": MTL | {"title_offsets": "territory"},
    "mmoe": {"head": "mmoe", "experts": 3, "rank": 2} | GROUPS,
    "cross-stitch": {"head": "cross-stitch"} | TITLE_BIAS,
    "moments of groups": MTL | {"batchnorm": "group", "title_offsets": "territory"},
    "territories": MTL | {"territory_bias": True, "title_offsets": "territory"},
    "territories without heads": {"territory_bias": True},
    "memory": {"memory": True},
    "memory and heads": MTL | {"memory": True, "title_offsets": "territory"},
}
TERRITORIES = (
    "lowrank",
    "moments of groups",
    "territories",
    "memory and heads",
)  # whose logits depend on the territory within a group
PAIRS = (3, 0), (77, 29)


@pytest.fixture(scope="module")
def run_of(tiny_world, tmp_path_factory):
    """A run of a kind of model, trained when it is first asked for."""
    folder, made = tmp_path_factory.mktemp("explained"), {}

    def path(kind: str):
        if kind not in made:
            made[kind] = train(tiny_world, folder / kind.replace(" ", "-"), MODELS[kind], epochs=1).path
        return made[kind]

    return path


@pytest.fixture
def data(tiny_world) -> Dataset:
    return Dataset.open(tiny_world)


def scores(run, data: Dataset, user: int) -> np.ndarray:
    """Logits (T,) as they are scored pair by pair."""
    titles = np.arange(data.n_titles)
    return score_pairs(run, data, SimpleNamespace(user=titles * 0 + user, title=titles, label=titles * 0.0))


def of(run, data: Dataset, user: int, title: int, **options) -> dict:
    return plain(explain(run, data, f"#{user}" if data.user_ids else str(user), f"#{title}", **options))


@pytest.mark.parametrize("kind", MODELS)
def test_the_terms_add_up_to_the_logit_that_scoring_gives(run_of, data, kind):
    for user, title in PAIRS:
        expected = scores(run_of(kind), data, user)[title]
        found = of(run_of(kind), data, user, title)
        assert found["own"]["logit"] == pytest.approx(expected, rel=1e-5, abs=1e-5)
        assert sum(found["own"]["terms"].values()) == pytest.approx(expected, rel=1e-5, abs=1e-5)
        assert found["own"]["probability"] == pytest.approx(1 / (1 + np.exp(-expected)), rel=1e-4)
    names = terms_of(MODELS[kind])
    assert list(found["own"]["terms"]) == names
    assert all(list(head["terms"]) == names for head in found["heads"])


def terms_of(model: dict) -> list[str]:
    """The terms of a model with these settings, and no others."""
    adds = model.get("head", "none") not in ("none", "plain") and model.get("output") != "relu"
    expected = ["tower", "head"] if adds else ["dot"]
    expected += ["c"] * model.get("learned_logit", True) + ["title_bias"] * model.get("title_bias", False)
    if model.get("territory_bias"):
        expected += ["territory_dot"] + ["territory_bias"] * model.get("title_bias", False)
    expected += ["title_offset"] * (model.get("title_offsets") != "none") + ["memory"] * model.get("memory", False)
    return expected


@pytest.mark.parametrize("kind", ["baseline", "paper", "lowrank"])
def test_hidden_units_add_up_to_user_times_title(run_of, data, kind):
    found = of(run_of(kind), data, 77, 11)
    hidden, terms = found["hidden"], found["own"]["terms"]
    dot = terms["dot"] if "dot" in terms else terms["tower"] + terms["head"]
    assert hidden["positive_sum"] + hidden["negative_sum"] == pytest.approx(dot, abs=1e-12)
    assert hidden["negative_sum"] <= 0 <= hidden["positive_sum"]


def test_half_and_effective_number_of_units_by_hand():
    found = explanation.hidden_units(np.array([4.0, -2, 1, -1, 0]))
    assert (found.positive, found.negative, found.positive_sum, found.negative_sum) == (2, 2, 5.0, -3.0)
    assert found.half == 1 and found.effective == pytest.approx(64 / 22)
    assert explanation.hidden_units(np.zeros(3)).half == 0


@pytest.mark.parametrize("kind", [kind for kind in MODELS if "groups" in MODELS[kind]])
def test_another_head_is_the_same_person_in_the_largest_territory_of_its_group(run_of, data, kind):
    found, user, title = of(run_of(kind), data, 77, 11), 77, 11
    own = found["user"]["group"]
    assert [head["own"] for head in found["heads"]] == [k == own for k in range(2)]
    for head in found["heads"]:
        there = data.territories.index(head["territory"])
        if not head["own"]:
            groups = {c: h["group"] for h in found["heads"] for c in h["largest"]}
            rivals = [data.territories.index(c) for c, group in groups.items() if group == head["group"]]
            assert data.territories.users[there] == max(data.territories.users[rivals])
        moved = Dataset.open(data.path)
        moved.head_territory = np.array(data.user_territory)
        moved.head_territory[user] = there
        moved.user_territory = moved.head_territory
        expected = scores(run_of(kind), moved, user)[title]
        assert head["logit"] == pytest.approx(expected, rel=1e-5, abs=1e-5)
        assert sum(head["terms"].values()) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("kind", ["baseline", "territories", "memory and heads"])
def test_ranks_are_those_of_the_recommendations(run_of, data, kind):
    best = recommend(run_of(kind), data, np.array([77]), top=30)
    titles = [t for t in best.title[0].tolist() if t >= 0]
    for rank in (1, 2, len(titles)):
        found = of(run_of(kind), data, 77, titles[rank - 1])
        assert found["titles"] == len(titles) and found["available"] and not found["watched"]
        assert next(head["rank"] for head in found["heads"] if head["own"]) == rank
        assert found["own"]["logit"] == pytest.approx(float(best.score[0, rank - 1]), rel=1e-5, abs=1e-5)


def test_a_rank_is_among_what_is_allowed_and_the_title_itself():
    z, allowed = np.array([3.0, 5, 1, 5, 2], np.float32), np.array([True, True, False, True, True])
    assert ranks(z, allowed).tolist() == [3, 1, 5, 2, 4]
    assert ranks(z, np.array([False, True, True, False, True])).tolist() == [2, 1, 3, 2, 2]


def test_what_is_not_open_to_the_user_says_so(run_of, data):
    user, title, _ = next(event for event in zip(*data.all_events(), strict=True))
    assert of(run_of("lowrank"), data, int(user), int(title))["watched"]
    title, home = np.argwhere(~np.asarray(data.availability))[0]
    user = np.flatnonzero(data.user_territory == home)[0]
    assert not of(run_of("lowrank"), data, int(user), int(title))["available"]


@pytest.mark.parametrize("most", [1, SHOWN])
@pytest.mark.parametrize("kind", TERRITORIES)
def test_what_moves_most_is_found_among_the_best_of_both_heads(run_of, data, kind, most, monkeypatch):
    monkeypatch.setattr(explanation, "SHOWN", most)
    found = of(run_of(kind), data, 77, 11, top=3)
    heads = {head["group"]: head for head in found["heads"]}
    own = scores(run_of(kind), data, 77)
    moved = found["moved"]
    there = Dataset.open(data.path)
    there.head_territory = np.array(data.user_territory)
    there.head_territory[77] = data.territories.index(heads[moved[0]["group"]]["territory"])
    there.user_territory = there.head_territory
    other = scores(run_of(kind), there, 77)
    open_to = recommend(run_of(kind), data, np.array([77]), top=30).title[0]
    open_to = open_to[open_to >= 0]
    best = {int(t) for z in (own, other) for t in open_to[np.argsort(-z[open_to])][:most]}
    expected = sorted(best, key=lambda t: -abs(own[t] - other[t]))[:3]
    assert [title["title"]["row"] for title in moved] == expected
    for title in moved:
        t = title["title"]["row"]
        assert (title["own_logit"], title["logit"]) == pytest.approx((own[t], other[t]), abs=1e-5)
        assert title["own_rank"] == 1 + (own[open_to] > own[t]).sum()
        assert title["rank"] == 1 + (other[open_to] > other[t]).sum()


def test_local_and_global_and_base_rates_come_from_the_training_pairs(run_of, data, monkeypatch):
    for name, few in (("MIN_POSITIVES", 2), ("ENOUGH_POSITIVES", 5)):  # the world is small
        monkeypatch.setattr(f"twotower.metrics.local_titles.{name}", few)
    pairs = Sample(data).train_pairs()
    seen = pairs.take(pairs.label > 0)
    home = np.asarray(data.user_territory)
    homes = title_locality(count_positives(seen.title, home[seen.user], 30, 6), data.territories.users)
    assert {"local", "global"} <= set(homes.kind)
    for title in range(0, data.n_titles, 4):
        found = of(run_of("lowrank"), data, 77, title)
        assert found["title"]["kind"] == homes.kind[title]
        assert found["title"]["home"] == (
            data.territories.code[homes.home_territory[title]] if homes.positives[title] else None
        )
        everything, of_title, here = found["base_rates"]
        assert everything["rate"] == pytest.approx(pairs.label.mean()) and everything["pairs"] == len(pairs)
        mine = pairs.label[pairs.title == title]
        assert (of_title["positives"], of_title["pairs"]) == (mine.sum(), len(mine))
        mine = pairs.label[(pairs.title == title) & (home[pairs.user] == home[77])]
        assert (here["positives"], here["pairs"]) == (mine.sum(), len(mine))


def test_training_and_test_users_are_told_apart(run_of, data):
    drawn = Sample(data)
    for part, users in (("training", drawn.train_users), ("test", drawn.test_users)):
        assert of(run_of("baseline"), data, int(users[0]), 0)["user"]["part"] == part


def test_without_the_sample_all_but_the_kinds_and_base_rates_is_there(run_of, own_world):
    (own_world / "samples" / "default").rename(own_world / "samples" / "another")
    found = of(run_of("lowrank"), Dataset.open(own_world), 77, 11)
    assert found["sample"] is None and found["base_rates"] == [] and found["user"]["part"] is None
    assert found["title"]["kind"] is None and found["moved"][0]["title"]["home"] is None
    assert sum(found["own"]["terms"].values()) == pytest.approx(found["own"]["logit"], rel=1e-5, abs=1e-5)


def test_half_precision_vectors_are_taken_as_they_are(run_of, own_world):
    data = Dataset.open(own_world)
    write_vectors(own_world, data.user_vectors.astype(np.float16), data.title_vectors.astype(np.float16))
    data = Dataset.open(own_world)
    assert data.user_vectors.dtype == data.title_vectors.dtype == np.float16
    found, expected = of(run_of("territories"), data, 77, 11), scores(run_of("territories"), data, 77)[11]
    assert found["own"]["logit"] == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert sum(found["own"]["terms"].values()) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("kind", ["memory", "memory and heads"])
def test_memory_is_told_by_term_and_by_title_of_the_history(run_of, data, kind):
    user, title = 77, 11
    found = of(run_of(kind), data, user, title, top=3)
    part = found["memory"]
    assert [term["term"] for term in part["terms"]] == [*TERMS, "active units"]
    total = found["own"]["terms"]["memory"]
    assert sum(term["contribution"] for term in part["terms"]) == pytest.approx(total, abs=1e-5)
    for term in part["terms"]:
        assert term["contribution"] == pytest.approx(term["value"] * (term["weight"] + term["deviation"]), abs=1e-5)
        assert kind == "memory and heads" or term["deviation"] == 0
    history = set(read_history(data)[[user]].indices.tolist())
    assert part["history"] == len(history) and {of_title["row"] for of_title in part["titles"]} <= history
    assert part["titles"][0]["name"] == data.titles.get("name", data.title_ids)[part["titles"][0]["row"]]
    sizes = [abs(of_title["contribution"]) for of_title in part["titles"]]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == 3 <= len(history)
    every = of(run_of(kind), data, user, title, top=99)["memory"]["titles"]
    assert part["related"] == sum(of_title["cosine"] > 0 for of_title in every)


def test_what_titles_of_the_history_bring_is_what_is_lost_without_them(run_of, data):
    """Against the same user with the same length of history, of titles that have nothing to do with this one."""
    user, title = 77, 11
    part = of(run_of("memory"), data, user, title, top=99)["memory"]
    model, _ = open_model(run_of("memory"), data)
    memory = open_memory(run_of("memory"), data, model)
    pair = Recalled(memory, model).of_pair(user, title, int(data.user_territory[user]), 0)
    linear = pair.shared + pair.own  # the units that are active for this pair included
    with_history = memory.of_users(np.array([user]), linear)[0, title]
    unrelated = open_memory(run_of("memory"), data, model)
    unrelated.cosines.data[:] = 0
    unrelated.factors = unrelated.factors._replace(watched=np.zeros_like(unrelated.factors.watched))
    lost = with_history - unrelated.of_users(np.array([user]), linear)[0, title]
    assert sum(of_title["contribution"] for of_title in part["titles"]) == pytest.approx(lost, abs=1e-4)
    assert abs(lost) > 1e-3


def test_a_model_without_memory_has_no_part_of_it(run_of, data):
    found = of(run_of("lowrank"), data, 77, 11)
    assert found["memory"] is None and "memory" not in found["own"]["terms"]


def test_one_head_has_no_other_to_compare_with(run_of, data):
    found = of(run_of("baseline"), data, 77, 11)
    assert len(found["heads"]) == 1 and found["moved"] == [] and found["user"]["group"] is None
    assert found["heads"][0]["own"] and found["heads"][0]["territories"] == 6


def test_it_says_where_it_is(run_of, data):
    seen = []
    of(run_of("lowrank"), data, 77, 11, progress=lambda stage, *_: seen.append(stage))
    assert {"scoring users", "reading watch history"} <= set(seen)


def test_a_vector_that_is_not_finite_is_a_fault_of_the_data(run_of, own_world):
    vectors = np.array(Dataset.open(own_world).user_vectors)
    vectors[77, 2] = np.nan
    write_vectors(own_world, vectors)
    with pytest.raises(InputError, match="user row 77 are not finite"):
        of(run_of("lowrank"), Dataset.open(own_world), 77, 11)
    assert of(run_of("lowrank"), Dataset.open(own_world), 78, 11)["user"]["row"] == 78


# ---------------------------------------------------------------- ids


def test_titles_are_found_by_id_and_by_row(data):
    name = data.title_ids[7]
    assert find_row("title", name, data) == find_row("title", "#7", data) == 7
    with pytest.raises(InputError, match=r"no title '#30' .*expected a number from #0 to 29"):
        find_row("title", "#30", data)


def test_an_unknown_title_gets_the_nearest_ids(data):
    name = data.title_ids[7]
    for wrong in (name[:-1] + "x", name.upper(), name.split()[0]):
        with pytest.raises(InputError, match=f"no title .*; the nearest: .*{name}"):
            find_row("title", wrong, data)


def test_users_without_ids_are_numbers(data):
    assert find_row("user", "12", data) == find_row("user", "#12", data) == 12
    for wrong in ("300", "-1", "somebody"):
        with pytest.raises(InputError, match=f"no user '{wrong}' .*expected a number from 0 to 299"):
            find_row("user", wrong, data)


def test_users_with_ids_are_found_by_them_even_if_they_look_like_rows(own_world):
    ids = ["#5", "7", *(f"u{i}" for i in range(2, 300))]
    (own_world / "users.csv").write_text("user\n" + "\n".join(ids) + "\n")
    data = Dataset.open(reseal(own_world, add=["users.csv"]))
    assert [find_row("user", name, data) for name in ("#5", "7", "u17", "#17")] == [0, 1, 17, 17]
    with pytest.raises(InputError, match=r"no user '17' .*; the nearest: 'u17', 'u117', 'u170'$"):
        find_row("user", "17", data)


def test_a_number_too_long_to_read_is_no_row(data):
    with pytest.raises(InputError, match="expected a number"):
        find_row("user", "9" * 5000, data)

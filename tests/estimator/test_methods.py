"""Every method answers from Python: a network per group of territories and simple rivals; columns named as asked."""

import numpy as np
import pytest
from tables_of_events import SMALL, watch_log

from twotower import InputError, TwoTowerRecommender
from twotower.data.sample import Sample
from twotower.training.run import RunReader

pa = pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def log():
    return watch_log()


def rows(table):
    return pa.table(table).to_pylist()


BY_TERRITORY = ("popular", "recent-popular", "counts", "separate", "finetune")  # what depends on where a user lives


@pytest.mark.parametrize("method", [*BY_TERRITORY, "item-knn", "ease", "als"])
def test_methods_without_one_network_answer_as_networks_do(log, method, tmp_path):
    model = TwoTowerRecommender(method, **SMALL, seed=3).fit(pa.table(log))
    best = model.recommend([1000, 1001, 5], k=4)
    found = rows(best)
    assert [r["source"] for r in found] == ["model"] * 8 + ["popular"] * 4
    watched = set(zip(log["user"].tolist(), log["title"].tolist(), strict=True))
    assert not any((r["user"], r["title"]) in watched for r in found)
    everything = rows(model.recommend([1000], k=40, filter_watched=False))
    assert len(everything) == 40 and everything == sorted(everything, key=lambda r: -r["score"])
    scored = model.score({name: [r[name] for r in everything] for name in ("user", "title")})
    np.testing.assert_allclose(scored["score"], [r["score"] for r in everything], rtol=1e-4, atol=1e-5)
    abroad = rows(model.recommend([1000], k=40, territory="Japan", filter_watched=False))
    differs = {r["title"]: r["score"] for r in abroad} != {r["title"]: r["score"] for r in everything}
    assert differs == (method in BY_TERRITORY)

    history = {"user": [1, 1, 2], "title": ["film 1", "film 2", "film 30"], "territory": ["Poland"] * 3}
    new = [r for r in rows(pa.table(model.recommend_new(history, k=40))) if r["title"] not in history["title"]]
    lists = [[r["title"] for r in new if r["user"] == name] for name in (1, 2)]
    assert all(len(own) == 37 for own in lists)
    assert (lists[0] != lists[1]) == (method not in ("popular", "recent-popular"))
    table = model.evaluate(pa.table(watch_log(seed=1)))
    assert table.column_names == ["territory", "users", "positives", "pr_auc"]
    model.save(tmp_path / "kept")
    again = TwoTowerRecommender.load(tmp_path / "kept")
    assert rows(again.recommend([1000, 1001, 5], k=4)) == found
    for ask in (lambda: model.similar_titles("film 3"), lambda: model.similar_users(1000),
                lambda: model.explain(1000, "film 3"), lambda: model.update(log)):  # fmt: skip
        with pytest.raises(InputError, match=f"method '{method}': .* needs one network"):
            ask()


def test_a_rivals_scores_are_those_of_the_experiment(log):
    """On the pairs that the fit held out, a method answers what its run was evaluated on."""
    for method in ("counts", "als", "separate"):
        model = TwoTowerRecommender(method, **SMALL).fit(pa.table(log))
        pairs, run = Sample(model.dataset_, RunReader(model.run_).sample).test_pairs(), RunReader(model.run_)
        names = {"user": [int(model.dataset_.user_ids[u]) for u in pairs.user],
                 "title": [model.dataset_.title_ids[t] for t in pairs.title]}  # fmt: skip
        np.testing.assert_allclose(model.score(names)["score"], run.scores, rtol=1e-4, atol=1e-4)


def test_columns_of_answers_are_named_as_asked_for(log):
    names = {"rank": "place", "score": "logit", "source": "origin", "probability": "p"}
    model = TwoTowerRecommender("popular", columns=names).fit(pa.table(log))
    assert model.recommend([1000], k=2).column_names == ["user", "title", "place", "logit", "origin"]
    history = {"user": [1], "territory": ["Poland"]}
    assert list(model.recommend_new(history, k=2)) == ["user", "title", "place", "logit", "origin"]
    pair = {"user": [1000], "title": ["film 1"]}
    assert list(model.score(pair)) == ["user", "title", "logit"]
    assert list(model.predict_proba(pair)) == ["user", "title", "p"]
    for wrong, message in (({"place": "rank"}, "no column 'place'"), ({"rank": "user"}, "'user' would name two")):
        with pytest.raises(InputError, match=message):
            TwoTowerRecommender("popular", columns=wrong).fit({})

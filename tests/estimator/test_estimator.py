"""TwoTowerRecommender: the same answers as the commands, for tables and ids of every kind."""

import csv
import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from click.testing import CliRunner
from daily_logs import TRAINED_DAYS, bits, day_rows, name_of, write_days
from tables_of_events import COUNTRIES, SMALL, watch_log

from twotower import Callback, InputError, TwoTowerRecommender
from twotower.cli import cli
from twotower.metrics.average_precision import average_precision
from twotower.serving.newcomers import Newcomers
from twotower.serving.recommend import recommend

pa = pytest.importorskip("pyarrow")
ROOT = Path(__file__).parents[2]
TINY = {"model": {"hidden": 8}, "train": {"epochs": 1, "batch_size": 512}}


@pytest.fixture(scope="module")
def log():
    return watch_log()


@pytest.fixture(scope="module")
def model(log):
    return TwoTowerRecommender(**SMALL).fit(pa.table(log))


def rows(table):
    return pa.table(table).to_pylist()


def test_recommendations_are_those_of_the_command(model, tmp_path):
    out = tmp_path / "best.csv"
    command = ["recommend", str(model.run_), str(model.dataset_.path), "--top", "4", "--out", str(out)]
    assert CliRunner().invoke(cli, command).exit_code == 0
    with open(out, newline="") as file:
        wanted = [(int(r["user"]), r["title"], int(r["rank"])) for r in csv.DictReader(file)]
    found = model.recommend(k=4)
    assert found.column_names == ["user", "title", "rank", "score", "source"]
    assert [(r["user"], r["title"], r["rank"]) for r in rows(found)] == wanted
    assert set(found["source"].to_pylist()) == {"model"}


def test_users_are_recommended_what_they_have_not_watched_in_the_order_asked_for(model, log):
    asked = [1007, 1003]
    found = rows(model.recommend(asked, k=5))
    assert list(dict.fromkeys(r["user"] for r in found)) == asked
    watched = set(zip(log["user"].tolist(), log["title"].tolist(), strict=True))
    assert not any((r["user"], r["title"]) in watched for r in found)
    again = rows(model.recommend(asked, k=40, filter_watched=False))
    assert any((r["user"], r["title"]) in watched for r in again)


def test_strangers_get_what_is_popular_and_the_column_says_so(model, log):
    found = rows(model.recommend([5, 1003], k=3, territory="FR"))
    assert [r["source"] for r in found] == ["model"] * 3 + ["popular"] * 3
    here = log["title"][log["territory"] == "France"]
    viewers = {title: len(set(log["user"][(log["title"] == title) & (log["territory"] == "France")])) for title in here}
    best = [viewers[r["title"]] for r in found if r["source"] == "popular"]
    assert best == sorted(viewers.values(), reverse=True)[:3]
    few = rows(model.recommend([5], k=3, titles=["film 7", "film 30"]))
    assert {r["title"] for r in few} == {"film 7", "film 30"}


def test_another_territory_uses_its_head_and_titles_can_be_restricted(model):
    own, other = (rows(model.recommend([1000], k=40, territory=where)) for where in ("Poland", "Japan"))
    assert own == rows(model.recommend([1000], k=40))
    assert [r["score"] for r in own] != [r["score"] for r in other]
    few = rows(model.recommend([1000], k=9, titles=["film 1", "film 30"], filter_watched=False))
    assert {r["title"] for r in few} == {"film 1", "film 30"}
    with pytest.raises(InputError, match="no title 'film 99'"):
        model.recommend([1000], titles=["film 99"])


def test_diversified_lists_begin_with_the_best_and_differ_more(model):
    plain, mixed = (rows(model.recommend([1001], k=6, diversify=weight)) for weight in (0.0, 0.9))
    assert [r["title"] for r in plain] == [r["title"] for r in rows(model.recommend([1001], k=6))]
    assert plain[0] == mixed[0] and plain != mixed


def test_scores_are_those_of_recommendations_and_unknown_ids_have_none(model):
    best = model.recommend([1002], k=3)
    asked = pa.table({"user": [1002] * 3 + [1], "title": [*best["title"].to_pylist(), "film 0"]})
    scored = model.score(asked)["score"].to_pylist()
    assert scored[:3] == pytest.approx(best["score"].to_pylist(), abs=1e-4) and scored[3] is None
    probability = model.predict_proba(asked)["probability"].to_pylist()
    assert probability[:3] == pytest.approx([1 / (1 + np.exp(-z)) for z in scored[:3]], abs=1e-5)


def test_evaluation_ranks_what_was_not_watched(model, log):
    later = watch_log(seed=1)
    table = model.evaluate(pa.table(later))
    assert table.column_names == ["territory", "users", "positives", "pr_auc"]
    watched = set(zip(log["user"].tolist(), log["title"].tolist(), strict=True))
    new = set(zip(later["user"].tolist(), later["title"].tolist(), strict=True)) - watched
    titles = sorted(set(log["title"]))
    pairs = [(u, t) for u in sorted(set(later["user"].tolist())) for t in titles if (u, t) not in watched]
    scores = model.score({"user": [u for u, _ in pairs], "title": [t for _, t in pairs]})["score"]
    wanted = average_precision(np.array([pair in new for pair in pairs], np.float32), scores)
    assert rows(table)[-1]["territory"] == "all" and rows(table)[-1]["pr_auc"] == pytest.approx(wanted, abs=1e-6)
    assert sum(r["positives"] for r in rows(table)[:-1]) == rows(table)[-1]["positives"] == len(new)


def test_neighbours_leave_themselves_out(model):
    titles = rows(model.similar_titles("film 3", k=5))
    assert len(titles) == 5 and "film 3" not in {r["title"] for r in titles}
    assert titles == sorted(titles, key=lambda r: -r["score"]) and titles[0]["score"] <= 1 + 1e-6
    assert all(isinstance(r["user"], int) for r in rows(model.similar_users(1000, k=2)))
    with pytest.raises(InputError, match="no title 'film 99'"):
        model.similar_titles("film 99")


def test_people_never_seen_are_served_by_their_histories(model, log):
    of_1000 = log["user"] == 1000
    history = {"user": np.full(of_1000.sum(), 7), "title": log["title"][of_1000]}
    found = rows(model.recommend_new(history, k=5, territory="Poland"))
    assert {r["user"] for r in found} == {7} and {r["source"] for r in found} == {"history"}
    assert not {r["title"] for r in found} & set(history["title"])
    with pytest.raises(InputError, match="no column 'territory'"):
        model.recommend_new(history)
    mixed = {"user": [8, 7, 9], "title": ["film 1", "film 3", None], "territory": ["Japan", "Poland", "Japan"]}
    found = model.recommend_new(mixed, k=1)
    assert type(found) is dict, "the kind that came in"
    sources = list(zip(found["user"].tolist(), found["source"].tolist(), strict=True))
    assert sources == [(8, "history"), (7, "history"), (9, "territory")]
    assert model.recommend_new({"user": [9]}, k=1, territory="Japan")["score"] == found["score"][2:]
    with pytest.raises(InputError, match="no territory of '9'"):
        model.recommend_new(mixed | {"territory": ["Japan", "Poland", None]})


def test_newcomers_with_the_histories_of_users_have_their_vectors(model):
    dataset = model.dataset_
    people = Newcomers(dataset, dataset.user_ids, np.asarray(dataset.user_territory), *dataset.history())
    assert np.abs(people.user_vectors - np.asarray(dataset.user_vectors, np.float32)).max() < 1e-3
    found, wanted = (recommend(model.run_, of, top=3, filter_watched=False) for of in (people, dataset))
    assert (found.title == wanted.title).mean() > 0.99 and np.abs(found.score - wanted.score).max() < 1e-2


def test_newcomers_of_a_fit_with_own_vectors_have_theirs_by_id(log, tmp_path):
    users = np.unique(log["user"])
    vectors = np.random.default_rng(0).standard_normal((len(users), 3)).astype(np.float32)
    lines = [f"{user},{','.join(map(str, row))}" for user, row in zip(users, vectors.tolist(), strict=True)]
    (tmp_path / "vectors.csv").write_text("\n".join(["user,a,b,c", *lines]), encoding="utf-8")
    model = TwoTowerRecommender("baseline", settings=TINY).fit(log, user_vectors=tmp_path / "vectors.csv")
    found = model.recommend_new(vectors={7: vectors[0], 8: vectors[1]}, territory="Poland", k=3)
    assert found["source"].tolist() == ["territory"] * 6 and found["user"].tolist() == [7] * 3 + [8] * 3
    assert found["score"][:3].tolist() != found["score"][3:].tolist()
    with pytest.raises(InputError, match="vectors: 1 of 2 people have none, such as '8'"):
        model.recommend_new({"user": [7, 8]}, vectors={7: vectors[0]}, territory="Poland")
    with pytest.raises(InputError, match="expected histories, vectors or both"):
        model.recommend_new()


def daily_frame(*days: int):
    columns = zip(*(row for day in days for row in day_rows(day)), strict=True)
    return pa.table(dict(zip(("who", "item", "land", "when"), columns, strict=True)))


@pytest.fixture(scope="module")
def daily(tmp_path_factory):
    """One that was fitted to the days of a log, with names of columns of its own. Not to be changed: copies are."""
    names = {"user": "who", "title": "item", "territory": "land", "time": "when"}
    days = {"train_days": 6, "test_days": 2}
    model = TwoTowerRecommender(**SMALL | {"settings": TINY}, **names, import_options=days)
    return model.fit(daily_frame(*range(TRAINED_DAYS))).save(tmp_path_factory.mktemp("daily") / "fit")


def test_updates_have_the_bits_of_the_command_and_are_served(daily, tmp_path):
    first, then = TRAINED_DAYS, (TRAINED_DAYS + 1, TRAINED_DAYS + 2)
    model = TwoTowerRecommender.load(shutil.copytree(daily, tmp_path / "frames"))
    before, who = model.evaluation_.positives, daily_frame(first)["who"].to_pylist()[0]
    assert [day.is_served for day in model.update(daily_frame(first))] == [True]
    kept = TwoTowerRecommender.load(model.save(tmp_path / "kept"))
    shutil.rmtree(tmp_path / "frames")  # what was saved stands alone
    assert len(kept.update(daily_frame(*then))) == 2

    run = shutil.copytree(daily, tmp_path / "command") / "fit" / "runs" / "mtl-0"
    for days in ((first,), then):
        log = write_days(tmp_path / f"{days[0]}.csv", *days)
        log.write_text(log.read_text().replace("user,title,territory,time", "who,item,land,when"), encoding="utf-8")
        result = CliRunner().invoke(cli, ["update", str(run), "--events", str(log)])
        assert result.exit_code == 0, result.stderr
    folder = kept.run_.parent
    assert kept.run_.name == name_of(then[-1]) and kept.evaluation_.positives != before
    for day in ("start", *map(name_of, (first, *then))):
        assert bits(folder / day) == bits(run / "days" / day)
    served = kept.recommend([who], k=3)
    assert served.column_names[:2] == ["who", "item"] and set(served["source"].to_pylist()) == {"model"}
    seen = {row[1] for day in range(then[-1] + 1) for row in day_rows(day) if row[0] == who}
    assert not seen & set(served["item"].to_pylist()), "what was watched on the new days is left out, too"
    fresh = kept.recommend_new({"who": ["x"], "item": [kept.dataset_.title_ids[-1]]}, territory="DE", k=3)
    assert kept.dataset_.n_titles > kept.dataset_.base.n_titles and fresh["source"].tolist() == ["history"] * 3
    assert kept.dataset_.title_ids[-1] not in fresh["item"]


def test_a_day_that_is_held_back_is_a_warning(daily, tmp_path):
    model = TwoTowerRecommender.load(shutil.copytree(daily, tmp_path / "fit"))
    frame = daily_frame(TRAINED_DAYS)
    new = pa.array([f"new {i}" for i in range(len(frame))])
    with pytest.warns(UserWarning, match="is a candidate and not served: .* have new titles"):
        (result,) = model.update(frame.set_column(1, "item", new))
    assert not result.is_served and "new 1" not in model.dataset_.title_ids
    with pytest.raises(InputError, match="events: int"):
        model.update(3)
    with pytest.raises(InputError, match="no column 'who'"):
        model.update({"user": ["u1"]})


def test_a_fit_without_times_has_no_next_day(model, log):
    with pytest.raises(InputError, match="has no times, so there is no next day"):
        model.update(log)


def test_callbacks_are_told_of_a_fit(log):
    class Recorder(Callback):
        steps, epochs, evaluations = 0, 0, []

        def on_step(self, record):
            self.steps += 1

        def on_epoch(self, record):
            self.epochs += 1

        def on_evaluation(self, record):
            self.evaluations.append((record.users, record.overall))

    told = Recorder()
    model = TwoTowerRecommender("baseline", settings=TINY).fit(log, callbacks=[told])
    assert told.steps > 1 and told.epochs == 1 and told.evaluations[-1] == ("test", model.evaluation_.overall)


def test_small_frames_are_fitted_or_one_line(log):
    few = {name: column[:360] for name, column in log.items()}
    found = TwoTowerRecommender(settings=TINY).fit(few).recommend([1000], k=2)
    assert found["source"].tolist() == ["model"] * 2
    for n in (0, 1, 5):
        with pytest.raises(InputError) as error:
            TwoTowerRecommender(settings=TINY).fit({name: column[:n] for name, column in log.items()})
        assert "\n" not in str(error.value)


def test_recommendations_as_of_a_day_leave_out_what_is_launched_later():
    days = np.arange(240 * 12) // 240
    log = watch_log() | {"time": np.datetime64("2024-01-01") + days.astype("timedelta64[D]")}
    log["title"] = np.where((log["title"] == "film 0") & (days < 11), "film 1", log["title"])
    log["title"][-1] = "film 0"
    model = TwoTowerRecommender("baseline", settings=TINY).fit(log)
    early, late = (model.recommend(k=40, day=day)["title"].tolist() for day in (0, None))
    assert "film 0" in late and "film 0" not in early


def test_saved_and_loaded_it_answers_the_same(model, tmp_path):
    model.save(tmp_path / "kept")
    with pytest.raises(InputError, match="exists already"):
        model.save(tmp_path / "kept")
    loaded = TwoTowerRecommender.load(tmp_path / "kept")
    assert rows(loaded.recommend(k=3)) == rows(model.recommend(k=3))
    assert loaded.get_params() == model.get_params() | {"path": None}
    json.dumps(model.explain(1000, "film 3"), default=str)  # a record, not objects
    assert model.explain(1000, "film 3")["own"] == loaded.explain(1000, "film 3")["own"]


def test_parameters_are_those_of_the_constructor(model):
    copy = type(model)(**model.get_params())
    assert copy.get_params() == model.get_params()
    assert copy.set_params(groups=3, seed=5).groups == 3
    with pytest.raises(ValueError, match="no parameter 'depth'"):
        copy.set_params(depth=3)
    with pytest.raises(InputError, match="has not been fitted"):
        copy.recommend()
    with pytest.raises(InputError, match="method 'forest': expected one of baseline"):
        TwoTowerRecommender("forest").fit({})


@pytest.mark.parametrize("kind", ["pandas", "polars", "duckdb", "columns", "numpy"])
def test_the_kind_of_table_that_comes_in_goes_out(kind, log):
    few = {name: column[:1200] for name, column in log.items()}
    frame = few
    if kind == "pandas":
        frame = pytest.importorskip("pandas").DataFrame(few).astype({"title": "category"})
    elif kind == "polars":
        frame = pytest.importorskip("polars").DataFrame(few)
    elif kind == "duckdb":
        frame = pytest.importorskip("duckdb").from_arrow(pa.table(few))
    elif kind == "numpy":
        frame = np.rec.fromarrays([column.astype(column.astype(str).dtype if column.dtype == object else column.dtype)
                                   for column in few.values()], names=list(few))  # fmt: skip
    model = TwoTowerRecommender("baseline", sample={"random_users": "50%"}, settings={
        "model": {"hidden": 8}, "train": {"epochs": 1, "batch_size": 512}}).fit(frame)  # fmt: skip
    found = model.recommend([1000], k=2)
    assert type(found) is (dict if kind == "columns" else np.recarray if kind == "numpy" else type(frame))
    users = found["user"] if kind != "duckdb" else found.to_arrow_table()["user"].to_pylist()
    assert [int(user) for user in users] == [1000, 1000]


@pytest.mark.parametrize(
    ("users", "titles"), [("float64", "int16"), ("int32", "large_string"), ("string", "dictionary")]
)
def test_ids_come_back_in_their_type(users, titles, log):
    user = pa.array(log["user"]).cast(users if users != "string" else pa.string())
    number = pa.array([int(t.removeprefix("film ")) - 20 for t in log["title"]])
    title = number.cast("int16") if titles == "int16" else pa.array([f"ünï {t}" for t in log["title"]], pa.string())
    title = title.dictionary_encode() if titles == "dictionary" else title.cast(titles)
    model = TwoTowerRecommender(**SMALL).fit(pa.table({"user": user, "title": title, "territory": log["territory"]}))
    found = model.recommend(user[12:13].to_pylist(), k=3)
    assert found.schema.field("user").type == user.type and found["source"].to_pylist() == ["model"] * 3
    known = title.unique() if titles != "dictionary" else title.cast(pa.string()).unique()
    assert set(found["title"].to_pylist()) <= set(known.to_pylist())
    assert model.score(found)["score"].to_pylist() == pytest.approx(found["score"].to_pylist(), abs=1e-4)


NUMBERS = np.arange(240) + 1000
KINDS_OF_IDS = {
    "beyond 2^53": 2**53 + 1 + 2 * NUMBERS,
    "beyond 2^63": NUMBERS.astype(np.uint64) + 2**63,
    "UUID": np.array([UUID(int=int(i)) for i in NUMBERS], object),
    "bytes": np.array([b"u%d" % i for i in NUMBERS], object),
    "dates": np.datetime64("2020-01-01") + NUMBERS.astype("timedelta64[D]"),
    "spaces around": np.array([f" u{i} " for i in NUMBERS], object),
}


@pytest.mark.parametrize("kind", KINDS_OF_IDS)
def test_a_user_of_any_type_is_known_again(kind, log):
    ids = KINDS_OF_IDS[kind]
    model = TwoTowerRecommender("baseline", settings={"model": {"hidden": 8}, "train": {"epochs": 1}})
    one = ids[3].item() if isinstance(ids[3], np.generic) else ids[3]
    found = model.fit(log | {"user": ids[log["user"] - 1000]}).recommend([one], k=2)
    assert found["source"].tolist() == ["model"] * 2
    back = [str(one).strip() for one in found["user"].tolist()]
    assert back == [str(one).strip()] * 2


def test_categories_of_polars_and_lazy_frames(log):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(log).with_columns(polars.col("title").cast(polars.Categorical))
    frame = frame.with_columns(polars.col("territory").cast(polars.Enum(COUNTRIES)))
    model = TwoTowerRecommender("baseline", settings={"model": {"hidden": 8}, "train": {"epochs": 1}})
    found = model.fit(frame.lazy()).recommend([1003], k=2)
    assert isinstance(found, polars.DataFrame) and found["source"].to_list() == ["model"] * 2


def test_missing_values_are_one_line_that_names_the_table(log):
    with pytest.raises(InputError, match=r"^events, row 1, column 'user': '' is not a user"):
        TwoTowerRecommender().fit(log | {"user": np.where(log["user"] == 1000, np.nan, log["user"])})


def test_nothing_that_is_optional_is_imported_with_it():
    names = "sklearn", "pandas", "polars", "duckdb", "optuna", "onnx", "voyager", "IPython"
    code = f"import sys; from twotower import TwoTowerRecommender as T; T().get_params(); print([n for n in {names} " \
           "if n in sys.modules])"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_scikit_learn_clones_it():
    base = pytest.importorskip("sklearn.base")
    model = TwoTowerRecommender("baseline", groups=2, settings={"model": {"hidden": 8}}, seed=3)
    assert base.clone(model).get_params() == model.get_params()
    assert model.set_params(groups=3).groups == 3


def test_wrong_tables_are_one_line():
    with pytest.raises(InputError, match="events: int, expected a data frame"):
        TwoTowerRecommender().fit(3)
    with pytest.raises(InputError, match="column"):
        TwoTowerRecommender().fit({"user": ["a"], "title": ["b"]})


def test_the_tour_runs(capsys):
    runpy.run_path(str(ROOT / "examples" / "from_python.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("PR-AUC in the last week", "  history", "  all  ", " pairs learned; "))

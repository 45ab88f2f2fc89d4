"""Yesterday's model for today's users: what a run has of titles and territories goes by their ids."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tiny_runs import failing_line

from twotower.cli import cli
from twotower.core.errors import InputError
from twotower.data.dataset import Dataset
from twotower.data.memory.knowledge import read_history
from twotower.data.memory.memory import TITLE_TERMS
from twotower.data.sample import Pairs, Sample
from twotower.serving.open_run import open_memory, open_model, score_pairs
from twotower.serving.recommend import recommend
from twotower.serving.remap import groups_by_code, offsets_by_id, unseen_pairs, with_shared_group
from twotower.training.run import RunReader

HOMES, TITLES, NEW_TITLE = ("DE", "FR", "PL"), 24, "t24"
WORDS = ("star ship", "love heart", "police gun", "joke fun")
SPLIT = ["--train-days", "6", "--test-days", "2"]
MTL = ["--mtl", "--groups", "2", "--rank", "2"]


def write_log(path: Path, days: int, newcomers: bool) -> None:
    """Users like a genre; with ``newcomers`` the last two days bring users, a title and a territory."""
    rng, rows = np.random.default_rng(3), []
    for day in range(days):
        for user in rng.choice(400, 150, replace=False):
            liked = np.where(np.arange(TITLES) % 4 == user % 4, 30.0, 1.0)
            rows.append((f"u{user}", f"t{rng.choice(TITLES, p=liked / liked.sum())}", HOMES[user % 3], day))
    if newcomers:
        fresh = [(f"n{i}", f"t{i % 4 + 4 * j}", HOMES[i % 3]) for i in range(12) for j in range(2)]
        rows += [(*row, days - 1) for row in [*fresh, ("n0", NEW_TITLE, "DE"), ("alp", "t3", "AD")]]
    lines = [f"{user},{title},{home},2024-03-{day + 1:02d}\n" for user, title, home, day in rows]
    path.write_text("user,title,territory,time\n" + "".join(lines))


def run(*arguments) -> str:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def add(folder: Path, name: str, log: str, *options) -> Path:
    titles = folder / "titles.csv"
    run("import", folder / name, "--events", folder / log, "--time", "time", "--titles", titles, *options)
    return folder / name


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Yesterday's log with its models, and today's: to score (``today``), and to judge by (``week``)."""
    folder = tmp_path_factory.mktemp("days")
    write_log(folder / "old.csv", 14, False)
    write_log(folder / "new.csv", 16, True)
    lines = [f"t{i},g{i % 4},{WORDS[i % 4]} {i}\n" for i in range(TITLES + 1)]
    (folder / "titles.csv").write_text("title,genre,synopsis\n" + "".join(lines))
    shop = add(folder, "shop", "old.csv", *SPLIT)
    run("embed", shop, "--categorical", "genre", "--user-dims", 6, "--no-popularity")
    small = ["--hidden", 8, "--epochs", 2, "--batch-size", 128]
    by_territory = ["--title-offsets", "territory", "--group-prior", 2]
    run("train", shop, *small, "--epochs", 15, "--run", folder / "base", "--no-memory", *by_territory)
    run("train", shop, *small, *MTL, "--no-memory", "--run", folder / "mtl", "--group-prior", 2)
    run("train", shop, *small, "--memory", "--run", folder / "memory")
    run("train", shop, *small, *MTL, "--memory", "--group-prior", 2, "--run", folder / "both")
    run("train", shop, *small, "--run", folder / "bias", "--no-memory", "--territory-bias", "--title-offsets", "title")
    for name, options in (("today", ["--train-days", 0, "--test-days", 0]), ("week", SPLIT)):
        run("embed", add(folder, name, "new.csv", *options), "--basis-from", shop)
    run("sample", folder / "week")
    return folder


def recommendations(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in csv.DictReader(text.splitlines()):
        found.setdefault(row["user"], []).append(row["title"])
    return found


def test_yesterdays_model_recommends_to_todays_users(home):
    found = recommendations(run("recommend", home / "base", home / "today", "--top", TITLES + 1))
    data = Dataset.open(home / "today")
    assert list(found) == data.user_ids and {"n3", "alp"} <= set(found)
    assert NEW_TITLE in found["n1"] and NEW_TITLE not in found["n0"], "watched already"
    first = [int(found[f"n{i}"][0][1:]) % 4 == i % 4 for i in range(12)]
    assert np.mean(first) > 0.7, "what newcomers get first is of the genre that they watched"


def test_what_a_model_says_of_those_it_knows_does_not_change(home):
    """The same users and titles in another dataset, in another order, get the scores that they had."""
    shop, twin = Dataset.open(home / "shop"), home / "twin"
    if not twin.exists():
        lines = (home / "old.csv").read_text().splitlines()
        order = np.random.default_rng(0).permutation(len(lines) - 1)
        (home / "mixed.csv").write_text("\n".join([lines[0], *(lines[1 + i] for i in order)]))
        run("embed", add(home, "twin", "mixed.csv", *SPLIT), "--basis-from", home / "shop")
    data = Dataset.open(twin)
    assert data.title_ids != shop.title_ids and data.user_ids != shop.user_ids
    user, title = np.repeat(np.arange(shop.n_users), shop.n_titles), np.tile(np.arange(shop.n_titles), shop.n_users)
    there = np.array([data.user_ids.index(name) for name in shop.user_ids])[user]
    other = np.array([data.title_ids.index(name) for name in shop.title_ids], np.int32)[title]
    zeros = np.zeros(len(user), np.float32), np.zeros(len(user), np.int32)
    for name in ("base", "mtl", "bias", "memory", "both"):
        expected = score_pairs(home / name, shop, Pairs(user, title.astype(np.int32), *zeros))
        found = score_pairs(home / name, data, Pairs(there, other, *zeros))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_offsets_go_by_the_ids_of_titles_and_territories(home):
    data = Dataset.open(home / "today")
    model, group = open_model(home / "base", data)
    before, _ = open_model(home / "base", Dataset.open(home / "shop"))
    codes, ids = Dataset.open(home / "shop").territories.code, Dataset.open(home / "shop").title_ids
    assert group.tolist() == [0, 0, 0, 0]
    for c, code in enumerate(data.territories.code):
        for t, title in enumerate(data.title_ids):
            if title == NEW_TITLE:
                assert model.title_offsets[c, t] == 0
            elif code in codes:
                assert model.title_offsets[c, t] == before.title_offsets[codes.index(code), ids.index(title)]
    assert np.ptp(before.title_offsets, axis=0).max() > 0, "or territories would not matter"


def test_an_unknown_territory_gets_what_holds_on_average_and_an_unknown_title_nothing():
    offsets = np.array([[1, 2], [3, 6]], np.float32)
    found = offsets_by_id(offsets, np.array([1, -1]), np.array([1, -1, 0]), np.array([30, 10]))
    assert found.tolist() == [[6, 0, 3], [3, 0, 1.5]] and found.dtype == np.float32
    alike = offsets_by_id(np.float32([[0.1, 0.7]] * 3), np.array([-1]), np.array([0, 1]), np.array([0, 0, 0]))
    assert alike.tolist() == np.float32([[0.1, 0.7]]).tolist()


def test_what_a_territory_has_to_itself_goes_by_its_code(home):
    shop, data = Dataset.open(home / "shop"), Dataset.open(home / "today")
    before, _ = open_model(home / "bias", shop)
    model, _ = open_model(home / "bias", data)
    assert model.territories == 4 and before.territories == 3
    for c, code in enumerate(data.territories.code):
        own = model.params["territory.b"][c]
        if code == "AD":
            assert not own.any()
        else:
            np.testing.assert_array_equal(own, before.params["territory.b"][shop.territories.code.index(code)])
    np.testing.assert_array_equal(model.running.flat, before.running.flat)


def test_memory_goes_by_the_ids_of_titles_and_the_codes_of_territories(home):
    shop, data = Dataset.open(home / "shop"), Dataset.open(home / "today")
    model, _ = open_model(home / "memory", data)
    before, after = open_memory(home / "memory", shop, model), open_memory(home / "memory", data, model)
    titles = [shop.title_ids.index(name) for name in data.title_ids if name != NEW_TITLE]
    there = [t for t, name in enumerate(data.title_ids) if name != NEW_TITLE]
    new = data.title_ids.index(NEW_TITLE)
    for c, code in enumerate(data.territories.code):
        if code in shop.territories.code:
            old = shop.territories.code.index(code)
            np.testing.assert_array_equal(after.tables[:, c, there], before.tables[:, old, titles])
            np.testing.assert_array_equal(after.tables[:, c, new], before.unwatched[:, old])
    old, moved = (memory.cosines.toarray() for memory in (before, after))
    np.testing.assert_array_equal(moved[np.ix_(there, there)], old[np.ix_(titles, titles)])
    assert not moved[new].any() and not moved[:, new].any()
    for own, kept in zip(after.factors, before.factors, strict=True):
        np.testing.assert_array_equal(own[there], kept[titles])
        assert kept.any() and not own[new].any()
    unknown = after.tables[:, data.territories.code.index("AD")]
    for term, values in zip(TITLE_TERMS, unknown, strict=True):
        if term.endswith("world"):
            np.testing.assert_allclose(values, after.tables[TITLE_TERMS.index(term), 0], rtol=1e-5)
        elif term.endswith(("group", "territory")):
            assert not values.any()
    assert after.history.shape == (data.n_users, data.n_titles)
    np.testing.assert_array_equal(after.history.toarray(), read_history(data).toarray())


def test_a_new_title_is_as_one_that_nobody_watched(home):
    """Half a viewer everywhere, and the more users a group and a territory have, the less."""
    memory = open_memory(
        home / "memory", Dataset.open(home / "shop"), open_model(home / "memory", Dataset.open(home / "shop"))[0]
    )
    levels = memory.unwatched[:3]  # of the history
    users = np.bincount(memory.territory)
    world = 0.5 / (users.sum() + 1)
    np.testing.assert_allclose(levels[0], np.log(world), rtol=1e-5)
    np.testing.assert_allclose(levels[2], np.log(20 / (users + 20)), rtol=1e-5)
    np.testing.assert_array_equal(memory.unwatched[-2:], 0)
    assert (levels[0] <= memory.tables[0].T + 1e-6).all()


def test_a_run_with_memory_is_served_to_newcomers(home):
    found = recommendations(run("recommend", home / "memory", home / "today", "--top", TITLES + 1))
    assert {"n3", "alp"} <= set(found) and NEW_TITLE in found["n1"]
    data, model = Dataset.open(home / "today"), home / "memory"
    best = recommend(model, data, top=5)
    user = np.repeat(best.user, 5)
    expected = score_pairs(model, data, Pairs(user, best.title.reshape(-1), user * 0.0, user * 0))
    np.testing.assert_allclose(best.score.reshape(-1), expected, rtol=1e-4, atol=1e-4)
    run("evaluate", home / "both", "--dataset", home / "week")


def test_users_of_a_territory_without_a_head_are_refused_and_others_are_not(home, tmp_path):
    n = Dataset.open(home / "today").n_users
    line = f"{home / 'today'}: 1 of {n} users live in 'AD', for which {home / 'mtl'} has no head"
    fail = "--unknown-territory", "fail"
    assert failing_line("recommend", home / "mtl", home / "today", *fail).startswith(line)
    assert line in failing_line("export", home / "mtl", home / "today", "--out", tmp_path / "out", *fail)
    assert "has no head" in failing_line(
        "explain", home / "mtl", "--dataset", home / "today", "--user", "alp", "--title", "t1"
    )
    table = RunReader(home / "mtl").evaluation.territories
    group = dict(zip(table.code, table.group.tolist(), strict=True))
    assert groups_by_code(RunReader(home / "mtl"), ["FR", "AD"], 2).tolist() == [group["FR"], -1]
    found = recommendations(run("recommend", home / "mtl", home / "today", "--territory", "FR"))
    names = [name for name in Dataset.open(home / "today").user_ids if name != "alp"]
    assert set(found) == {name for name in names if int(name[1:]) % 3 == 1}


def test_one_user_of_an_unknown_territory_does_not_stop_the_others(home):
    arguments = ["recommend", str(home / "mtl"), str(home / "today")]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0 and "left out" in result.stderr and "'AD'" in result.stderr
    others = recommendations(result.stdout)
    everybody = recommendations(run(*arguments, "--unknown-territory", "shared"))
    assert "alp" not in others and set(everybody) == {*others, "alp"}
    assert others == {user: titles for user, titles in everybody.items() if user != "alp"}
    (home / "alp").write_text("alp\n")
    assert "left out: " in failing_line(*arguments, "--users", home / "alp")


@pytest.mark.parametrize("name", ["mtl", "both"])
def test_without_a_head_a_user_has_what_all_groups_share(home, name):
    dataset, reader = Dataset.open(home / "today"), RunReader(home / name)
    alp = dataset.user_ids.index("alp")
    model, group = open_model(reader.path, dataset, np.array([alp]), "shared")
    known, _ = open_model(reader.path, dataset, np.array([0]))
    table, K = reader.evaluation.territories, known.config.groups
    assert group[dataset.territories.code.index("AD")] == K and model.config.groups == K + 1
    assert not any(model.params[part][K].any() for part in ("head.P", "head.Q"))
    share = np.array([table.users[table.group == k].sum() for k in range(K)]) / table.users.sum()
    np.testing.assert_allclose(model.params["title_bias.C"][K], share @ known.params["title_bias.C"], rtol=1e-5)
    for part, value in known.params.items():
        np.testing.assert_array_equal(model.params[part][: len(value)], value)


def test_heads_with_nothing_shared_are_told(home):
    reader, dataset = RunReader(home / "mtl"), Dataset.open(home / "today")
    model, _ = open_model(reader.path, dataset, np.array([0]))
    model.config = replace(model.config, head="plain")
    with pytest.raises(InputError, match="--head plain has no part that all groups share"):
        with_shared_group(reader, model)


def test_embeddings_of_newcomers_are_exported(home, tmp_path):
    run("export", home / "mtl", home / "today", "--out", tmp_path / "out", "--territory", "DE")
    bias, users, titles = (np.load(tmp_path / "out" / f"{name}.npy") for name in ("bias", "users", "titles"))
    data = Dataset.open(home / "today")
    c, unknown = data.territories.index("DE"), data.territories.index("AD")
    assert np.isneginf(bias[unknown]).all() and np.isfinite(np.delete(bias, unknown, axis=0)).all()
    rows = np.flatnonzero(data.user_territory == c)
    user, title = np.repeat(rows, data.n_titles), np.tile(np.arange(data.n_titles, dtype=np.int32), len(rows))
    pairs = Pairs(user, title, np.zeros(len(user), np.float32), np.zeros(len(user), np.int32))
    expected = score_pairs(home / "mtl", data, pairs).reshape(len(rows), -1)
    np.testing.assert_allclose(users @ titles.T + bias[c], expected, rtol=1e-4, atol=1e-5)


def test_the_score_of_a_newcomer_is_explained(home):
    text = run("explain", home / "mtl", "--dataset", home / "today", "--user", "n1", "--title", NEW_TITLE)
    assert "user   n1: France (FR)" in text and "title  t24" in text
    text = run("explain", home / "base", "--dataset", home / "week", "--user", "alp", "--title", "t1")
    assert "Andorra" in text and "training positives" not in text.splitlines()[0]


def test_a_run_is_judged_by_todays_pairs_of_users_that_it_was_not_trained_on(home):
    reader, week, shop = RunReader(home / "mtl"), Dataset.open(home / "week"), Dataset.open(home / "shop")
    pairs = Sample(week).test_pairs()
    left = unseen_pairs(reader, week, pairs)
    trained_on = {shop.user_ids[user] for user in Sample(shop).train_users}
    names = {week.user_ids[user] for user in pairs.user}
    assert {week.user_ids[user] for user in left.user} == names - trained_on
    left = left.take(left.user != week.user_ids.index("alp"))  # who has no head
    assert 0 < len(left) < len(pairs)
    result = CliRunner().invoke(cli, ["evaluate", str(home / "mtl"), "--dataset", str(home / "week"), "--json"])
    assert result.exit_code == 0, result.output
    assert f"{len(left)} of the {len(pairs)} test pairs of {home / 'week'} are evaluated" in result.stderr
    assert f'"pairs": {len(left)}' in result.stdout
    line = failing_line("evaluate", home / "mtl", "--dataset", home / "week", "--day", 99)
    assert "expected one of the test days, 6, 7" in line


def test_pairs_of_an_unknown_territory_are_left_out_or_scored_or_a_reason_to_stop(home):
    week = home / "week"
    found = {}
    for choice in ("skip", "shared"):
        arguments = ["evaluate", home / "mtl", "--dataset", week, "--json", "--unknown-territory", choice]
        result = CliRunner().invoke(cli, list(map(str, arguments)))
        assert result.exit_code == 0, result.output
        found[choice] = json.loads(result.stdout), result.stderr
    of = {choice: {row["code"]: row for row in facts["territories"]} for choice, (facts, _) in found.items()}
    without = of["shared"]["AD"]["pairs"]
    assert without and found["shared"][0]["pairs"] == found["skip"][0]["pairs"] + without
    assert not of["skip"].get("AD", {"pairs": 0})["pairs"] and of["skip"]["DE"] == of["shared"]["DE"]
    assert f"{without} pairs in territories that it has no head for are left out." in found["skip"][1]
    assert f"{without} pairs in territories that it has no head for are scored without a head." in found["shared"][1]
    assert "'AD', for which" in failing_line(
        "evaluate", home / "mtl", "--dataset", week, "--unknown-territory", "fail"
    )


def test_vectors_made_anew_are_refused_with_the_way_out(home, tmp_path):
    data = add(home, tmp_path.name, "new.csv", *SPLIT)
    run("embed", data, "--categorical", "genre", "--user-dims", 6, "--no-territory-onehot")
    assert "wide" in failing_line("recommend", home / "base", data)
    run("embed", data, "--basis-from", home / "shop", "--overwrite")
    assert recommendations(run("recommend", home / "base", data))
    write_log(home / "same.csv", 14, False)
    same = add(home, f"{tmp_path.name}-same", "same.csv", "--train-days", 4, "--test-days", 2)
    run("embed", same, "--categorical", "genre", "--user-dims", 6, "--no-popularity")
    line = failing_line("recommend", home / "base", same)
    assert line.endswith(f"train a new model, or see twotower embed --basis-from {home / 'shop'}")


def test_a_log_that_is_all_history_is_no_log_to_train_on(home):
    assert Dataset.open(home / "today").train_days == Dataset.open(home / "today").test_days == 0
    assert failing_line("train", home / "today").endswith("all of its log is history, for scoring only")

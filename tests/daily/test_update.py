"""Daily updates: what a day adds, that it is evaluated before it is learned from, and the same bits by any way."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from daily_logs import TRAINED_DAYS, bits, day_rows, name_of, run_command, succeed, write_days, write_log
from safetensors.numpy import load_file

from twotower.core.errors import InputError
from twotower.core.storage import read_csv, read_json, read_record
from twotower.daily.growth import Shares, roles_of
from twotower.daily.replay import LEARNED, to_replay, together
from twotower.data.dataset import Dataset
from twotower.data.grown import HELD_OUT, Part
from twotower.data.sample import Sample
from twotower.serving.open_run import open_memory, open_model
from twotower.serving.recommend import recommend
from twotower.training.days import current_day, dataset_of_day, day_path, served
from twotower.training.run import RunReader

D12, D13, D14, D15 = range(TRAINED_DAYS, TRAINED_DAYS + 4)


def test_days_one_by_one_are_one_process_that_did_them_all(copied, tmp_path):
    one_by_one, at_once, one_thread = (copied(name) for name in ("one-by-one", "at-once", "one-thread"))
    days = D12, D13, D14, D15
    for day in days:
        succeed("update", one_by_one, "--events", write_days(tmp_path / f"{day}.csv", day))
        succeed("update", one_thread, "--events", tmp_path / f"{day}.csv", "--threads", 1)
    succeed("update", at_once, "--events", write_days(tmp_path / "all.csv", *days))
    for day in ("start", *map(name_of, days)):
        expected = bits(day_path(one_by_one, day))
        assert {"training.safetensors", "counts.safetensors", "predictions/scores.npy"} <= set(expected)
        assert bits(day_path(at_once, day)) == expected
        assert bits(day_path(one_thread, day)) == expected
    assert (one_by_one / "days/daily.csv").read_bytes() == (at_once / "days/daily.csv").read_bytes()


def test_a_day_is_evaluated_by_the_model_of_the_day_before(run, tmp_path):
    """The day's scores, made again from the files of the day before, and what was held out was not learned from."""
    succeed("update", run, "--events", write_days(tmp_path / "12.csv", D12))
    base = Sample(dataset_of_day(run, name_of(D12)).base)
    weights = [load_file(day_path(run, name) / "weights.safetensors") for name in ("start", name_of(D12))]
    assert any(not np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
    with open(run / "days/daily.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    overall = next(row for row in rows if row["territory"] == "all")
    assert float(overall["pr_auc"]) == pytest.approx(RunReader(day_path(run, name_of(D12))).overall, abs=1e-6)

    worst = [row for row in rows if row["territory"] == "worst"]
    judged = [float(row["pr_auc"]) for row in rows if row["territory"].isupper() and int(row["positives"]) >= 50]
    assert [float(row["pr_auc"] or "inf") for row in worst] == [min(judged, default=float("inf"))]
    bounded = [row for row in rows if row["low"]]
    assert {"all", "macro"} < {row["territory"] for row in bounded}
    assert all(0 <= float(row["low"]) <= float(row["high"]) <= 1 for row in bounded)
    assert float(overall["low"]) < float(overall["pr_auc"]) < float(overall["high"]) and int(overall["positives"])

    learned = copied_without_learning(run, tmp_path)
    assert RunReader(day_path(learned, name_of(D12))).overall == RunReader(day_path(run, name_of(D12))).overall
    dataset = dataset_of_day(run, name_of(D12))
    assert (dataset.roles[base.test_users] == HELD_OUT).all() and (dataset.roles[base.train_users] != HELD_OUT).all()


def copied_without_learning(run: Path, folder: Path) -> Path:
    """The same day, taken in after its training users' events were left out: held-out users see the same model."""
    other = Path(shutil.copytree(run, folder / "other"))
    shutil.rmtree(other / "days")
    dataset = dataset_of_day(run, name_of(D12))
    held_out = {name for name, role in zip(dataset.user_ids, dataset.roles, strict=True) if role == HELD_OUT}
    rows = [row for row in day_rows(D12) if row[0] in held_out]
    succeed("update", other, "--events", write_log(folder / "held-out.csv", rows))
    assert read_record(day_path(other, name_of(D12)) / "run.json")["day"]["training_pairs"] == 0
    return other


def test_what_is_new_gets_ids_vectors_and_a_group_and_is_served(run, tmp_path):
    rows = day_rows(D12)
    rows += [("nina", f"t{i}", "AT", rows[0][3]) for i in range(6)] + [("omar", "brandnew", "DE", rows[0][3])]
    rows += [(f"u{i}", "brandnew", "DE", rows[0][3]) for i in (0, 4, 7)]
    line = succeed("update", run, "--events", write_log(tmp_path / "12.csv", rows))
    assert "2 new users, 1 new title, new territory AT" in line
    path, dataset = served(run)
    nina = dataset.user_ids.index("nina")
    assert dataset.territories.code[dataset.user_territory[nina]] == "AT" and dataset.title_ids[-1] == "brandnew"
    germany = dataset.territories.code.index("DE")
    model, group = open_model(path, dataset)
    assert group[-1] == group[germany], "the nearest of the territories that are known"
    assert open_memory(path, dataset, model).tables.shape[1:] == (dataset.n_territories, dataset.n_titles)
    assert np.any(dataset.vectors_of(np.array([nina]))), "her day is her history"
    output = succeed("recommend", run, "--users", write_log(tmp_path / "who.csv", [("nina", "", "", "")]), "--top", 5)
    best = [line.split(",") for line in output.splitlines() if line.startswith("nina,")]
    assert len(best) == 5 and not {row[2] for row in best} & {f"t{i}" for i in range(6)}


def test_a_users_vector_is_that_of_the_whole_log(run, shop, tmp_path):
    """Histories that grew day by day give the vectors of one import of everything, on the same basis."""
    succeed("update", run, "--events", write_days(tmp_path / "all.csv", D12, D13))
    log = write_days(tmp_path / "log.csv", *range(D13 + 1))
    today = tmp_path / "today"
    succeed("import", today, "--events", log, "--time", "time", "--train-days", 0, "--test-days", 0)
    succeed("embed", today, "--basis-from", shop / "shop")
    whole, grown = Dataset.open(today), dataset_of_day(run, name_of(D13))
    rows = [whole.user_ids.index(name) for name in grown.user_ids]
    np.testing.assert_allclose(grown.user_vectors, whole.user_vectors[rows], atol=1e-5)


def test_the_role_of_a_new_user_is_a_function_of_the_id():
    ids = [f"user {i}" for i in range(4000)]
    roles = roles_of(ids, Shares(0.3, 0.5))
    assert np.array_equal(roles_of(ids[::-1], Shares(0.3, 0.5))[::-1], roles)
    assert np.mean(roles == HELD_OUT) == pytest.approx(0.3, abs=0.03)
    assert np.array_equal(roles_of(ids, Shares(0.3, 0.9)) == HELD_OUT, roles == HELD_OUT)


def test_the_same_day_again_changes_nothing_and_another_is_refused(run, tmp_path):
    log, same = write_days(tmp_path / "12.csv", D12), write_log(tmp_path / "renamed.csv", day_rows(D12)[::-1])
    succeed("update", run, "--events", log)
    before = bits(day_path(run, name_of(D12)))
    assert "already there" in succeed("update", run, "--events", same)
    assert bits(day_path(run, name_of(D12))) == before
    refused = run_command("update", run, "--events", write_days(tmp_path / "other.csv", D12, seed=5))
    assert refused.exit_code == 2 and "other events than" in refused.stderr and "--replace" in refused.stderr
    assert bits(day_path(run, name_of(D12))) == before


def test_a_day_is_replaced_and_the_later_ones_follow(copied, tmp_path):
    run, other = copied("run"), copied("other")
    for day in (D12, D13):
        succeed("update", run, "--events", write_days(tmp_path / f"{day}.csv", day))
    succeed("update", run, "--replace", "--events", write_days(tmp_path / "new.csv", D12, seed=5))
    succeed("update", other, "--events", tmp_path / "new.csv")
    succeed("update", other, "--events", tmp_path / f"{D13}.csv")
    assert current_day(run) == name_of(D13)
    for day in map(name_of, (D12, D13)):
        assert bits(day_path(run, day)) == bits(day_path(other, day))


def test_a_gap_is_refused_by_the_names_of_the_days(run, tmp_path):
    log = write_days(tmp_path / "14.csv", D14)
    refused = run_command("update", run, "--events", log)
    assert refused.exit_code == 2 and f"2 days are missing after {name_of(D12 - 1)}: " in refused.stderr
    assert f"{name_of(D12)}, {name_of(D13)}" in refused.stderr and current_day(run) is None
    succeed("update", run, "--events", log, "--allow-gap")
    assert read_record(day_path(run, name_of(D14)) / "run.json")["day"]["skipped"] == [name_of(D12), name_of(D13)]


def test_rollback_serves_an_earlier_day_and_the_later_one_comes_back(run, tmp_path):
    succeed("update", run, "--events", write_days(tmp_path / "all.csv", D12, D13))
    after = bits(day_path(run, name_of(D13)))
    succeed("rollback", run, "--to", name_of(D12))
    assert current_day(run) == name_of(D12)
    assert f"{name_of(D13)}  rolled back" in succeed("days", run, "--html", tmp_path / "days.html")
    page = (tmp_path / "days.html").read_text()
    drawn = [line.partition('"')[0].split() for line in page.split('<polyline points="')[1:]]
    assert [len(points) for points in drawn] == [2, 2, 1], "all, macro, and the frozen pairs of the first day"
    assert "<td" in page and page.count(name_of(D13)) >= 2
    succeed("update", run, "--events", write_days(tmp_path / "13.csv", D13))
    assert current_day(run) == name_of(D13) and bits(day_path(run, name_of(D13))) == after
    assert run_command("rollback", run, "--to", "2023-01-01").exit_code == 2
    succeed("rollback", run, "--to", "start")
    assert succeed("recommend", run, "--top", 1)


def test_what_is_served_says_its_days_and_days_are_not_mixed(run, tmp_path):
    succeed("update", run, "--events", write_days(tmp_path / "all.csv", D12, D13))
    succeed("recommend", run, "--out", tmp_path / "best.csv")
    succeed("export", run, "--out", tmp_path / "all")
    succeed("export", run, "--changed-since", name_of(D12), "--out", tmp_path / "changed")
    facts = read_json(tmp_path / "best.csv.json")
    assert (facts["run"], facts["model_day"], facts["data_day"]) == ("run", name_of(D13), name_of(D13))
    for name in ("all", "changed"):
        manifest = read_record(tmp_path / name / "manifest.json")
        assert {key: manifest[key] for key in facts} == facts
    seen = {row[0] for row in day_rows(D13)}
    assert set(read_csv(tmp_path / "changed" / "users.csv")["user"]) == seen
    changed, dataset = read_csv(tmp_path / "changed" / "changed_titles.csv"), dataset_of_day(run, name_of(D13))
    before = dataset_of_day(run, name_of(D12))
    now, then = (set(zip(*np.nonzero(of.availability), strict=True)) for of in (dataset, before))
    opened = {(dataset.title_ids[title], dataset.territories.code[c]) for title, c in now - then}
    listed = zip(changed["title"], changed["territories"], strict=True)
    assert {(title, code) for title, codes in listed for code in codes.split("|") if code} == opened
    new = [title for title, state in zip(changed["title"], changed["state"], strict=True) if state == "new"]
    assert new == dataset.title_ids[before.n_titles :]
    assert run_command("export", run, "--changed-since", "2020-01-01", "--out", tmp_path / "no").exit_code == 2
    with pytest.raises(InputError, match="vectors are not those"):
        recommend(day_path(run, name_of(D12)), dataset_of_day(run, name_of(D13)))
    succeed("rollback", run, "--to", name_of(D12))
    succeed("recommend", run, "--out", tmp_path / "best.csv")
    assert read_json(tmp_path / "best.csv.json")["model_day"] == name_of(D12)


def test_replay_learns_again_from_pairs_as_they_were_minor_territories_most(copied, tmp_path):
    plain, replaying = copied("plain"), copied("replaying")
    log = write_days(tmp_path / "all.csv", D12, D13, D14)
    succeed("update", plain, "--events", log)
    succeed("update", replaying, "--events", log, "--replay", 0.5)
    days = [read_record(day_path(replaying, name_of(day)) / "run.json")["day"] for day in (D12, D13, D14)]
    assert [day["replayed_pairs"] for day in days] == [0, round(days[1]["training_pairs"] / 2),
                                                       round(days[2]["training_pairs"] / 2)]  # fmt: skip
    weights = [load_file(day_path(run, name_of(D14)) / "weights.safetensors") for run in (plain, replaying)]
    assert not np.array_equal(weights[0]["user.W1"], weights[1]["user.W1"])
    assert days[0]["frozen_pr_auc"] is None and 0 < days[2]["frozen_pr_auc"] <= 1
    table = read_csv(replaying / "days/daily.csv")
    frozen = [row for row in zip(*table.values(), strict=True) if row[1] == "frozen"]
    assert [row[0] for row in frozen] == [name_of(D13), name_of(D14)]
    assert float(frozen[1][6]) == pytest.approx(days[2]["frozen_pr_auc"], abs=1e-6)
    assert int(frozen[1][4]) > int(frozen[0][4]), "pairs of one more day"

    first = Part.read(day_path(replaying, name_of(D12)))
    vectors, user = first.array("replay_vectors"), first.array("replay_user")
    before = dataset_of_day(replaying, "start")
    known = {row.tobytes() for row in before.vectors_of(np.arange(before.n_users))}
    assert len(user) and all(row.tobytes() in known for row in vectors), "vectors of the day before"
    pool = together([first], LEARNED)
    pool = replace(pool, territory=np.where(np.arange(len(pool.territory)) == pool.user[0], 9, 0).astype(np.int16))
    chosen = to_replay([Part(first.day, pool.arrays(LEARNED), {})], 20, 0, 99)
    rare = np.count_nonzero(pool.user == pool.user[0])
    assert np.count_nonzero(chosen.territory[chosen.user] == 9) >= min(rare, 6), "the one user of a small territory"

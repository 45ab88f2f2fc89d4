"""Logs in files become a dataset that holds what they say, in the order that the format promises."""

import json
from pathlib import Path

import numpy as np
import pytest

from twotower.core.errors import InputError
from twotower.data.dataset import Dataset
from twotower.data.ingest.import_config import ImportConfig
from twotower.data.ingest.import_log import import_logs, launch_days

LOG = """user,title,territory,time
ann,alpha,DE,2024-01-01
ann,beta,DE,2024-01-02
ann,beta,DE,2024-01-02
bob,beta,FR,2024-01-03
cid,gamma,DE,2024-01-03
ann,alpha,DE,2024-01-04
bob,delta,FR,2024-01-04
cid,alpha,FR,2024-01-04
cid,beta,DE,2024-01-04
"""


@pytest.fixture
def imported(tmp_path):
    """Write files by name, import them and open the dataset: ``imported({"log.csv": LOG}, time="time")``."""

    def imported(files: dict[str, str], seed: int = 0, **options):
        for name, text in files.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        for name in ("users", "titles"):
            if name in options:
                options[name] = tmp_path / options[name]
        options["markets"] = tuple((place, tmp_path / name) for place, name in options.get("markets", ()))
        own = {name for _, path in options["markets"] for name in [path.name]}
        own |= {options[name].name for name in ("users", "titles") if name in options}
        events = tuple(tmp_path / name for name in files if name not in own)
        summary = import_logs(tmp_path / "set", ImportConfig(events=events, seed=seed, **options), overwrite=True)
        return Dataset.open(tmp_path / "set"), summary

    return imported


def events_of(dataset: Dataset) -> list[tuple[str, str, int]]:
    """Every event of a dataset as names and day."""
    user, title, day = dataset.all_events()
    return [(dataset.user_ids[u], dataset.title_ids[t], int(d)) for u, t, d in zip(user, title, day, strict=True)]


def test_files_in_another_order_are_the_same_log(imported, tmp_path):
    def digests(files, **options):
        dataset, _ = imported(files, time="time", **options)
        return {name: facts["sha256"] for name, facts in dataset.manifest["files"].items()}

    header, *rows = LOG.splitlines(keepends=True)
    files = {"a.csv": header + "".join(rows[:4]), "b.csv": header + "".join(rows[4:])}
    logs = [digests(dict(order)) for order in (files.items(), reversed(files.items()))]
    markets = tuple((place, name) for place, name in (("DE", "a.csv"), ("FR", "b.csv")))
    logs += [digests(files, markets=order) for order in (markets, markets[::-1])]
    assert logs[0] == logs[1] and logs[2] == logs[3] != logs[0]


def test_a_log_with_times_is_split_by_day(imported):
    dataset, summary = imported({"log.csv": LOG}, time="time", train_days=2, test_days=1)
    assert (dataset.train_days, dataset.test_days, dataset.has_time) == (2, 1, True)
    assert events_of(dataset) == [
        ("ann", "alpha", -1),
        ("ann", "beta", 0),
        ("bob", "beta", 1),
        ("cid", "gamma", 1),
        ("ann", "alpha", 2),
        ("bob", "delta", 2),
        ("cid", "alpha", 2),
        ("cid", "beta", 2),
    ]
    assert summary.notes == [
        "1 user seen in several territories: assigned to the one with most of their events.",
        "1 repeated event merged: the same user and title and day.",
    ]
    assert (summary.n_events, summary.n_history, summary.n_titles) == (8, 1, 4)


def test_territories_are_countries_with_their_users(imported):
    dataset, summary = imported({"log.csv": LOG}, time="time")
    assert dataset.territories.code == ["DE", "FR"]
    assert dataset.territories.name == ["Germany", "France"]
    assert dataset.territories.users.tolist() == [2, 1]
    assert np.asarray(dataset.user_territory).tolist() == [0, 1, 0]
    assert summary.pairs.tolist() == [5, 2]
    assert summary.titles.tolist() == [3, 2]


def test_without_times_half_of_each_users_pairs_is_history_and_no_pair_is_in_both(imported):
    rows = [f"u{u},t{t},DE" for u in range(40) for t in range(10) for _ in range(2)]
    dataset, summary = imported({"log.csv": "user,title,territory\n" + "\n".join(rows)})
    assert (dataset.train_days, dataset.test_days, dataset.has_time) == (1, 0, False)
    history = {(u, t) for u, t, day in events_of(dataset) if day == -1}
    labels = {(u, t) for u, t, day in events_of(dataset) if day == 0}
    assert len(history) == len(labels) == 200
    assert not history & labels
    assert all(sum(u == user for u, _ in history) == 5 for user in dataset.user_ids)
    assert summary.notes == ["400 repeated events merged: the same user and title."]


def test_the_share_and_the_seed_of_the_random_split_are_options(imported):
    log = "user,title,territory\n" + "".join(f"u{u},t{t},DE\n" for u in range(9) for t in range(8))
    most = imported({"log.csv": log}, history_share=0.75)[0].history()
    assert len(most[0]) == 9 * 6
    first, again, other = (events_of(imported({"log.csv": log}, seed=seed)[0]) for seed in (1, 1, 2))
    assert first == again != other


def test_the_same_files_and_seed_make_the_same_bytes(imported):
    def contents(dataset: Dataset) -> dict[str, bytes]:  # by name: each import has a directory of its own
        return {name: dataset.files.where(name).read_bytes() for name in dataset.files.facts}

    first = contents(imported({"log.csv": LOG})[0])
    assert first == contents(imported({"log.csv": LOG})[0]) and len(first) > 5
    assert first != contents(imported({"log.csv": LOG}, seed=1)[0])


def test_one_file_a_market_needs_no_column_of_territories(imported):
    files = {"de=1.csv": "user,title\nann,alpha\n", "fr.csv": "user,title\nbob,alpha\nann,beta\nann,gamma\n"}
    dataset, _ = imported(files, markets=(("Germany", "de=1.csv"), ("FR", "fr.csv")))
    assert dataset.territories.code == ["FR"], "ann has more events in France"
    assert dataset.user_ids == ["ann", "bob"], "markets are read in the order of their files"


def test_users_and_titles_bring_their_columns(imported):
    files = {
        "log.csv": "user,film,when\nann,f1,2024-01-01\nbob,f2,2024-01-02\nann,f2,2024-01-03\n",
        "users.csv": "id,land,age\nbob,FR,30\nann,Germany,20\n",
        "films.csv": "id,title,genre\nf2,Second,rock\nf1,First,pop\nf3,Third,jazz\n",
    }
    dataset, summary = imported(
        files, title="film", time="when", territory="land", users="users.csv", users_id="id", titles="films.csv",
        titles_id="id",
    )  # fmt: skip
    assert dataset.user_columns == {"user": ["ann", "bob"], "age": ["20", "30"]}
    assert dataset.titles == {"title": ["f1", "f2"], "title_": ["First", "Second"], "genre": ["pop", "rock"]}
    assert [dataset.territories.code[c] for c in dataset.user_territory] == ["DE", "FR"]
    assert summary.notes == ["1 of 3 titles in films.csv not used: no events."]


def test_a_sparse_log_gets_more_test_days_and_says_so(imported):
    rows = [f"{user},{title},2024-{1 + day // 28:02d}-{1 + day % 28:02d},DE" for day in range(60)
            for user, title in [(f"u{day}", "x"), (f"v{day}", "y")]]  # fmt: skip
    log = "user,title,time,territory\n" + "\n".join(rows) + "\n"
    dataset, summary = imported({"log.csv": log}, time="time")
    assert (dataset.train_days, dataset.test_days) == (24, 12)
    said = "12 test days in place of 3, which have only 6 first streams; --test-days sets another number."
    assert said in summary.notes
    longer = log + "".join(f"w{i},x,2024-03-04,DE\n" for i in range(985))  # of eight days: a thousand
    dataset, summary = imported({"log.csv": longer}, time="time")
    assert dataset.test_days == summary.split.test_days == 8
    assert imported({"log.csv": log}, time="time", test_days=3)[0].test_days == 3
    assert imported({"log.csv": log}, time="time", train_days=55)[0].test_days == 5


def test_markets_go_before_a_column_of_the_users_table(imported):
    files = {"de.csv": "user,title\nann,alpha\n", "users.csv": "user,territory\nann,FR\n"}
    dataset, _ = imported(files, markets=(("DE", "de.csv"),), users="users.csv")
    assert dataset.territories.code == ["DE"]
    assert dataset.user_columns["territory"] == ["FR"], "then it is a column like any other"


def test_columns_of_the_log_can_describe_users_and_titles(imported):
    log = "user,title,territory,sex,genre\nann,alpha,DE,f,pop\nbob,alpha,DE,m,pop\n"
    dataset, _ = imported({"log.csv": log}, user_info=("sex",), title_info=("genre",))
    assert dataset.user_columns["sex"] == ["f", "m"]
    assert dataset.titles["genre"] == ["pop"]


def test_titles_in_several_rows_are_joined(imported):
    files = {"log.csv": LOG, "tags.csv": "title,tag,n\nalpha,pop,2\nbeta,rock,1\nalpha,sad,1\ngamma,x,1\ndelta,y,1\n"}
    dataset, _ = imported(files, titles="tags.csv", title_weight="n")
    assert dataset.titles["tag"][dataset.title_ids.index("alpha")] == "pop|pop|sad"
    dataset, _ = imported(files, titles="tags.csv", join_titles=True)
    assert dataset.titles["tag"][dataset.title_ids.index("alpha")] == "pop|sad"


def test_what_is_unlisted_fails_or_is_kept_or_dropped(imported):
    files = {"log.csv": LOG, "titles.csv": "title,genre\nalpha,pop\nbeta,rock\n"}
    with pytest.raises(InputError, match=r"titles.csv: 2 of 4 titles in the log are not in it, such as 'gamma'"):
        imported(files, titles="titles.csv")
    kept, _ = imported(files, titles="titles.csv", unknown_ids="keep", time="time")
    assert dict(zip(kept.title_ids, kept.titles["genre"], strict=True)) == {
        "alpha": "pop", "beta": "rock", "gamma": "", "delta": "",
    }  # fmt: skip
    dropped, _ = imported(files, titles="titles.csv", unknown_ids="drop", time="time")
    assert dropped.title_ids == ["alpha", "beta"]
    files = {"log.csv": LOG, "users.csv": "user,age\nann,20\n"}
    dropped, _ = imported(files, users="users.csv", unknown_ids="drop")
    assert dropped.user_ids == ["ann"]


def test_titles_can_be_chosen_by_name_and_by_number_of_users(imported):
    assert imported({"log.csv": LOG}, keep_titles="^[ab]")[0].title_ids == ["alpha", "beta"]
    dataset, summary = imported({"log.csv": LOG}, min_title_users=3)
    assert dataset.title_ids == ["beta"]
    assert summary.notes[0] == "3 titles left out with 5 events: fewer than 3 users."
    dataset, summary = imported({"log.csv": LOG}, keep_titles="delta|gamma")
    assert "1 user left out: all of their events are." in summary.notes


def test_what_the_filters_leave_decides_on_the_days(imported):
    dataset, summary = imported({"log.csv": LOG}, time="time", keep_titles="gamma|delta", train_days=1, test_days=1)
    assert events_of(dataset) == [("cid", "gamma", 0), ("bob", "delta", 1)]
    assert summary.split.history_days == 0


def test_every_title_is_available_everywhere_unless_told(imported):
    dataset, _ = imported({"log.csv": LOG}, time="time")
    assert np.asarray(dataset.availability).all()


def test_availability_can_be_what_was_watched_before_the_test(imported):
    dataset, _ = imported({"log.csv": LOG}, time="time", train_days=2, test_days=1, available_after=1)
    available = {
        (title, place)
        for t, title in enumerate(dataset.title_ids)
        for c, place in enumerate(dataset.territories.code)
        if dataset.availability[t, c]
    }
    assert available == {("alpha", "DE"), ("beta", "DE"), ("beta", "FR"), ("gamma", "DE")}, "delta is of the test day"
    dataset, _ = imported({"log.csv": LOG}, time="time", train_days=2, test_days=1, available_after=2)
    assert not np.asarray(dataset.availability).any(), "users count, not events"


def test_without_times_availability_is_what_the_history_tells(imported):
    log = "user,title,territory\n" + "".join(f"u{u},t{t},DE\n" for u in range(4) for t in range(30))
    dataset, _ = imported({"log.csv": log}, available_after=1, history_share=0.2)
    seen = {int(title) for title in dataset.history()[1]}
    assert np.flatnonzero(np.asarray(dataset.availability)[:, 0]).tolist() == sorted(seen)
    assert len(seen) < 30


def test_a_title_is_launched_on_the_day_it_is_first_seen_anywhere(imported):
    dataset, _ = imported({"log.csv": LOG}, time="time", train_days=2, test_days=1)
    launch = dict(zip(dataset.title_ids, dataset.launch_day.tolist(), strict=True))
    assert launch == {"alpha": 0, "beta": 0, "gamma": 1, "delta": 2}
    assert not imported({"log.csv": LOG})[0].launch_day.any()


def test_the_order_of_rows_does_not_decide_who_lives_where(imported):
    log = "user,title,territory,time\nann,b,FR,2024-01-02\nann,a,DE,2024-01-01\n"
    dataset, _ = imported({"log.csv": log}, time="time")
    assert dataset.territories.code == ["DE"], "on a tie the earliest counts, and earliest means time"


def test_calendar_days_are_an_option(imported):
    log = "user,title,territory,time\n" + "".join(f"ann,t{d},DE,2024-01-{d:02d}\n" for d in (1, 2, 5, 8))
    assert imported({"log.csv": log}, time="time", test_days=1)[1].split.history_days == 2
    assert imported({"log.csv": log}, time="time", test_days=1, calendar=True)[1].split.history_days == 4


def test_bad_rows_are_skipped_on_demand_and_told(imported):
    with pytest.raises(InputError, match="line 11, column 'user'"):
        imported({"log.csv": LOG + ",alpha,DE,2024-01-01\n"})
    dataset, summary = imported({"log.csv": LOG + ",alpha,DE,2024-01-01\n"}, skip_bad_rows=True)
    assert dataset.n_users == 3
    assert summary.notes[0] == "1 row left out: not a user."


def test_how_files_are_written_can_be_told(imported):
    options = {"user": "1", "title": "2", "territory": "3", "no_header": True}
    assert imported({"log.csv": "ann:\u00e4:DE\n"}, separator=":", **options)[0].title_ids == ["\u00e4"]
    for tab in ("\t", "tab", r"\t"):
        assert imported({"log.csv": 'ann\t"a;\tDE\n'}, separator=tab, no_quotes=True, **options)[0].title_ids == ['"a;']
    assert imported({"log.csv": "ann,ä,DE\n"}, encoding="latin-1", **options)[0].title_ids == ["Ã¤"]


def test_the_manifest_keeps_the_config(imported):
    dataset, _ = imported({"log.csv": LOG}, time="time", keep_titles="a")
    provenance = dataset.manifest["provenance"]
    assert provenance["kind"] == "import"
    assert provenance["config"]["keep_titles"] == "a"
    assert provenance["config"]["events"] == [str(dataset.path.parent / "log.csv")]
    json.dumps(provenance)


def test_a_dataset_that_exists_is_found_out_before_the_log_is_read(tmp_path):
    (tmp_path / "set").mkdir()
    with pytest.raises(InputError, match="exists already"):
        import_logs(tmp_path / "set", ImportConfig(events=(tmp_path / "none.csv",)))


def test_nothing_is_left_behind_after_an_error(imported, tmp_path):
    with pytest.raises(InputError):
        imported({"log.csv": LOG.replace("title", "film")})
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({}, "no watch log"),
        ({"unknown_ids": "maybe"}, "--unknown-ids 'maybe'"),
        ({"history_share": 1.0}, "--history-share 1.0"),
        ({"keep_titles": "("}, "not a regular expression"),
        ({"train_days": 3}, "--train-days has no effect without --time"),
        ({"test_days": 3}, "--test-days has no effect without --time"),
        ({"train_days": 0, "test_days": 0}, "--train-days has no effect without --time"),
        ({"time": "time", "train_days": 0}, "--train-days 0: expected --test-days 0 as well, for a log to score"),
        ({"time": "time", "test_days": 0, "train_days": 2}, "--test-days 0: expected --train-days 0 as well"),
        ({"calendar": True}, "--calendar has no effect without --time"),
        ({"time_format": "%d"}, "--time-format has no effect without --time"),
        ({"time": "time", "history_share": 0.5}, "--history-share has no effect with --time"),
        ({"users_id": "id"}, "--users-id has no effect without --users"),
        ({"titles_id": "id"}, "--titles-id has no effect without --titles"),
        ({"join_titles": True}, "--join-titles has no effect without --titles"),
        ({"title_weight": "n"}, "--title-weight has no effect without --titles"),
    ],
)
def test_a_config_that_means_nothing_is_refused(options, fault):
    with pytest.raises(InputError) as caught:
        ImportConfig(**({"events": (Path("log.csv"),), **options} if options else {}))
    assert fault in str(caught.value)


def test_a_title_is_launched_on_the_first_of_its_days_and_never_before_day_0():
    title, day = np.array([0, 1, 1, 0, 2], np.int32), np.array([-1, 3, 2, 5, 0], np.int32)
    assert launch_days(title, day, 3).tolist() == [0, 2, 0]

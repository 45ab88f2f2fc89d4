"""The sentences of a summary state what the numbers show: a gain, a loss, neither, or nothing known."""

from typing import Any

import pytest
from made_up_experiments import made_up_record

from twotower.experiments.summary import offset_sentences, points, ranking_sentences, share, summary, worst_sentences


def gain(mean: float | None, low: float | None, high: float | None) -> dict[str, float | None]:
    return {"mean": mean, "low": low, "high": high}


BETTER, WORSE, UNDECIDED, UNKNOWN = gain(1.5, 0.5, 2.5), gain(-2, -3, -1), gain(0.4, -0.6, 1.4), gain(None, None, None)
NULL = gain(0.1, -0.3, 0.5)


def record(
    overall: dict[str, Any], mean: dict[str, Any], evaluated: int = 3, seeds: int = 5, local: float | None = 0.018
) -> dict[str, Any]:
    """As much of a record as is told in words: three territories, of which ``evaluated`` can be evaluated."""
    verdicts = ["undecided"] * evaluated + ["too small"] * (3 - evaluated)
    means = {**mean, "won": evaluated, "evaluated": evaluated, "better": 1, "worse": 0, "sign_p": 0.25}
    none = {**UNKNOWN, "won": 0, "evaluated": 0, "better": 0, "worse": 0, "sign_p": 1.0}
    told = {"method": "mtl", "baseline": "upsampled", "verdict": verdicts, "overall": overall}
    spread = None if seeds == 1 else 0.003
    shares = {"local_share": [local, None if local is None else spread], "global_share": [0.6, spread]}
    methods = [{"name": "mtl", "rival": False, "settings": {}, "seeds": list(range(seeds)), "worst_territory": None}]
    change = {"method": "mtl", "baseline": "upsampled", "mean": 0.02, "low": 0.01, "high": 0.03, "direction": "more"}
    return made_up_record() | {
        "baselines": ["upsampled"],
        "gains": [{**told, "major": means if evaluated else none, "all": means if evaluated else none}],
        "methods": [*methods, {**methods[0], "name": "upsampled"}],
        "territories": [
            {"name": name, "major": True, "evaluated": i < evaluated}
            for i, name in enumerate(("Malta", "Iceland", "Tuvalu"))
        ],
        "bias": {name: {"overall": shares} for name in ("mtl", "upsampled")},
        "bias_changes": [{**change, "measure": name} for name in shares if shares[name][0] is not None],
        "parts": [],
        "ranking_gains": [],
        "samples": {},
        "periods": [{"name": "day 60", "days": [60]}],
    }


@pytest.mark.parametrize(
    ("overall", "mean", "words"),
    [
        (BETTER, BETTER, "mtl is better than upsampled. "),
        (WORSE, WORSE, "mtl is worse than upsampled. "),
        (UNDECIDED, UNDECIDED, "It is undecided whether mtl is better or worse than upsampled. "),
        (BETTER, UNDECIDED, "mtl against upsampled: better over all pairs, undecided on average over territories. "),
        (WORSE, BETTER, "mtl against upsampled: worse over all pairs, better on average over territories. "),
        (NULL, NULL, "mtl is no better and no worse than upsampled: less than 1 % apart. "),
        (UNKNOWN, UNKNOWN, "The gain of mtl over upsampled is unknown. "),
        (WORSE, UNKNOWN, "mtl is worse than upsampled. "),
    ],
)
def test_the_first_sentence_is_the_verdict_of_the_intervals(overall, mean, words):
    first, *_ = summary(record(overall, mean))
    assert first.startswith(words)


def test_undefined_is_said_and_no_number_is_made_of_it():
    first, *_ = summary(record(UNKNOWN, UNKNOWN, evaluated=0))
    assert first.endswith("All pairs in one ranking: undefined. No territory has enough positives to be evaluated.")


def test_a_gain_without_a_territory_to_evaluate_is_that_of_all_pairs():
    first, *_ = summary(record(BETTER, UNKNOWN, evaluated=0))
    assert first.startswith("mtl is better than upsampled. All pairs in one ranking: +1.50 % (95 % interval +0.50 to ")
    assert first.endswith("No territory has enough positives to be evaluated.")


def test_a_single_territory_has_a_name_and_no_mean_nor_sign_test():
    first, *_, support = summary(record(WORSE, WORSE, evaluated=1))
    assert first.endswith(
        "Only one of the major territories can be evaluated, Malta: −2.00 % (95 % interval −3.00 to −1.00), undecided."
    )
    assert "sign test" not in first
    assert support == "1 of 3 territories has enough test positives to be evaluated (at least 50, from 30 users)."


def test_several_territories_have_a_mean_and_a_sign_test_with_its_condition():
    first, *_ = summary(record(BETTER, UNDECIDED))
    assert "Mean of the 3 evaluated major territories: +0.40 % (95 % interval −0.60 to +1.40)" in first
    assert "significantly better in 1 and worse in 0" in first
    assert first.endswith("sign test p = 0.25, if territories were independent).")


def test_minor_territories_that_are_evaluated_have_a_mean_of_all():
    told = record(BETTER, BETTER)
    told["gains"][0]["all"] = {**told["gains"][0]["all"], **UNDECIDED, "evaluated": 5, "won": 4}
    first, *_ = summary(told)
    assert first.endswith(" All 5 evaluated territories: +0.40 % (95 % interval −0.60 to +1.40); ahead in 4.")


@pytest.mark.parametrize(("seeds", "words"), [(1, "One seed does not show"), (2, "Two seeds hardly show"), (4, "Four")])
def test_few_seeds_are_warned_of(seeds, words):
    assert summary(record(BETTER, BETTER, seeds=seeds))[-1].startswith(words)
    assert not any(words in sentence for sentence in summary(record(BETTER, BETTER, seeds=5)))


def test_shares_of_titles_have_their_spread_where_there_are_seeds():
    words = summary(record(BETTER, BETTER))
    assert any("local titles fill 1.8 ± 0.3 % of the top 10" in sentence for sentence in words)
    assert share([0.018, None]) == "1.8 %"


def test_where_no_title_is_local_that_is_said():
    words = summary(record(BETTER, BETTER, local=None))
    assert any(sentence.startswith("No test user lives in a territory with local titles") for sentence in words)
    assert not any("local titles fill" in sentence for sentence in words)


def with_priors(*priors: float | None) -> dict[str, Any]:
    """A record of as many runs of method; None is an infinite prior."""
    told = record(BETTER, BETTER)
    of_runs = [{"level": "territory", "prior": 5.0, "group_prior": prior} for prior in priors]
    method = told["methods"][0] | {"seeds": list(range(len(priors))), "title_offsets": of_runs}
    return told | {"methods": [method, told["methods"][1]]}


@pytest.mark.parametrize(
    ("priors", "words"),
    [
        (
            (None, None),
            ["In 2 of 2 runs of mtl, title offsets per territory do not predict held-out labels and are set to"],
        ),
        ((200.0, None), ["In 2 of 2 runs of mtl, title offsets per territory do not predict held-out labels"]),
        ((5.0, 5.0), ["In 2 of 2 runs", "a prior of 5 pseudo-positives"]),
        ((10.0, None, 5.0), ["In 1 of 3 runs of mtl", "In 2 of 3 runs", "a prior of 5 to 10 pseudo-positives"]),
    ],
)
def test_it_says_whether_title_preferences_of_territories_persist(priors, words):
    told = " ".join(summary(with_priors(*priors)))
    assert all(word in told for word in words)
    assert ("set to 0" in told) == (None in priors)
    assert "200 pseudo" not in told


def test_it_says_nothing_of_offsets_where_titles_have_but_one():
    assert offset_sentences(record(BETTER, BETTER)) == []
    of_titles = {"name": "mtl", "rival": False, "seeds": [0], "title_offsets": [{"level": "title", "prior": 5.0}]}
    assert offset_sentences(record(BETTER, BETTER) | {"methods": [of_titles]}) == []


@pytest.mark.parametrize(
    ("overall", "words"),
    [
        (BETTER, "The network earns its keep: mtl against counts, the best of 2 simple rivals, "),
        (WORSE, "The network does not earn its keep: mtl against counts, "),
        (UNDECIDED, "Whether the network earns its keep is undecided: mtl against counts, "),
    ],
)
def test_the_first_sentence_says_whether_the_network_is_worth_it(overall, words):
    told = record(BETTER, BETTER)
    told["methods"] += [
        {"name": name, "rival": True, "seeds": [0, 1], "overall": [value, value]}
        for name, value in (("popular", 0.2), ("counts", 0.4))
    ]
    told["gains"].append({**told["gains"][0], "baseline": "counts", "overall": overall})
    first, second, *_ = summary(told)
    assert first.startswith(words)
    assert second.startswith("mtl is better than upsampled. ")


def test_every_method_that_was_asked_for_is_told_of():
    told = record(BETTER, BETTER)
    for name, against in (("pcgrad", "upsampled"), ("residual", None)):
        told["methods"].append({"name": name, "rival": False, "seeds": [0]})
        pair = {"method": name, "baseline": against} if against else {"method": "mtl", "baseline": name}
        told["gains"].append({**told["gains"][0], **pair, "overall": NULL})
    words = summary(told)
    assert "pcgrad against upsampled, all pairs: no different, +0.10 % (95 % interval −0.30 to +0.50)." in words
    assert any(sentence.startswith("mtl against residual, all pairs: no different") for sentence in words)


def test_the_parts_of_the_gain_are_told_where_they_were_measured():
    told = record(BETTER, BETTER)
    told["methods"][0]["settings"] = {"model": {"groups": 4, "title_offsets": "territory", "memory": True}}
    part = {
        "part": "title offsets and heads",
        "method": "mtl",
        "baseline": "upsampled",
        "overall": BETTER,
        "share": 1.0,
    }
    words = " ".join(summary(told | {"parts": [part]}))
    assert "Title offsets and heads make up mtl together" in words and "Every network has memory" in words
    parts = [
        {**part, "part": "title offsets", "method": "offsets", "share": 0.75},
        {**part, "part": "heads", "baseline": "offsets", "overall": NULL, "share": 0.25},
    ]
    words = " ".join(summary(told | {"parts": parts}))
    assert (
        "title offsets have 75 % (offsets against upsampled: better, +1.50 % (95 % interval +0.50 to +2.50))" in words
    )
    assert "heads have 25 % (mtl against offsets: no different, +0.10 % (95 % interval −0.30 to +0.50))." in words
    words = " ".join(summary(told | {"parts": [{**part, "share": None} for part in parts]}))
    assert "mtl gains nothing over upsampled in overall PR-AUC that parts could have a share of: title offs" in words


def test_a_bias_line_has_a_direction_and_an_interval():
    change = {"direction": "more", "mean": 0.02, "low": 0.013, "high": 0.027}
    assert points(change) == "more: +2.0 points, 95 % interval +1.3 to +2.7"
    assert (
        points({"direction": "unknown", "mean": -0.02, "low": None, "high": None})
        == "unknown: −2.0 points, no interval"
    )
    assert any(
        "(more: +2.0 points, 95 % interval +1.0 to +3.0)" in sentence for sentence in summary(record(BETTER, BETTER))
    )


def test_ranking_metrics_and_the_worst_territory_have_a_sentence():
    told = made_up_record()
    _, over_upsampled = ranking_sentences(told)
    assert over_upsampled.startswith(
        f"nDCG@10 of the {sum(told['ranking_users'])} users with something to find, mtl ag"
    )
    assert over_upsampled.endswith("mtl against upsampled: undecided, +0.80 % (95 % interval −0.20 to +1.80).")
    (worst,) = worst_sentences(told)
    assert "mtl 0.0781 in US, baseline 0.0781 in US" in worst and worst.endswith("upsampled 0.1875.")


def test_an_experiment_with_one_method_says_that_there_is_nothing_to_compare():
    told = record(BETTER, BETTER) | {"baselines": [], "gains": []}
    assert summary(told)[0].startswith("mtl has nothing to be compared with")


def test_missing_negatives_are_told_per_sample_with_its_methods():
    told = record(BETTER, BETTER)
    told["methods"][0]["sample"] = "upsampled"
    for missing, left_out in ((0, 0), (12, 3_456)):
        counts = {"missing_negatives": missing, "unavailable_positives": left_out}
        words = summary(told | {"samples": {"upsampled": {"sampled": counts}}})
        assert words[-1].startswith("Sample upsampled (mtl) lacks 12 negatives ") == bool(missing)
    assert "3,456 positives of titles that are not available" in words[-1]

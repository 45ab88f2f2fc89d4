"""The record of an experiment in a few sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from twotower.experiments.report.wording import all_pairs
from twotower.metrics.significance import ENOUGH_USERS, TOO_SMALL

Record = Mapping[str, Any]
Mean = Mapping[str, Any]  # a mean gain with its interval: mean, low, high; None where undefined


def summary(record: Record) -> list[str]:
    """Sentences, the most important first; what is unknown is left out."""
    gains = [sentence for name in record["baselines"] for sentence in gain_sentences(record, name)]
    parts = (rival_sentences, ingredient_sentences, offset_sentences, bias_sentences, support_sentences)
    first, *further = (part(record) for part in parts)
    return [*first, *gains, *(sentence for sentences in further for sentence in sentences)]


def comparison(record: Record, method: str, baseline: str) -> Mapping[str, Any] | None:
    """The gains of one method over another, if they were compared."""
    return next((g for g in record["gains"] if (g["method"], g["baseline"]) == (method, baseline)), None)


def rival_sentences(record: Record) -> list[str]:
    """Whether the network earns its keep over counting: the main method against the best of the simple rivals."""
    rivals = [method for method in record["methods"] if method["rival"] and None not in method["overall"]]
    if not rivals:
        return []
    best = max(rivals, key=lambda method: sum(method["overall"]))["name"]
    gains = comparison(record, record["main_method"], best)
    if gains is None:
        return []
    answer = {
        "better": "The network earns its keep",
        "worse": "The network does not earn its keep",
        "undecided": "Whether the network earns its keep is undecided",
        "unknown": "Whether the network earns its keep is unknown",
    }[standing(gains["overall"])]
    which = f"{best}, the best of {len(rivals)} simple rivals" if len(rivals) > 1 else f"{best}, a simple rival"
    return [f"{answer}: {record['main_method']} against {which}, {all_pairs(record)}: {percent(gains['overall'])}."]


def gain_sentences(record: Record, baseline: str) -> list[str]:
    """The gain of the main method over a baseline: first whether there is one, then how large it is."""
    gains = comparison(record, record["main_method"], baseline)
    if gains is None:
        return []
    over = "major" if gains["major"]["evaluated"] else "all"
    overall, mean, word = gains["overall"], gains[over], "major territories" if over == "major" else "territories"
    first = f"{verdict(record['main_method'], baseline, overall, mean)} "
    first += f"{all_pairs(record).capitalize()}: {percent(overall)}."
    if not mean["evaluated"]:
        return [f"{first} No territory has enough positives to be evaluated."]
    if mean["evaluated"] == 1:
        pairs = zip(record["territories"], gains["verdict"], strict=True)
        name, said = next((t["name"], v) for t, v in pairs if v != TOO_SMALL and (over == "all" or t["major"]))
        return [f"{first} Only one of the {word} can be evaluated, {name}: {percent(mean)}, {said}."]
    every = gains["all"]
    minor = ""
    if over == "major" and every["evaluated"] > mean["evaluated"]:
        minor = f" All {every['evaluated']} evaluated territories: {percent(every)}; ahead in {every['won']}."
    return [
        f"{first} Mean of the {mean['evaluated']} evaluated {word}: {percent(mean)}; ahead in {mean['won']}, "
        f"significantly better in {mean['better']} and worse in {mean['worse']} (corrected for the number of "
        f"territories; sign test p = {mean['sign_p']:.2g}, if territories were independent).{minor}"
    ]


def verdict(method: str, baseline: str, overall: Mean, mean: Mean) -> str:
    """Whether the method is better, by the intervals over all pairs and of the mean over territories."""
    known = {standing(gain) for gain in (overall, mean)} - {"unknown"}
    if len(known) == 2:
        over_pairs, over_territories = standing(overall), standing(mean)
        return (
            f"{method} against {baseline}: {over_pairs} over all pairs, {over_territories} on average over territories."
        )
    return {
        "better": f"{method} is better than {baseline}.",
        "worse": f"{method} is worse than {baseline}.",
        "undecided": f"It is undecided whether {method} is better or worse than {baseline}.",
        "unknown": f"The gain of {method} over {baseline} is unknown.",
    }[known.pop() if known else "unknown"]


def standing(gain: Mean) -> str:
    """better, worse or undecided by an interval, unknown without one."""
    if gain["mean"] is None or gain["low"] is None:
        return "unknown"
    return "better" if gain["low"] > 0 else "worse" if gain["high"] < 0 else "undecided"


def ingredient_sentences(record: Record) -> list[str]:
    """The gains of single ingredients, where the methods that isolate them were compared."""
    ingredients = (
        ("upsampled", "baseline", "Active users alone"),
        ("more-random", "baseline", "As many further random users instead"),
        ("mtl-random", "baseline", "Heads without active users"),
    )
    sentences = []
    for method, baseline, what in ingredients:
        gains = comparison(record, method, baseline)
        if gains is not None and method != record["main_method"] and gains["overall"]["mean"] is not None:
            sentences.append(f"{what} ({method} against {baseline}): {percent(gains['overall'])} over all pairs.")
    return sentences


def offset_sentences(record: Record) -> list[str]:
    """Whether title preferences of single groups or territories persist: the prior that shrinks their offsets."""
    method = next(method for method in record["methods"] if method["name"] == record["main_method"])
    runs = [run for run in method.get("title_offsets") or () if run and "group_prior" in run]
    if not runs:
        return []
    level = {"group": "group", "territory": "territory"}[runs[0]["level"]]
    priors = sorted(run["group_prior"] for run in runs if run["group_prior"] is not None)
    sentences = []
    if len(priors) < len(runs):
        sentences.append(
            f"In {len(runs) - len(priors)} of {len(runs)} runs of {method['name']}, title offsets per {level} do not "
            "predict held-out labels and are set to 0."
        )
    if priors:
        pseudo = " to ".join(f"{prior:g}" for prior in dict.fromkeys((priors[0], priors[-1])))
        sentences.append(
            f"In {len(priors)} of {len(runs)} runs of {method['name']}, title offsets per {level} predict held-out "
            f"labels; a prior of {pseudo} pseudo-positives shrinks them towards the common offset."
        )
    return sentences


def bias_sentences(record: Record) -> list[str]:
    """Whether local titles take more and global ones less of the top 10."""
    method, bias = record["main_method"], record["bias"]
    sentences = []
    for baseline in record["baselines"]:
        parts = []
        for measure, what in (("local_share", "local titles"), ("global_share", "global titles")):
            new, old = (bias[name]["overall"][measure] for name in (method, baseline))
            if new[0] is not None and old[0] is not None:
                parts.append(f"{what} fill {share(new)} of the top 10 instead of {share(old)}")
        if parts:
            sentences.append(f"With {method} rather than {baseline}, {' and '.join(parts)}.")
    if bias[method]["overall"]["local_share"][0] is None:
        sentences.append("No test user lives in a territory with local titles, so nothing is known about them.")
    return sentences


def support_sentences(record: Record) -> list[str]:
    """The limits of the experiment."""
    territories, seeds = record["territories"], len(record["methods"][0]["seeds"])
    evaluated = sum(territory["evaluated"] for territory in territories)
    sentences = [
        f"{evaluated} of {len(territories)} territories {'has' if evaluated == 1 else 'have'} enough test positives to "
        f"be evaluated (at least {record['min_positives']}, from {ENOUGH_USERS} users)."
    ]
    if any(sample.get("dev_users") for sample in record["samples"].values()):
        sentences.append("Evaluated on development users: the test users have not been used.")
    if seeds == 1:
        sentences.append("One seed does not show the variance of training: intervals cover the choice of users alone.")
    elif seeds == 2:
        sentences.append("Two seeds hardly show the variance of training: five are better.")
    return sentences


def share(measure: Sequence[float | None]) -> str:
    """A share with its spread over seeds: ``1.8 ± 0.3 %``."""
    mean, spread = measure
    return f"{100 * (mean or 0):.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}") + " %"


def percent(gain: Mean) -> str:
    """A mean gain with its interval: ``+1.20 % (95 % interval +0.30 to +2.10)``."""
    if gain["mean"] is None:
        return "undefined"
    ends = "" if gain["low"] is None else f" (95 % interval {gain['low']:+.2f} to {gain['high']:+.2f})"
    return f"{gain['mean']:+.2f} %{ends}".replace("-", "−")

"""The record of an experiment in plain words, for who reads no table."""

from collections.abc import Mapping, Sequence
from typing import Any

from twotower.experiments.report.wording import all_pairs
from twotower.metrics.significance import ENOUGH_USERS, TOO_SMALL

Record = Mapping[str, Any]
Told = Mapping[str, Any]  # a mean gain with its interval: mean, low, high; None where undefined


def summary(record: Record) -> list[str]:
    """Sentences, the most important first; what is unknown is left out."""
    found = rival_sentences(record)
    found += [sentence for name in record["baselines"] for sentence in gain_sentences(record, name)]
    found += [*ingredient_sentences(record), *offset_sentences(record), *bias_sentences(record)]
    return [*found, *support_sentences(record)]


def comparison(record: Record, method: str, baseline: str) -> Mapping[str, Any] | None:
    """The gains of one method over another, if they were evaluated."""
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
    """What method gains over one baseline: first whether it does, then how much."""
    gains = comparison(record, record["main_method"], baseline)
    if gains is None:
        return []
    where = "major" if gains["major"]["evaluated"] else "all"
    overall, told = gains["overall"], gains[where]
    found = verdict(record["main_method"], baseline, overall, told)
    found += f" {all_pairs(record).capitalize()}: {percent(overall)}."
    if not told["evaluated"]:
        return [f"{found} No territory has enough positives to be evaluated."]
    word = "major territories" if where == "major" else "territories"
    if told["evaluated"] == 1:
        name, judgement = only_judged(record, gains, where)
        return [f"{found} Of the {word} one alone can be evaluated, {name}: {percent(told)}, {judgement}."]
    return [
        f"{found} Mean of the {told['evaluated']} {word} that can be evaluated: {percent(told)}; ahead in "
        f"{told['won']}, surely better in {told['better']}, surely worse in {told['worse']} (corrected for many "
        f"territories; sign test p = {told['sign_p']:.2g}, if territories were independent).{minor_words(gains, where)}"
    ]


def minor_words(gains: Mapping[str, Any], where: str) -> str:
    """The mean with those that are not major, where some of them can be evaluated."""
    every = gains["all"]
    if where == "all" or every["evaluated"] == gains["major"]["evaluated"]:
        return ""
    return f" With minor ones, of all {every['evaluated']}: {percent(every)}; ahead in {every['won']}."


def verdict(method: str, baseline: str, overall: Told, told: Told) -> str:
    """Whether method is better, by the intervals over all pairs and of the mean over territories."""
    pairs, territories = standing(overall), standing(told)
    if "unknown" in (pairs, territories):
        pairs = territories = territories if pairs == "unknown" else pairs
    if pairs == territories:
        return {
            "better": f"{method} is better than {baseline}.",
            "worse": f"{method} is worse than {baseline}.",
            "undecided": f"Whether {method} is better or worse than {baseline} is undecided.",
            "unknown": f"Nothing is known of {method} against {baseline}.",
        }[pairs]
    return f"{method} against {baseline}: {pairs} over all pairs, {territories} on average over territories."


def standing(told: Told) -> str:
    """better, worse or undecided by an interval, unknown without one."""
    if told["mean"] is None or told["low"] is None:
        return "unknown"
    return "better" if told["low"] > 0 else "worse" if told["high"] < 0 else "undecided"


def only_judged(record: Record, gains: Mapping[str, Any], where: str) -> tuple[str, str]:
    """The one territory that can be evaluated, by name, and its verdict."""
    found = [
        (territory["name"], said)
        for territory, said in zip(record["territories"], gains["verdict"], strict=True)
        if said != TOO_SMALL and (where == "all" or territory["major"])
    ]
    return found[0]


def ingredient_sentences(record: Record) -> list[str]:
    """What single ingredients bring, where the methods that isolate them are there."""
    questions = (
        ("upsampled", "baseline", "Active users alone"),
        ("more-random", "baseline", "As many more random users instead"),
        ("mtl-random", "baseline", "Heads without active users"),
    )
    found = []
    for method, baseline, what in questions:
        gains = comparison(record, method, baseline)
        if gains is not None and method != record["main_method"] and gains["overall"]["mean"] is not None:
            found.append(f"{what} ({method} against {baseline}): over all pairs {percent(gains['overall'])}.")
    return found


def offset_sentences(record: Record) -> list[str]:
    """Whether what single territories seem to like lasts: what drew their offsets of titles to what holds for all."""
    method = next(method for method in record["methods"] if method["name"] == record["main_method"])
    told = [found for found in method.get("title_offsets") or () if found and "group_prior" in found]
    if not told:
        return []
    where = {"group": "groups", "territory": "territories"}[told[0]["level"]]
    priors = [found["group_prior"] for found in told if found["group_prior"] is not None]
    runs = f"{len(told) - len(priors)} of {len(told)} runs of {method['name']}"
    found = [f"In {runs}, offsets of titles by {where} predict nothing, and are 0."] if len(priors) < len(told) else []
    if priors:
        drawn = " to ".join(f"{prior:g}" for prior in sorted({min(priors), max(priors)}))
        found.append(
            f"In {len(priors)} of {len(told)} runs of {method['name']}, offsets of titles by {where} predict labels "
            f"that they were not counted on; {drawn} pseudo-positives draw them to those of all."
        )
    return found


def bias_sentences(record: Record) -> list[str]:
    """Whether local titles rose and global ones fell."""
    method, bias = record["main_method"], record["bias"]
    found = []
    for baseline in record["baselines"]:
        parts = []
        for measure, what in (("local_share", "local titles"), ("global_share", "global titles")):
            mine, other = (bias[name]["overall"][measure] for name in (method, baseline))
            if mine[0] is not None and other[0] is not None:
                parts.append(f"{what} fill {share(mine)} of the top 10 instead of {share(other)}")
        if parts:
            found.append(f"With {method} rather than {baseline}, {', and '.join(parts)}.")
    if bias[method]["overall"]["local_share"][0] is None:
        found.append("No test user lives where titles are local, by the training data: nothing is known of them.")
    return found


def support_sentences(record: Record) -> list[str]:
    """What the experiment cannot say."""
    territories, seeds = record["territories"], len(record["methods"][0]["seeds"])
    evaluated = sum(territory["evaluated"] for territory in territories)
    found = [
        f"{evaluated} of {len(territories)} territories {'has' if evaluated == 1 else 'have'} enough test positives to "
        f"be evaluated one by one (at least {record['min_positives']}, of {ENOUGH_USERS} users)."
    ]
    if any(sample.get("dev_users") for sample in record["samples"].values()):
        found.append("Judged on users who are kept for choosing: the test users have not been looked at.")
    if seeds == 1:
        found.append("With one seed nothing is known of how much luck in training matters: intervals tell of users.")
    elif seeds == 2:
        found.append("Two seeds say next to nothing of how much luck in training matters: take five to be sure.")
    return found


def share(told: Sequence[float | None]) -> str:
    """A share with its spread over seeds: ``1.8 ± 0.3 %``."""
    mean, spread = told
    return f"{100 * (mean or 0):.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}") + " %"


def percent(told: Mapping[str, Any]) -> str:
    """A mean gain with its interval: ``+1.20 % (95 % interval +0.30 to +2.10)``."""
    if told["mean"] is None:
        return "undefined"
    ends = "" if told["low"] is None else f" (95 % interval {told['low']:+.2f} to {told['high']:+.2f})"
    return f"{told['mean']:+.2f} %{ends}".replace("-", "−")

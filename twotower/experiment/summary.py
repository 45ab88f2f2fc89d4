"""The record of an experiment in plain words, for who reads no table."""

from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]


def summary(record: Record) -> list[str]:
    """Sentences, the most important first; what is unknown is left out."""
    found = [sentence for name in record["baselines"] for sentence in gain_sentences(record, name)]
    found += [*ingredient_sentences(record), *offset_sentences(record), *bias_sentences(record)]
    return [*found, *support_sentences(record)]


def comparison(record: Record, ours: str, theirs: str) -> Mapping[str, Any] | None:
    """The gains of one method over another, if they were judged."""
    return next((g for g in record["gains"] if (g["ours"], g["theirs"]) == (ours, theirs)), None)


def gain_sentences(record: Record, theirs: str) -> list[str]:
    """What ours gains over one baseline."""
    gains = comparison(record, record["ours"], theirs)
    if gains is None:
        return []
    where = "major" if gains["major"]["judged"] else "all"
    told = gains[where]
    overall = gains["overall"]
    found = f"{record['ours']} against {theirs}: all pairs in one ranking {percent(overall)}"
    if not told["judged"]:
        return [f"{found}; no territory has enough positives to be judged."]
    word = "major territories" if where == "major" else "territories"
    return [
        f"{found}. In the {told['judged']} {word} that can be judged it is ahead in {told['won']}, "
        f"on average {percent(told)}; significantly better in {told['better']}, worse in {told['worse']} "
        f"(corrected for many territories; sign test p = {told['sign_p']:.2g})."
    ]


def ingredient_sentences(record: Record) -> list[str]:
    """What single ingredients bring, where the methods that isolate them are there."""
    questions = (
        ("upsampled", "baseline", "Active users alone"),
        ("more-random", "baseline", "As many more random users instead"),
        ("mtl-random", "baseline", "Heads without active users"),
    )
    found = []
    for ours, theirs, what in questions:
        gains = comparison(record, ours, theirs)
        if gains is not None and ours != record["ours"] and gains["overall"]["mean"] is not None:
            found.append(f"{what} ({ours} against {theirs}): overall {percent(gains['overall'])}.")
    return found


def offset_sentences(record: Record) -> list[str]:
    """Whether what single territories seem to like lasts: what drew their offsets of titles to what holds for all."""
    ours = next(method for method in record["methods"] if method["name"] == record["ours"])
    told = [found for found in ours.get("title_offsets") or () if found and "cell_prior" in found]
    if not told:
        return []
    where = {"group": "groups", "territory": "territories"}[told[0]["level"]]
    priors = [found["cell_prior"] for found in told if found["cell_prior"] is not None]
    runs = f"{len(told) - len(priors)} of {len(told)} runs of {ours['name']}"
    found = [f"In {runs}, offsets of titles by {where} predict nothing, and are 0."] if len(priors) < len(told) else []
    if priors:
        drawn = " to ".join(f"{prior:g}" for prior in sorted({min(priors), max(priors)}))
        found.append(
            f"In {len(priors)} of {len(told)} runs of {ours['name']}, offsets of titles by {where} predict labels that "
            f"they were not counted on; {drawn} pseudo-positives draw them to those of all."
        )
    return found


def bias_sentences(record: Record) -> list[str]:
    """Whether local titles rose and global ones fell."""
    ours, bias = record["ours"], record["bias"]
    found = []
    for theirs in record["baselines"]:
        parts = []
        for measure, what in (("local_share", "local titles"), ("global_share", "global titles")):
            mine, other = (bias[name]["overall"][measure][0] for name in (ours, theirs))
            if mine is not None and other is not None:
                parts.append(f"{what} fill {100 * mine:.1f} % of the top 10 instead of {100 * other:.1f} %")
        if parts:
            found.append(f"With {ours} rather than {theirs}, {', and '.join(parts)}.")
    return found


def support_sentences(record: Record) -> list[str]:
    """What the experiment cannot say."""
    territories = record["territories"]
    judged = sum(territory["judged"] for territory in territories)
    found = [
        f"{judged} of {len(territories)} territories have enough test positives to be judged one by one "
        f"(at least {record['min_positives']})."
    ]
    if any(sample.get("choosing") for sample in record["samples"].values()):
        found.append("Judged on users who are kept for choosing: the test users have not been looked at.")
    if len(record["methods"][0]["seeds"]) == 1:
        found.append("With one seed nothing is known of how much luck in training matters.")
    return found


def percent(told: Mapping[str, Any]) -> str:
    """A mean gain with its interval: ``+1.20 % (95 % interval +0.30 to +2.10)``."""
    if told["mean"] is None:
        return "undefined"
    ends = "" if told["low"] is None else f" (95 % interval {told['low']:+.2f} to {told['high']:+.2f})"
    return f"{told['mean']:+.2f} %{ends}".replace("-", "−")

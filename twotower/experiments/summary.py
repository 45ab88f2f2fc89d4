"""The record of an experiment in a few sentences."""

from collections.abc import Sequence

from twotower.experiments.gains import ENOUGH_SEEDS
from twotower.experiments.report.wording import NEGLIGIBLE, all_pairs, average, mean_of, standing
from twotower.experiments.schema import ChangeRecord, ExperimentRecord, GainsRecord, MeanRecord, PartRecord
from twotower.metrics.significance import ENOUGH_USERS, TOO_SMALL

SHRUNK_AWAY = 200  # pseudo-positives: a prior that leaves nothing of an offset
FEW_SEEDS = ("No", "One", "Two", "Three", "Four")



def summary(record: ExperimentRecord) -> list[str]:
    """Sentences, the most important first; what is unknown is left out."""
    parts = (
        *(rival_sentences, main_sentences, part_sentences, ranking_sentences, worst_sentences, further_sentences),
        *(offset_sentences, bias_sentences, support_sentences),
    )
    return [sentence for part in parts for sentence in part(record)]


def comparison(record: ExperimentRecord, method: str, baseline: str) -> GainsRecord | None:
    """The gains of one method over another, if they were compared."""
    return next((g for g in record["gains"] if (g["method"], g["baseline"]) == (method, baseline)), None)


def rival_sentences(record: ExperimentRecord) -> list[str]:
    """Whether the network earns its keep over counting: the main method against the best of the simple rivals."""
    rivals = [method for method in record["methods"] if method["rival"] and None not in method["overall"]]
    if not rivals:
        return []
    best = max(rivals, key=lambda method: average(method["overall"]))["name"]
    gains = comparison(record, record["main_method"], best)
    if gains is None:
        return []
    answer = {
        "better": "The network earns its keep",
        "worse": "The network does not earn its keep",
        "no different": "The network does not earn its keep",
        "undecided": "Whether the network earns its keep is undecided",
        "unknown": "Whether the network earns its keep is unknown",
    }[standing(gains["overall"])]
    which = f"{best}, the best of {len(rivals)} simple rivals" if len(rivals) > 1 else f"{best}, a simple rival"
    return [f"{answer}: {record['main_method']} against {which}, {all_pairs(record)}: {percent(gains['overall'])}."]


def main_sentences(record: ExperimentRecord) -> list[str]:
    """What the main method gains over each baseline; its PR-AUC where there is nothing to compare it with."""
    told = [sentence for name in record["baselines"] for sentence in gain_sentences(record, name)]
    return told or [f"{record['main_method']} has nothing to be compared with: ask for another of --methods."]


def gain_sentences(record: ExperimentRecord, baseline: str) -> list[str]:
    """The gain of the main method over a baseline: first whether there is one, then how large it is."""
    gains = comparison(record, record["main_method"], baseline)
    if gains is None:
        return []
    over = "major" if gains["major"]["evaluated"] else "all"
    overall, mean, word = gains["overall"], mean_of(gains), "major territories" if over == "major" else "territories"
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


def verdict(method: str, baseline: str, overall: MeanRecord, mean: MeanRecord) -> str:
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
        "no different": f"{method} is no better and no worse than {baseline}: less than {NEGLIGIBLE:g} % apart.",
        "undecided": f"It is undecided whether {method} is better or worse than {baseline}.",
        "unknown": f"The gain of {method} over {baseline} is unknown.",
    }[known.pop() if known else "unknown"]


def part_sentences(record: ExperimentRecord) -> list[str]:
    """Which part of the main method's gain heads, memory per group and offsets have; whether memory is in it at all."""
    parts, sentences = record["parts"], []
    if len(parts) > 1:
        name, start = record["main_method"], parts[0]["baseline"]
        shared = all(part["share"] is not None for part in parts)
        told = (
            f"{part['part']}{share_of(part) if shared else ''} ({part['method']} against {part['baseline']}: "
            f"{standing(part['overall'])}, {percent(part['overall'])})"
            for part in parts
        )
        whole = f"Of what {name} gains over {start} in overall PR-AUC, "
        none = f"{name} gains nothing over {start} in overall PR-AUC that parts could have a share of: "
        sentences.append(f"{whole if shared else none}{', '.join(told)}.")
    elif parts and " and " in parts[0]["part"]:
        sentences.append(
            f"{parts[0]['part'].capitalize()} make up {record['main_method']} together; methods with some of them "
            "alone, such as offsets, tell which part each has."
        )
    main = next(method for method in record["methods"] if method["name"] == record["main_method"])
    memory = main["settings"].get("model", {}).get("memory")
    if memory is not None:
        which = "Every network has memory, so no gain of one over another is that of memory"
        sentences.append(f"{which}." if memory else "No network has memory (see --memory).")
    return sentences


def share_of(part: PartRecord) -> str:
    """`` have 96 %``: the share of a part in the whole gain."""
    return f" have {100 * (part['share'] or 0):.0f} %".replace("-", "−")


def ranking_sentences(record: ExperimentRecord) -> list[str]:
    """Whether the first titles of the ranking are better, too."""
    users, k = sum(record["ranking_users"]), record["k"]
    return [
        f"nDCG@{k} of the {users:,} users with something to find, {told['method']} against {told['baseline']}: "
        f"{standing(told['overall'])}, {percent(told['overall'])}."
        for told in record["ranking_gains"]
        if told["metric"] == "ndcg" and told["baseline"] in record["baselines"]
    ]


def worst_sentences(record: ExperimentRecord) -> list[str]:
    """Where the main method is worst, and how far territories are apart, beside its baselines."""
    methods = {method["name"]: method for method in record["methods"]}
    names = [record["main_method"], *record["baselines"]]
    known = [name for name in names if methods[name]["worst_territory"] is not None]
    if known != names:
        return []
    told = [f"{name} {average(methods[name]['worst']):.4f} in {methods[name]['worst_territory']}" for name in names]
    gaps = [f"{name} {average(methods[name]['gap']):.4f}" for name in names]
    return [
        f"Lowest PR-AUC of an evaluated territory: {', '.join(told)}. Gap between the highest and the lowest: "
        f"{', '.join(gaps)}."
    ]


def further_sentences(record: ExperimentRecord) -> list[str]:
    """A sentence for each method that no other sentence compares: over the last baseline, or under the main method."""
    main, baselines = record["main_method"], record["baselines"]
    told = {main, *baselines[:1], *(part["method"] for part in record["parts"])}
    sentences = []
    for name in (method["name"] for method in record["methods"] if method["name"] not in told):
        pairs = [*((name, baseline) for baseline in reversed(baselines)), (main, name)]
        for gains in [gains for pair in pairs if (gains := comparison(record, *pair))][:1]:
            models = f"{gains['method']} against {gains['baseline']}"
            sentences.append(f"{models}, all pairs: {standing(gains['overall'])}, {percent(gains['overall'])}.")
    return sentences


def offset_sentences(record: ExperimentRecord) -> list[str]:
    """Whether title preferences of single groups or territories persist: the prior that shrinks their offsets."""
    method = next(method for method in record["methods"] if method["name"] == record["main_method"])
    runs = [run for run in method.get("title_offsets") or () if run and "group_prior" in run]
    if not runs:
        return []
    level = runs[0]["level"]
    priors = sorted(prior for run in runs if (prior := run["group_prior"]) is not None and prior < SHRUNK_AWAY)
    sentences = []
    if len(priors) < len(runs):
        sentences.append(
            f"In {len(runs) - len(priors)} of {len(runs)} runs of {method['name']}, title offsets per {level} do not "
            "predict held-out labels and are set to 0, or next to it."
        )
    if priors:
        pseudo = " to ".join(f"{prior:g}" for prior in dict.fromkeys((priors[0], priors[-1])))
        sentences.append(
            f"In {len(priors)} of {len(runs)} runs of {method['name']}, title offsets per {level} predict held-out "
            f"labels; a prior of {pseudo} pseudo-positives shrinks them towards the common offset."
        )
    return sentences


def bias_sentences(record: ExperimentRecord) -> list[str]:
    """Whether local titles take more and global ones less of the top 10."""
    method, bias = record["main_method"], record["bias"]
    changes = {(told["baseline"], told["measure"]): told for told in record["bias_changes"]}
    sentences = []
    for baseline in record["baselines"]:
        parts = []
        for measure, what in (("local_share", "local titles"), ("global_share", "global titles")):
            change = changes.get((baseline, measure))
            if change is not None and change["mean"] is not None:
                new, old = (bias[name]["overall"][measure] for name in (method, baseline))
                parts.append(f"{what} fill {share(new)} of the top 10 instead of {share(old)} ({points(change)})")
        if parts:
            sentences.append(f"With {method} rather than {baseline}, {' and '.join(parts)}.")
    if bias[method]["overall"]["local_share"][0] is None:
        sentences.append("No test user lives in a territory with local titles, so nothing is known about them.")
    return sentences


def points(change: ChangeRecord) -> str:
    """A change of a share: its direction, size and interval."""
    low, high = change["low"], change["high"]
    known = low is not None and high is not None
    ends = f"95 % interval {100 * (low or 0):+.1f} to {100 * (high or 0):+.1f}" if known else "no interval"
    return f"{change['direction']}: {100 * (change['mean'] or 0):+.1f} points, {ends}".replace("-", "−")


def support_sentences(record: ExperimentRecord) -> list[str]:
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
    elif seeds < ENOUGH_SEEDS:
        sentences.append(f"{FEW_SEEDS[seeds]} seeds hardly show the variance of training: --seeds 5 is better.")
    return sentences + sample_sentences(record)


def sample_sentences(record: ExperimentRecord) -> list[str]:
    """Labels whose existence shows in the pairs: what each sample lacks, with the methods that learn from it."""
    sentences = []
    for name, sample in record["samples"].items():
        counts = sample.get("sampled", {})
        missing, left_out = counts.get("missing_negatives", 0), counts.get("unavailable_positives", 0)
        if missing or left_out:
            methods = ", ".join(method["name"] for method in record["methods"] if method.get("sample") == name)
            sentences.append(
                f"Sample {name} ({methods}) lacks {missing:,} negatives of users with too few unwatched titles, and "
                f"{left_out:,} positives of titles that are not available to their user were left out."
            )
    return sentences


def share(measure: Sequence[float | None]) -> str:
    """A share with its spread over seeds: ``1.8 ± 0.3 %``."""
    mean, spread = measure
    return f"{100 * (mean or 0):.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}") + " %"


def percent(gain: MeanRecord) -> str:
    """A mean gain with its interval: ``+1.20 % (95 % interval +0.30 to +2.10)``."""
    if gain["mean"] is None:
        return "undefined"
    ends = "" if gain["low"] is None else f" (95 % interval {gain['low']:+.2f} to {gain['high']:+.2f})"
    return f"{gain['mean']:+.2f} %{ends}".replace("-", "−")

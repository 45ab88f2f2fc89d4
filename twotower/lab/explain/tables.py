"""The record of an explained score on a terminal: terms, hidden units, heads, and the titles that other heads move."""

from rich.console import Console

from twotower.core.formatting import count, counted, decimal, minus
from twotower.lab.explain.record import Explanation, HeadScore, MemoryPart, TitleKind
from twotower.report.table import COUNT, TEXT, Cell, Column, Kind, Table
from twotower.report.terminal import line, print_lines, print_table

#: Terms of the sum in its order: formula, explanation, short name.
TERMS = {
    "dot": ("s·⟨U, V⟩", "user and title", "user·title"),
    "tower": ("s·⟨A, V⟩", "user and title in the shared tower", "tower"),
    "head": ("s·⟨U − A, V⟩", "what the head of {group} adds", "head"),
    "c": ("c", "bias of all logits", "c"),
    "title_bias": ("⟨X, C⟩", "title bias of {group}", "title bias"),
    "territory_dot": ("s·⟨b, V⟩", "user offset of {territory}", "user offset"),
    "territory_bias": ("⟨X, C⟩", "title bias of {territory}", "terr. bias"),
    "title_offset": ("offset", "title offset in {territory}", "offset"),
    "memory": ("⟨m, w + d⟩", "memory: counts and the user's history", "memory"),
}
BASE_RATES = {
    "all": "all training pairs",
    "title": "training pairs of the title",
    "title_in_territory": "those in {territory}",
}
PARTS = {"training": "a training user", "test": "a test user", None: "neither a training nor a test user"}
TERM = Kind(lambda value: minus(f"{value:+.4f}"))
PROBABILITY = Kind(lambda value: decimal(value, 4))


def print_explanation(record: Explanation, console: Console) -> None:
    """The score first, then its hidden units, then the other heads."""
    print_lines(console, [*facts(record), ""])
    print_table(terms_table(record), console)
    console.print()
    if record["memory"] is not None:
        print_table(memory_table(record["memory"]), console)
        console.print()
        if record["memory"]["titles"]:
            print_table(history_table(record["memory"]), console)
        print_lines(console, [history_line(record["memory"]), ""])
    if record["hidden"]["half"]:
        print_table(units_table(record), console)
    print_lines(console, [concentration(record), ""])
    if len(record["heads"]) == 1:
        print_lines(console, ["The model has one head, which all users share."])
        return
    print_table(heads_table(record), console)
    console.print()
    print_table(moved_table(record), console)
    print_lines(console, [line("local, global: see docs/explanation/popularity-bias.md", "quiet")])


def facts(record: Explanation) -> list[str]:
    """The user and the title."""
    user, title = record["user"], record["title"]
    group = "" if user["group"] is None else f", group {user['group']}"
    part = f"; {PARTS[user['part']]}" if record["sample"] else ""
    name = "" if title["name"] == title["id"] else f" ({title['name']})"
    if title["watched"]:
        rank = "already watched, so never recommended again"
    elif not title["available"]:
        rank = f"not available in {user['territory']}, so never recommended there"
    else:
        rank = f"rank {count(own_head(record)['rank'])} of the {count(record['titles'])} titles that the user may get"
    return [
        f"user   {user['id']}: {user['territory_name']} ({user['territory']}){group}; "
        f"{counted(user['watched'], 'title')} watched{part}",
        f"title  {title['id']}{name}: {kind_text(title)}; {rank}",
    ]


def terms_table(record: Explanation) -> Table:
    """The sum, its probability, and base rates for comparison."""
    table = Table([Column("term", TEXT), Column("what it is", TEXT), Column("value", TERM)])
    for name, value in record["terms"].items():
        formula, words, _ = TERMS[name]
        table.add(scaled(formula, record), words.format(**places(record)), value)
    table.section()
    table.add("z", "logit: the sum", record["logit"], tone="strong")
    table.add("σ(z)", "probability", Cell(record["probability"], text=decimal(record["probability"])), tone="strong")
    for base in record["base_rates"]:
        words = BASE_RATES[base["of"]].format(**places(record))
        counts = f"{count(base['positives'])} of {count(base['pairs'])} positive"
        rate = "–" if base["rate"] is None else decimal(base["rate"])
        table.add("base rate", f"{words}: {counts}", rate)
    return table


def memory_table(part: MemoryPart) -> Table:
    """The memory terms with their values and contributions, largest first."""
    columns = [Column("memory term", TEXT), Column("value", TERM), Column("weight", TERM), Column("of the group", TERM)]
    table = Table([*columns, Column("contribution", TERM)], "", "values in standard deviations from the mean pair")
    for term in sorted(part["terms"], key=lambda term: -abs(term["contribution"])):
        table.add(term["term"], term["value"], term["weight"], term["deviation"], term["contribution"])
    table.section()
    table.add("memory", "", "", "", sum(term["contribution"] for term in part["terms"]), tone="strong")
    return table


def history_table(part: MemoryPart) -> Table:
    """The titles of the user's history that the score comes from."""
    columns = [Column("watched before", TEXT), Column("cosine", TERM), Column("EASE", TERM)]
    table = Table([*columns, Column("contribution", TERM)])
    for title in part["titles"]:
        table.add(title["name"], title["cosine"], title["ease"], title["contribution"])
    return table


def history_line(part: MemoryPart) -> str:
    """How much of the history has to do with the title."""
    history = counted(part["history"], "title")
    return f"{count(part['related'])} of the {history} in the user's history go with this one."


def units_table(record: Explanation) -> Table:
    """The hidden units with the largest contributions of either sign."""
    columns = [Column("U", TERM), Column("V", TERM), Column(scaled("s·U·V", record), TERM)]
    table = Table([Column("hidden unit", TEXT), *columns])
    for units in (record["hidden"]["positive"], record["hidden"]["negative"]):
        for unit in units["largest"]:
            table.add(f"unit {unit['unit']}", unit["u"], unit["v"], unit["contribution"])
        table.section()
    return table


def concentration(record: Explanation) -> str:
    """How many units make the score."""
    hidden = record["hidden"]
    if not hidden["half"]:
        return f"All {hidden['units']} units contribute 0: no unit is above 0 in both U and V."
    signs = (("positive", hidden["positive"]), ("negative", hidden["negative"]))
    parts = [f"{counted(of['units'], f'{sign} unit')}, sum {TERM.write(of['sum'])}" for sign, of in signs]
    return (
        f"{'; '.join(parts)}. Half of the magnitude is in {count(hidden['half'])} of "
        f"{counted(hidden['units'], 'unit')} (effective number of units: {hidden['effective']:.1f})."
    )


def scaled(formula: str, record: Explanation) -> str:
    """A formula with the scale s, which a model without a learned logit does not have."""
    return formula if "c" in record["terms"] else formula.removeprefix("s·")


def heads_table(record: Explanation) -> Table:
    """The same user under every head."""
    names = [name for name in TERMS if name in record["terms"] and name != "c"]
    columns = [Column("head", TEXT), Column("living in", TEXT), *(Column(TERMS[name][2], TERM) for name in names)]
    table = Table(
        [*columns, Column("logit", TERM), Column("prob.", PROBABILITY), Column("rank", COUNT)],
        f"User {record['user']['id']} under every head: {record['title']['name']}",
        "under another head the user is assumed to live in the largest territory of its group",
    )
    for head in record["heads"]:
        more = " …" if head["territories"] > len(head["largest"]) else ""
        largest = ", ".join(head["largest"]) + more or "none here"
        table.add(
            f"{head['group']} ({largest}){' own' if head['own'] else ''}",
            head["territory"],
            *(head["terms"][name] for name in names),
            head["logit"],
            head["probability"],
            head["rank"],
            tone="strong" if head["own"] else "",
        )
    return table


def moved_table(record: Explanation) -> Table:
    """The titles whose logit differs most between the own head and each other one."""
    numbers = [Column("own logit", TERM), Column("logit", TERM), Column("change", TERM)]
    table = Table(
        [*(Column(name, TEXT) for name in ("head", "title", "kind")), *numbers, Column("own rank", COUNT),
         Column("rank", COUNT)],
        f"Largest changes from head {own_head(record)['group']}, among the ten best titles of either head",
    )  # fmt: skip
    for head in record["moved"]:
        for title in head["titles"]:
            change = title["logit"] - title["own_logit"]
            table.add(
                str(head["group"]),
                title["name"],
                kind_text(title),
                title["own_logit"],
                title["logit"],
                Cell(change, "good" if change > 0 else "bad"),
                title["own_rank"],
                title["rank"],
            )
        table.section()
    return table


def own_head(record: Explanation) -> HeadScore:
    return next(head for head in record["heads"] if head["own"])


def places(record: Explanation) -> dict[str, str]:
    """Names of the user's group and territory in sentences."""
    group = record["user"]["group"]
    return {"group": "all" if group is None else f"group {group}", "territory": record["user"]["territory"]}


def kind_text(title: TitleKind) -> str:
    """Local, global or neither."""
    if title["kind"] is None:
        return "unknown"
    return f"local to {title['home']}" if title["kind"] == "local" else title["kind"] or "neither"

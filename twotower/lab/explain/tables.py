"""Why this score, as tables for the terminal: read off the record of ``twotower explain`` alone."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from twotower.core.formatting import minus
from twotower.report.tables import count_text, new_table

#: Name of a term in the record → how it is written, and in words. In the order of the sum.
TERMS = {
    "dot": ("s·⟨U, V⟩", "user and title"),
    "tower": ("s·⟨A, V⟩", "user and title, by the shared tower"),
    "head": ("s·⟨U − A, V⟩", "and what the head of {group} adds"),
    "c": ("c", "bias of all logits"),
    "title_bias": ("⟨X, C⟩", "title bias of {group}"),
    "territory_dot": ("s·⟨b, V⟩", "user offset of {territory}"),
    "territory_bias": ("⟨X, C⟩", "title bias of {territory}"),
    "title_offset": ("offset", "of the title in {territory}"),
}
SHORT = {"dot": "user·title", "tower": "tower", "head": "head", "c": "c", "title_bias": "title bias"}
SHORT |= {"territory_dot": "user offset", "territory_bias": "terr. bias", "title_offset": "offset"}
BASE_RATES = {
    "all": "of all training pairs",
    "title": "of the title’s training pairs",
    "title_in_territory": "of those in {territory}",
}
PARTS = {"training": "a training user", "test": "a test user", None: "in neither part of the sample"}


def print_explanation(record: Mapping[str, Any], console: Console) -> None:
    """All of it, in the order of the questions: who and what, why this score, which units, which head."""
    for part in explanation_parts(record):
        console.print(part, highlight=False, soft_wrap=isinstance(part, Text))


def explanation_parts(record: Mapping[str, Any]) -> list[RenderableType]:
    """The lines and tables."""
    parts: list[RenderableType] = [*facts(record), "", terms_table(record), ""]
    parts += [*([units_table(record)] if record["hidden"]["half"] else []), concentration(record), ""]
    if len(record["heads"]) == 1:
        return [*parts, Text("There is one head: every user goes through the same network.")]
    parts += [heads_table(record), "", moved_table(record)]
    return [*parts, Text("local, global: by training positives (docs/explanation/popularity-bias.md)", style="dim")]


def facts(record: Mapping[str, Any]) -> list[Text]:
    """Who, and what."""
    user, title = record["user"], record["title"]
    group = "" if user["group"] is None else f", group {user['group']}"
    part = f"; {PARTS[user['part']]}" if record["sample"] else ""
    who = f"user   {user['id']}: {user['territory_name']} ({user['territory']}){group}; "
    named = "" if title["name"] == title["id"] else f" ({title['name']})"
    what = f"title  {title['id']}{named}: {kind_text(title)}"
    if title["watched"]:
        what += "; watched already: never recommended again"
    elif not title["available"]:
        what += f"; not to be had in {user['territory']}: never recommended there"
    else:
        rank = own_head(record)["rank"]
        what += f"; rank {count_text(rank)} of the {count_text(record['titles'])} titles open to the user"
    return [Text(who + f"titles watched: {count_text(user['watched'])}{part}"), Text(what)]


def terms_table(record: Mapping[str, Any]) -> Table:
    """The sum, then what it means as a probability, with base rates beside it."""
    table = new_table(("term", "what it is"), ("value",))
    for name, value in record["terms"].items():
        formula, words = TERMS[name]
        table.add_row(scaled(formula, record), words.format(**places(record)), number_text(value))
    table.add_section()
    table.add_row("z", "logit: the sum", number_text(record["logit"]), style="bold")
    table.add_row("σ(z)", "probability", f"{record['probability']:.4f}", style="bold")
    for base in record["base_rates"]:
        words = BASE_RATES[base["of"]].format(**places(record))
        counts = f"{count_text(base['positives'])} of {count_text(base['pairs'])} positive"
        rate = "–" if base["rate"] is None else f"{base['rate']:.4f}"
        table.add_row("base rate", f"{words}: {counts}", rate)
    return table


def units_table(record: Mapping[str, Any]) -> Table:
    """The hidden units that add most and take most."""
    table = new_table(("hidden unit",), ("U", "V", scaled("s·U·V", record)))
    for sign in ("positive", "negative"):
        for unit in record["hidden"][sign]["largest"]:
            numbers = (number_text(unit[name]) for name in ("u", "v", "contribution"))
            table.add_row(f"unit {unit['unit']}", *numbers)
        table.add_section()
    return table


def concentration(record: Mapping[str, Any]) -> Text:
    """How few units make the score."""
    hidden = record["hidden"]
    if not hidden["half"]:
        return Text(f"All {count_text(hidden['units'])} units add 0: no unit is above 0 in both U and V.")
    positive, negative = hidden["positive"], hidden["negative"]
    added = f"{units_text(positive['units'])} {'adds' if positive['units'] == 1 else 'add'}"
    taken = f"{count_text(negative['units'])} {'adds' if negative['units'] == 1 else 'add'}"
    equal = f"{hidden['effective']:.0f}"
    return Text(
        f"{added} {number_text(positive['sum'])}, {taken} {number_text(negative['sum'])}; half of all magnitude lies "
        f"in {count_text(hidden['half'])} of {units_text(hidden['units'])} "
        f"(as concentrated as in {equal} equal {'one' if equal == '1' else 'ones'})"
    )


def units_text(n: int) -> str:
    return f"{count_text(n)} {'unit' if n == 1 else 'units'}"


def scaled(formula: str, record: Mapping[str, Any]) -> str:
    """A formula with the scale s, which a model without a learned logit does not have."""
    return formula if "c" in record["terms"] else formula.removeprefix("s·")


def heads_table(record: Mapping[str, Any]) -> Table:
    """The same user under every head."""
    names = [name for name in TERMS if name in record["terms"] and name != "c"]
    table = new_table(
        ("head", "living in"),
        (*(SHORT[name] for name in names), "logit", "prob.", "rank"),
        title=f"User {record['user']['id']} under every head: {record['title']['name']}",
        caption="under another head the user is taken to live in the largest territory of its group",
    )
    for head in record["heads"]:
        more = " …" if head["territories"] > len(head["largest"]) else ""
        largest = ", ".join(head["largest"]) + more or "none here"
        table.add_row(
            f"{head['group']} ({largest}){' own' if head['own'] else ''}",
            head["territory"],
            *(number_text(head["terms"][name]) for name in names),
            number_text(head["logit"]),
            f"{head['probability']:.4f}",
            count_text(head["rank"]),
            style="bold" if head["own"] else None,
        )
    return table


def moved_table(record: Mapping[str, Any]) -> Table:
    """The titles that move most between the own head and each other one."""
    own = own_head(record)
    table = new_table(
        ("head", "title", "kind"),
        ("own logit", "logit", "change", "own rank", "rank"),
        title=f"What moves most when head {own['group']} is replaced, of the ten best titles of both",
    )
    for head in record["moved"]:
        for title in head["titles"]:
            change = title["logit"] - title["own_logit"]
            table.add_row(
                str(head["group"]),
                title["name"],
                kind_text(title),
                number_text(title["own_logit"]),
                number_text(title["logit"]),
                Text(number_text(change), style="green" if change > 0 else "red"),
                count_text(title["own_rank"]),
                count_text(title["rank"]),
            )
        table.add_section()
    return table


def own_head(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(head for head in record["heads"] if head["own"])


def places(record: Mapping[str, Any]) -> dict[str, str]:
    """How the user's group and territory are called in sentences."""
    group = record["user"]["group"]
    return {"group": "all" if group is None else f"group {group}", "territory": record["user"]["territory"]}


def kind_text(title: Mapping[str, Any]) -> str:
    """Local or global, or neither."""
    if title["kind"] is None:
        return "unknown"
    return f"local to {title['home']}" if title["kind"] == "local" else title["kind"] or "neither"


def number_text(value: float) -> str:
    return minus(f"{value:+.4f}")

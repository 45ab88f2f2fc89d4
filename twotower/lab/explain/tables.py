"""The record of an explained score on a terminal: terms, heads, and the titles that other heads move."""

from rich.console import Console

from twotower.core.formatting import count, counted, decimal
from twotower.lab.explain.record import (
    PROBABILITY,
    TERM,
    Explanation,
    HiddenUnits,
    MemoryPart,
    MemoryTerm,
    MovedTitle,
    WatchedTitle,
)
from twotower.report.record_table import table_of
from twotower.report.table import COUNT, TEXT, Cell, Column, Table
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


def print_explanation(record: Explanation, console: Console) -> None:
    """The score first, then memory, then the other heads."""
    print_lines(console, [*facts(record), ""])
    print_table(terms_table(record), console)
    print_lines(console, ["", units_line(record.hidden), ""])
    if record.memory is not None:
        print_memory(record.memory, console)
    if len(record.heads) == 1:
        print_lines(console, ["The model has one head, which all users share."])
        return
    print_table(heads_table(record), console)
    print_lines(console, [""])
    title = f"Largest changes from head {record.own.group}, among the ten best titles of either head"
    print_table(table_of(MovedTitle, record.moved, title, section=lambda moved: moved.group), console)
    print_lines(console, [line("local, global: see docs/explanation/popularity-bias.md", "quiet")])


def facts(record: Explanation) -> list[str]:
    """The user and the title."""
    user, title = record.user, record.title
    group = "" if user.group is None else f", group {user.group}"
    part = f"; {PARTS[user.part]}" if record.sample else ""
    name = "" if title.name == title.id else f" ({title.name})"
    if record.watched:
        rank = "already watched, so never recommended again"
    elif not record.available:
        rank = f"not available in {user.territory}, so never recommended there"
    else:
        rank = f"rank {count(record.own.rank)} of the {count(record.titles)} titles that the user may get"
    return [
        f"user   {user.id}: {user.territory_name} ({user.territory}){group}; "
        f"{counted(user.watched, 'title')} watched{part}",
        f"title  {title.id}{name}: {title.kind_text()}; {rank}",
    ]


def terms_table(record: Explanation) -> Table:
    """The sum, its probability, and base rates for comparison."""
    own, group = record.own, record.user.group
    places = {"group": "all" if group is None else f"group {group}", "territory": record.user.territory}
    table = Table([Column("term", TEXT), Column("what it is", TEXT), Column("value", TERM)])
    for name, value in own.terms.items():
        formula, words, _ = TERMS[name]
        scaled = formula if "c" in own.terms else formula.removeprefix("s·")  # no s without a learned logit
        table.add(scaled, words.format(**places), value)
    table.section()
    table.add("z", "logit: the sum", own.logit, tone="strong")
    table.add("σ(z)", "probability", Cell(own.probability, text=decimal(own.probability)), tone="strong")
    for base in record.base_rates:
        counts = f"{count(base.positives)} of {count(base.pairs)} positive"
        rate = "–" if base.rate is None else decimal(base.rate)
        table.add("base rate", f"{BASE_RATES[base.of].format(**places)}: {counts}", rate)
    return table


def units_line(hidden: HiddenUnits) -> str:
    """How many units make the score."""
    if not hidden.half:
        return "All hidden units contribute 0: no unit is above 0 in both U and V."
    signs = (("positive", hidden.positive, hidden.positive_sum), ("negative", hidden.negative, hidden.negative_sum))
    parts = "; ".join(f"{counted(units, f'{sign} unit')}, sum {TERM.write(total)}" for sign, units, total in signs)
    return (f"{parts}. Half of the magnitude is in {counted(hidden.half, 'hidden unit')} "
            f"(effective number of units: {hidden.effective:.1f}).")  # fmt: skip


def print_memory(part: MemoryPart, console: Console) -> None:
    """The memory terms, largest first, and the titles of the user's history that they come from."""
    terms = sorted(part.terms, key=lambda term: -abs(term.contribution))
    table = table_of(MemoryTerm, terms, caption="values in standard deviations from the mean pair")
    table.section()
    table.add("memory", "", "", "", sum(term.contribution for term in terms), tone="strong")
    print_table(table, console)
    print_lines(console, [""])
    if part.titles:
        print_table(table_of(WatchedTitle, part.titles), console)
    of_history = f"{count(part.related)} of the {counted(part.history, 'title')} in the user's history"
    print_lines(console, [f"{of_history} are neighbours of this one.", ""])


def heads_table(record: Explanation) -> Table:
    """The same user under every head."""
    names = [name for name in TERMS if name in record.own.terms and name != "c"]
    columns = [Column("head", TEXT), Column("living in", TEXT), *(Column(TERMS[name][2], TERM) for name in names)]
    table = Table(
        [*columns, Column("logit", TERM), Column("prob.", PROBABILITY), Column("rank", COUNT)],
        f"User {record.user.id} under every head: {record.title.name}",
        "under another head the user is assumed to live in the largest territory of its group",
    )
    for head in record.heads:
        more = " …" if head.territories > len(head.largest) else ""
        label = f"{head.group} ({', '.join(head.largest) + more or 'none here'}){' own' if head.own else ''}"
        values = [head.terms[name] for name in names]
        table.add(label, head.territory, *values, head.logit, head.probability, head.rank,
                  tone="strong" if head.own else "")  # fmt: skip
    return table

"""Options that would have no effect are refused, rather than ignored: one table for all commands."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from twotower.core.config import RANKED
from twotower.core.errors import InputError

Values = Mapping[str, Any]  # option or setting → value


class Rule(NamedTuple):
    """Settings that have no effect where a condition on all values holds."""

    settings: tuple[str, ...]
    when: Callable[[Values], bool]
    reason: str  # completes "--rank has no effect …"; a format string with the values


BY_TITLE = "with --by title: it is about territories"

#: Rules by command; ``train`` is also for the others that have its settings.
RULES: dict[str, tuple[Rule, ...]] = {
    "train": (
        Rule(("rank",), lambda v: v["head"] not in RANKED, "with --head {head}"),
        Rule(("experts",), lambda v: v["head"] != "mmoe", "with --head {head}"),
        Rule(("memory_units",), lambda v: not v["memory"], "with --no-memory"),
        Rule(("offset_prior",), lambda v: v["title_offsets"] == "none", "with --title-offsets none"),
        Rule(("debias_strength",), lambda v: v["debias"] == "none", "without --debias"),
        Rule(("patience", "validations_per_epoch"), lambda v: v["validation"] == 0, "with --validation 0"),
    ),
    "sample": (Rule(("quota", "window"), lambda v: not v["active_users"], "without active users (--active-users 0)"),),
    "evaluate": (
        Rule(("k",), lambda v: v["by"] == "title", BY_TITLE),
        Rule(("min_positives",), lambda v: v["by"] == "title" and not v["json"], BY_TITLE),
    ),
    "export": (Rule(("min_recall", "candidates"), lambda v: not v["ann"], "without --ann"),),
    "import": (
        Rule(
            ("time_format", "train_days", "test_days", "calendar", "from_date", "until_date"),
            lambda v: v["time"] is None,
            "without --time",
        ),
        Rule(("history_share",), lambda v: v["time"] is not None, "with --time"),
        Rule(
            ("users_id", "users_separator", "users_encoding", "users_no_header"),
            lambda v: v["users"] is None,
            "without --users",
        ),
        Rule(
            ("titles_id", "join_titles", "title_weight", "titles_separator", "titles_encoding", "titles_no_header"),
            lambda v: v["titles"] is None,
            "without --titles",
        ),
        Rule(("database",), lambda v: v["sql"] is None, "without --sql"),
        Rule(("where",), lambda v: v["sql"] is not None, "with --sql: write the condition into the query"),
    ),
    "embed": (
        Rule(
            ("user_dims", "history_power", "weighting", "popularity", "territory_onehot", "profile", "text",
             "text_dims", "categorical", "title_side"), lambda v: v["basis_from"] is not None,
            "with --basis-from {basis_from}: its vectors are made in the same way",
        ),
        Rule(("history_power", "weighting"), lambda v: v["user_dims"] == 0,
             "with --user-dims 0: it belongs to that SVD"),
        Rule(
            ("history_power", "weighting"),
            lambda v: v["user_vectors"] and v["title_vectors"] and not (v["title_side"] or v["user_dims"]),
            "with own vectors of users and titles: there is no SVD",
        ),
        Rule(("popularity",), lambda v: v["user_vectors"] and v["title_vectors"] and v["popularity"] is False,
             "with own vectors of users and titles: they stand alone by default"),
        Rule(("text",), lambda v: v["text_dims"] == 0, "with --text-dims 0"),
        Rule(("title_side",), lambda v: v["title_side"] and v["user_dims"] == 0,
             "with --user-dims 0: it is a side of that SVD"),
        Rule(("territory_onehot",), lambda v: v["user_vectors"] and v["territory_onehot"] is False,
             "with --user-vectors: own vectors stand alone by default"),
        Rule(("title_side",), lambda v: v["title_vectors"] and v["title_side"] is False,
             "with --title-vectors: own vectors stand alone by default"),
    ),
}


def refuse_no_effect(command: str, chosen: Iterable[str], values: Values) -> None:
    """Errors: InputError for the first of the ``chosen`` settings that has no effect under all ``values``."""
    chosen = set(chosen)
    for rule in RULES[command]:
        for name in rule.settings:
            if name in chosen and rule.when(values):
                words = name.removesuffix("_date").replace("_", "-")  # from_date is --from
                flag = f"--{'no-' if values[name] is False else ''}{words}"
                raise InputError(f"{flag} has no effect {rule.reason.format(**values)}")


def set_values(values: Values) -> list[str]:
    """The names of optional settings that have a value: neither None, nor an empty list, nor a flag left off."""
    return [name for name, value in values.items() if value is not None and value is not False and value != ()]

"""The tables of the page, each made from one part of the result record; a missing part gives none."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from twotower.experiments.report.html import paper
from twotower.experiments.report.html.cells import (
    Cell,
    Column,
    Table,
    at,
    columns,
    count,
    gain,
    interval,
    is_number,
    mean_and_spread,
    mean_gain,
    number,
    percent,
    text,
    undefined,
    verdict,
)
from twotower.experiments.report.wording import all_pairs

Record = Mapping[str, Any]
SURE = {"better": "good", "worse": "bad"}  # verdicts that give a gain its colour
TITLE_ROWS = 200  # at most, of the table of titles; experiment.json has the rest


def territory_name(territory: Mapping[str, Any]) -> Cell:
    """Code and name, where they differ; a territory too small to judge says so."""
    code, name = str(territory.get("code", "?")), territory.get("name")
    shown = f"{code} {name}" if name and name != code else code
    small = territory.get("evaluated") is False
    return Cell(shown, shown, hint="too small to judge" if small else "", tone="quiet" if small else "")


def muted(cell: Cell, territory: Mapping[str, Any]) -> Cell:
    """A gain where nothing can be evaluated has no colour: it is neither won nor lost."""
    return replace(cell, tone="quiet") if territory.get("evaluated") is False else cell


def minor_rows(record: Record) -> list[bool]:
    return [not territory.get("major", True) for territory in record.get("territories") or ()]


def territory_table(record: Record) -> Table | None:
    """Table 1: positives per territory, in every sample."""
    territories = record.get("territories") or []
    samples = list(dict.fromkeys(name for t in territories for name in t.get("train_positives") or {}))
    names = ["Territory", "Group", "Users", *(f"Train positives, {name}" for name in samples)]
    names += ["Test users", "Test pairs", "Test positives", "Base rate"]
    kinds = columns(*names)
    kinds[1] = Column("Group", "text")
    rows = [
        [
            territory_name(t),
            text(t.get("group"), "no group"),
            count(t.get("users")),
            *(count(at(t, "train_positives", name)) for name in samples),
            *(count(t.get(name)) for name in ("test_users", "test_pairs", "test_positives")),
            percent(t.get("base_rate")),
        ]
        for t in territories
    ]
    caption = "Users and positives per territory, most users first"
    return Table("territory-table", caption, kinds, rows, minor_rows(record)) if rows else None


def gain_table(record: Record, gains: Mapping[str, Any], name: str, major_alone: bool = False) -> Table | None:
    """Table 2, against one other model: gain per territory and period, average, interval and verdict."""
    territories, periods = record.get("territories") or [], record.get("periods") or []
    by_period = gains.get("by_period") or []
    by_period = by_period if len(by_period) > 1 else []  # one is the average
    shown = [str(at(periods, i, "name") or f"period {i + 1}") for i in range(len(by_period))]
    kinds = columns("Territory", *shown, "Average", "95 % interval", "Verdict", "Adjusted p", "Test positives")
    kinds[-3] = Column("Verdict", "text")
    rows = [
        [
            territory_name(territory),
            *(muted(gain(at(values, c)), territory) for values in by_period),
            muted(gain(at(gains, "average", c), tone=SURE.get(at(gains, "verdict", c), "")), territory),
            interval(at(gains, "low", c), at(gains, "high", c)),
            verdict(at(gains, "verdict", c)),
            number(at(gains, "p_adjusted", c), hint="not tested"),
            count(territory.get("test_positives")),
        ]
        for c, territory in enumerate(territories)
        if territory.get("major") or not major_alone
    ]
    if not rows:
        return None
    foot = [
        mean_row(gains.get(key) or {}, label, len(shown))
        for key, label in (
            ("major", "Mean of the major territories"),
            ("all", "Mean of all evaluated territories"),
            ("overall", all_pairs(record).capitalize()),
        )
        if is_number(at(gains, key, "mean"))
    ]
    caption = f"Relative gain of PR-AUC of {gains.get('method')} over {gains.get('baseline')}, percent"
    return Table(name, caption, kinds, rows, [] if major_alone else minor_rows(record), foot)


def mean_row(mean: Mapping[str, Any], label: str, n_periods: int) -> list[Cell]:
    wins, p = won_of(mean), number(mean.get("sign_p"))
    wins = Cell("") if wins.undefined else Cell(f"won {wins.text}")  # of all pairs there is nothing to count
    hint = "" if p.undefined else f"sign test p = {p.text}, as if territories were independent"
    found = [mean_gain(mean), interval(mean.get("low"), mean.get("high")), wins, Cell(""), Cell("")]
    return [Cell(label, hint=hint), *[Cell("")] * n_periods, *found]  # a heading of one column can stay in sight


def won_of(mean: Mapping[str, Any]) -> Cell:
    """In how many of the evaluated territories the gain is above 0."""
    won, evaluated = mean.get("won"), mean.get("evaluated")
    return Cell(f"{won} of {evaluated}", float(won)) if is_number(won) and is_number(evaluated) else undefined()


def comparison_table(record: Record) -> Table | None:
    """All comparisons, a row each: over the major territories, or all where no major one can be evaluated."""
    rows = []
    for gains in record.get("gains") or ():
        where = mean_of(gains)
        overall = gains.get("overall") or {}
        rows.append(
            [
                text(f"{gains.get('method')} over {gains.get('baseline')}"),
                mean_gain(where),
                interval(where.get("low"), where.get("high")),
                won_of(where),
                *(count(where.get(name)) for name in ("better", "worse")),
                number(where.get("sign_p"), hint="no sign test"),
                mean_gain(overall),
                interval(overall.get("low"), overall.get("high")),
            ]
        )
    kinds = columns("Models", "Mean gain", "95 % interval", "Won", "Better", "Worse", "Sign test p")
    kinds += [Column("Gain over all pairs"), Column("95 % interval")]
    in_major = any(mean_of(gains) is gains.get("major") for gains in record.get("gains") or ())
    which = "major territories" if in_major else "territories"
    caption = f"Gains in percent: mean over the {which} that can be evaluated, and over {all_pairs(record)}"
    return Table("comparison-table", caption, kinds, rows) if rows else None


def mean_of(gains: Mapping[str, Any]) -> Mapping[str, Any]:
    """The mean over the major territories, or over all where no major one can be evaluated."""
    major, every = gains.get("major") or {}, gains.get("all") or {}
    return major if is_number(major.get("mean")) else every


def score_table(record: Record) -> Table | None:
    """PR-AUC itself, averaged over periods and seeds, per territory and method."""
    scores, territories = record.get("pr_auc") or {}, record.get("territories") or []
    rows = [
        [
            territory_name(territory),
            percent(territory.get("base_rate")),
            *(number(at(scores, method, "average", c), 4, "undefined: no positives") for method in scores),
        ]
        for c, territory in enumerate(territories)
    ]
    kinds = columns("Territory", "Base rate", *scores)
    caption = "PR-AUC per territory and method, averaged over periods and seeds; chance gives the base rate"
    return Table("score-table", caption, kinds, rows, minor_rows(record)) if scores and rows else None


def method_table(record: Record) -> Table | None:
    rows = [
        [
            text(m.get("name")),
            text(m.get("about")),
            text(m.get("sample")),
            text(m.get("grouping")),
            count(len(m.get("seeds") or ()) or None),
            mean_and_spread(m.get("overall")),
            mean_and_spread(m.get("macro")),
            mean_and_spread(m.get("seconds"), 1),
        ]
        for m in record.get("methods") or ()
    ]
    kinds = [Column(name, "text") for name in ("Method", "What it is", "Sample", "Groups")]
    kinds += [Column("Seeds"), Column("Overall PR-AUC"), Column("Mean PR-AUC of territories"), Column("Seconds")]
    caption = "Methods, mean ± standard deviation over seeds; overall: the test pairs of all periods in one ranking"
    return Table("method-table", caption, kinds, rows) if rows else None


def title_names(record: Record) -> dict[str, str]:
    return {str(t.get("id")): str(t.get("name") or t.get("id")) for t in record.get("titles") or ()}


def pair_table(record: Record) -> Table | None:
    """Table 3: the titles' own gains, a local and a global one with comparable positives per territory."""
    pairs, names = record.get("title_pairs") or [], title_names(record)
    baseline = list(dict.fromkeys(name for pair in pairs for name in pair.get("gains") or {}))
    kinds = [Column("Title", "text"), Column("Kind", "text"), Column("Territory", "text"), Column("Positives there")]
    kinds += [Column(f"Gain over {name}, percent") for name in baseline]
    rows = [
        [
            text(names.get(str(pair.get(kind)), pair.get(kind))),
            text(kind),
            text(pair.get("territory")),
            count(pair.get(f"{kind}_positives")),
            *(gain(at(pair, "gains", name, kind), "undefined: too few positives in the test") for name in baseline),
        ]
        for pair in pairs
        for kind in ("local", "global")
    ]
    caption = "Relative gain of each title’s PR-AUC, local and global titles with comparable positives"
    return Table("pair-table", caption, kinds, rows) if rows else None


def kind_table(record: Record) -> Table | None:
    """The gains of all titles of a kind: how many are ahead, and the middle half."""
    rows = [
        [
            text(f"{k.get('kind')}, over {k.get('baseline')}"),
            gain(k.get("median"), "undefined: no title of the kind with enough positives in the test"),
            interval(k.get("lower_quartile"), k.get("upper_quartile")),
            count(k.get("ahead")),
            count(k.get("titles")),
        ]
        for k in record.get("title_kinds") or ()
    ]
    kinds = columns("Kind", "Median", "Middle half", "Ahead", "Titles")
    caption = "Relative gain of the PR-AUC of all titles of a kind that have enough positives in the test, percent"
    return Table("kind-table", caption, kinds, rows) if rows else None


def title_table(record: Record) -> Table | None:
    """The local and the global titles with their rule's numbers and PR-AUC per method."""
    titles = [t for t in record.get("titles") or () if t.get("kind")]
    titles = sorted(titles, key=lambda t: -(t.get("train_positives") or 0))[:TITLE_ROWS]
    methods = list(dict.fromkeys(name for t in titles for name in t.get("pr_auc") or {}))
    rows = [
        [
            text(t.get("name") or t.get("id")),
            text(t.get("kind")),
            text(t.get("home_territory"), "no home"),
            percent(t.get("share")),
            number(t.get("lift"), 1),
            count(t.get("train_positives")),
            count(t.get("test_positives")),
            *(number(at(t, "pr_auc", name), 4, "undefined: no positives in the test") for name in methods),
        ]
        for t in titles
    ]
    kinds = [Column("Title", "text"), Column("Kind", "text"), Column("Home", "text"), Column("Share at home")]
    kinds += [Column(name) for name in ("Lift at home", "Train positives", "Test positives")]
    kinds += [Column(f"PR-AUC, {name}") for name in methods]
    return Table("title-table", "Local and global titles, by training data alone", kinds, rows) if rows else None


def paper_gain_table() -> Table:
    against = [*paper.AGAINST_BASELINE, paper.AGAINST_BASELINE_AVERAGE]
    against += [*paper.AGAINST_UPSAMPLED, paper.AGAINST_UPSAMPLED_AVERAGE]
    rows = [[text(name), *map(gain, values)] for name, *values in zip(paper.TERRITORIES, *against, strict=True)]
    kinds = [Column("Territory", "text")]
    for baseline in ("baseline", "upsampled"):
        kinds += [Column(f"{what}, over {baseline}") for what in ("Test 1", "Test 2", "Test 3", "Average")]
    caption = "The paper’s Table 2: relative gain of PR-AUC of its MTL model, percent (private data)"
    return Table("paper-gain-table", caption, kinds, rows)


def paper_pair_table() -> Table:
    rows = [[text(name), gain(plain), gain(upsampled)] for name, plain, upsampled in paper.TITLES]
    kinds = columns("Title", "MTL over baseline, percent", "MTL over upsampled baseline, percent")
    return Table("paper-pair-table", "The paper’s Table 3: gain of titles’ PR-AUC (private data)", kinds, rows)

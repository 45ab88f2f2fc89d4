"""The tables of the page, each made from one part of the result record; a missing part gives none."""

from collections.abc import Mapping, Sequence
from typing import Any

from twotower.report.html import paper
from twotower.report.html.cells import (
    Cell,
    Column,
    Table,
    at,
    columns,
    count,
    filled,
    gain,
    interval,
    is_number,
    mean_and_spread,
    number,
    percent,
    signed,
    text,
    undefined,
    verdict,
)

Record = Mapping[str, Any]
TITLE_ROWS = 200  # at most, of the table of titles; experiment.json has the rest


def territory_name(territory: Mapping[str, Any]) -> Cell:
    """Code and name, where they differ; a territory too small to judge says so."""
    code, name = str(territory.get("code", "?")), territory.get("name")
    shown = f"{code} {name}" if name and name != code else code
    small = territory.get("judged") is False
    return Cell(shown, shown, hint="too small to judge" if small else "", tone="quiet" if small else "")


def minor_rows(record: Record) -> list[bool]:
    return [not territory.get("major", True) for territory in record.get("territories") or ()]


def territory_table(record: Record) -> Table | None:
    """Table 1: positives per territory, in every sample."""
    territories = record.get("territories") or []
    samples = list(dict.fromkeys(name for t in territories for name in t.get("train_positives") or {}))
    names = ["Territory", "Group", "Audience", *(f"Train positives, {name}" for name in samples)]
    names += ["Test users", "Test pairs", "Test positives", "Base rate"]
    kinds = columns(*names)
    kinds[1] = Column("Group", "text")
    rows = [
        [
            territory_name(t),
            text(t.get("group"), "no group"),
            count(t.get("audience")),
            *(count(at(t, "train_positives", name)) for name in samples),
            *(count(t.get(name)) for name in ("test_users", "test_pairs", "test_positives")),
            percent(t.get("base_rate")),
        ]
        for t in territories
    ]
    caption = "Users and positives per territory, largest audience first"
    return Table("territory-table", caption, kinds, rows, minor_rows(record)) if rows else None


def gain_table(record: Record, gains: Mapping[str, Any], name: str) -> Table | None:
    """Table 2, against one other model: gain per territory and period, average, interval and verdict."""
    territories, periods = record.get("territories") or [], record.get("periods") or []
    by_period = gains.get("by_period") or []
    shown = [str(at(periods, i, "name") or f"period {i + 1}") for i in range(len(by_period))]
    kinds = columns("Territory", "Test positives", *shown, "Average", "95 % interval", "Adjusted p", "Verdict")
    kinds[-1] = Column("Verdict", "text")
    rows = [
        [
            territory_name(territory),
            count(territory.get("test_positives")),
            *(gain(at(values, c)) for values in by_period),
            gain(at(gains, "average", c)),
            interval(at(gains, "low", c), at(gains, "high", c)),
            number(at(gains, "p_adjusted", c), hint="not tested"),
            verdict(at(gains, "verdict", c)),
        ]
        for c, territory in enumerate(territories)
    ]
    if not rows:
        return None
    foot = [
        mean_row(gains.get(key) or {}, label, len(shown))
        for key, label in (("major", "Mean of the major territories"), ("all", "Mean of all judged territories"))
        if is_number(at(gains, key, "mean"))
    ]
    caption = f"Relative gain of PR-AUC of {gains.get('ours')} over {gains.get('theirs')}, percent"
    return Table(name, caption, kinds, rows, minor_rows(record), foot)


def mean_row(mean: Mapping[str, Any], label: str, n_periods: int) -> list[Cell]:
    won, judged = mean.get("won"), mean.get("judged")
    wins = Cell(f"won {won} of {judged}") if is_number(won) and is_number(judged) else undefined()
    blank = [Cell("")] * (1 + n_periods)
    p = number(mean.get("sign_p"), hint="no sign test")
    sign_test = p if p.undefined else Cell(f"sign test {p.text}")
    return [Cell(label), *blank, gain(mean.get("mean")), interval(mean.get("low"), mean.get("high")), sign_test, wins]


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
            text(m.get("groups")),
            count(len(m.get("seeds") or ()) or None),
            mean_and_spread(m.get("overall")),
            mean_and_spread(m.get("macro")),
            mean_and_spread(m.get("seconds"), 1),
        ]
        for m in record.get("methods") or ()
    ]
    kinds = [Column(name, "text") for name in ("Method", "What it is", "Sample", "Groups")]
    kinds += [Column("Seeds"), Column("PR-AUC of all pairs"), Column("Mean PR-AUC of territories"), Column("Seconds")]
    caption = "Methods, mean ± standard deviation over seeds"
    return Table("method-table", caption, kinds, rows) if rows else None


def title_names(record: Record) -> dict[str, str]:
    return {str(t.get("id")): str(t.get("name") or t.get("id")) for t in record.get("titles") or ()}


def pair_table(record: Record) -> Table | None:
    """Table 3: the titles' own gains, a local and a global one with comparable positives per territory."""
    pairs, names = record.get("title_pairs") or [], title_names(record)
    theirs = list(dict.fromkeys(name for pair in pairs for name in pair.get("gains") or {}))
    kinds = [Column("Title", "text"), Column("Kind", "text"), Column("Territory", "text"), Column("Positives there")]
    kinds += [Column(f"Gain over {name}, percent") for name in theirs]
    rows = [
        [
            text(names.get(str(pair.get(kind)), pair.get(kind))),
            text(kind),
            text(pair.get("territory")),
            count(pair.get(f"{kind}_positives")),
            *(gain(at(pair, "gains", name, kind), "undefined: no positives of this title in the test") for name in theirs),
        ]
        for pair in pairs
        for kind in ("local", "global")
    ]
    caption = "Relative gain of each title’s PR-AUC, local and global titles with comparable positives"
    return Table("pair-table", caption, kinds, rows) if rows else None


def title_table(record: Record) -> Table | None:
    """The local and the global titles with their rule's numbers and PR-AUC per method."""
    titles = [t for t in record.get("titles") or () if t.get("kind")][:TITLE_ROWS]
    methods = list(dict.fromkeys(name for t in titles for name in t.get("pr_auc") or {}))
    rows = [
        [
            text(t.get("name") or t.get("id")),
            text(t.get("kind")),
            text(t.get("home"), "no home"),
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


def bias_table(record: Record) -> Table | None:
    """Popularity bias of all users: a row per measure, a column per method."""
    bias, measures = record.get("bias") or {}, record.get("measures") or {}
    names = list(dict.fromkeys([*measures, *(m for b in bias.values() for m in b.get("overall") or {})]))
    better = {"higher": "higher is better", "lower": "lower is better", "neither": "neither way is better"}
    rows = [
        [
            text(at(measures, name, "title") or name),
            text(better.get(at(measures, name, "better"), at(measures, name, "better"))),
            *(pair_of(at(bias, method, "overall", name)) for method in bias),
        ]
        for name in names
    ]
    kinds = [Column("Measure", "text"), Column("Which way", "text"), *(Column(name) for name in bias)]
    caption = "Popularity bias over all test users, mean ± standard deviation over seeds"
    return Table("bias-table", caption, kinds, rows) if bias and rows else None


def pair_of(value: Any) -> Cell:
    """``[mean, spread]``, or a bare number."""
    mean, spread = (at(value, 0), at(value, 1)) if isinstance(value, Sequence) else (value, None)
    cell = number(mean, 4)
    if cell.undefined or not is_number(spread):
        return cell
    return Cell(f"{cell.text} ± {number(spread, 4).text}", cell.value)


def bias_territory_tables(record: Record) -> list[Table]:
    """Popularity bias per territory: a table per measure, a column per method."""
    bias, territories = record.get("bias") or {}, record.get("territories") or []
    tables = []
    for i, name in enumerate(dict.fromkeys(m for b in bias.values() for m in b.get("territories") or {})):
        rows = [
            [territory_name(t), *(number(at(bias, m, "territories", name, c), 4) for m in bias)]
            for c, t in enumerate(territories)
        ]
        title = at(record, "measures", name, "title") or name
        table = Table(f"bias-{i}", f"{title}, per territory", columns("Territory", *bias), rows, minor_rows(record))
        tables += [table] if filled(table) else []
    return tables


def calibration_table(record: Record) -> Table | None:
    """Expected calibration error per method."""
    curves = record.get("calibration") or {}
    rows = [
        [text(name), number(at(curve, "ece"), 4), count(sum(x for x in at(curve, "pairs") or () if is_number(x)) or None)]
        for name, curve in curves.items()
    ]
    kinds = columns("Method", "Expected calibration error", "Test pairs")
    return Table("calibration-table", "Calibration, 0 is perfect", kinds, rows) if rows else None


def distance_table(record: Record) -> Table | None:
    rows = [
        [
            text(f"{d.get('ours')} and {d.get('theirs')}"),
            text(d.get("kind")),
            text(d.get("territory") or "all"),
            number(d.get("ks"), 4),
            number(d.get("wasserstein"), 4),
            shift_cell(d.get("shift")),
        ]
        for d in record.get("distances") or ()
    ]
    kinds = [Column("Models", "text"), Column("Titles", "text"), Column("Territory", "text")]
    kinds += [Column("Kolmogorov–Smirnov"), Column("Wasserstein"), Column("Shift of the mean")]
    caption = "How far the scores (probabilities) of two models lie apart; a shift above 0: ours scores higher"
    return Table("distance-table", caption, kinds, rows) if rows else None


def shift_cell(value: Any) -> Cell:
    return Cell(signed(value, 4), float(value)) if is_number(value) else undefined()


def paper_gain_table() -> Table:
    rows = [
        [text(name), gain(ours), gain(upsampled)]
        for name, ours, upsampled in zip(
            paper.TERRITORIES, paper.AGAINST_BASELINE_AVERAGE, paper.AGAINST_UPSAMPLED_AVERAGE, strict=True
        )
    ]
    kinds = columns("Territory", "MTL over baseline, percent", "MTL over upsampled baseline, percent")
    caption = "The paper’s Table 2: relative gain of PR-AUC, average of three test days (private data)"
    return Table("paper-gain-table", caption, kinds, rows)


def paper_pair_table() -> Table:
    rows = [[text(name), gain(plain), gain(upsampled)] for name, plain, upsampled in paper.TITLES]
    kinds = columns("Title", "MTL over baseline, percent", "MTL over upsampled baseline, percent")
    return Table("paper-pair-table", "The paper’s Table 3: gain of titles’ PR-AUC (private data)", kinds, rows)

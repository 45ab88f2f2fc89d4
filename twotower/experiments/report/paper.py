"""The results that the paper printed, for comparison.

Source: Gampa, Javadi, Bayar and Yessenalina 2023, "Multi-Task Learning For Reduced Popularity Bias In
Multi-Territory Video Recommendations", Tables 1, 2 and 3.
"""

from twotower.report.table import GAIN, TEXT, Column, Table

CITATION = (
    "Gampa, Javadi, Bayar and Yessenalina (2023), “Multi-Task Learning For Reduced Popularity Bias "
    "In Multi-Territory Video Recommendations”"
)
CANNOT_MATCH = (
    "The paper’s numbers come from private data of a streaming service, with other users, titles, features and "
    "sizes: the numbers in this report cannot match them and are not meant to."
)
POSITIVES = (
    "The paper gives only orders of magnitude: about a million positives in each of T1 to T6 and about a hundred "
    "thousand in T7 and T8, of 16 major territories among more than 200."
)
TERRITORIES = tuple(f"T{n}" for n in range(1, 17))

# Table 2: relative gain of PR-AUC in percent; a row is a test day, a column a territory T1 … T16
AGAINST_BASELINE = (
    (9.88, 34.05, -7.72, 11.36, 15.04, 27.12, 10.10, 21.36, 5.21, 13.43, 7.68, 54.75, 10.45, 7.87, 5.51, 7.36),
    (35.30, 65.27, -21.18, 24.58, 24.73, 23.22, 0.73, -0.35, -5.85, 46.97, 12.88, 21.64, 36.42, 32.31, 20.20, 25.68),
    (31.99, 16.36, 11.39, 18.98, 9.49, 20.69, 33.67, 5.35, 3.75, -2.92, 38.39, 45.69, 23.06, 12.61, 20.40, 12.70),
)
AGAINST_BASELINE_AVERAGE = (
    25.72, 38.56, -5.83, 18.30, 16.42, 23.67, 14.83, 8.78,
    1.03, 19.16, 19.65, 40.69, 23.31, 17.59, 15.37, 15.24,
)  # fmt: skip
AGAINST_UPSAMPLED = (
    (7.27, 23.46, -30.16, -3.98, 4.62, -16.52, -0.65, 6.30, 3.91, 15.52, 28.45, 77.35, 3.38, 2.39, 2.41, 0.48),
    (9.80, 20.36, -5.11, 7.59, 11.78, 5.05, 2.95, 3.79, 9.47, 69.10, 16.07, 15.89, 10.28, 18.59, 3.86, 0.13),
    (18.31, 8.17, 0.84, 6.89, 9.92, 6.69, 13.17, -3.23, -6.86, 0.25, 22.26, 10.85, 13.68, 6.79, 20.35, 13.43),
)
AGAINST_UPSAMPLED_AVERAGE = (
    11.79, 17.33, -11.48, 3.49, 8.77, -1.58, 5.15, 2.28,
    2.17, 28.29, 22.26, 34.70, 9.11, 9.25, 8.88, 4.68,
)  # fmt: skip

# Table 3: relative gain of the titles' PR-AUC in percent, against the baseline and the upsampled baseline
TITLES = (
    ("Local Title 1", 6.50, 2.63),
    ("Local Title 2", 3.83, 6.23),
    ("Global Title 1", 4.28, 3.15),
    ("Global Title 2", 36.22, 35.27),
)


def gain_table() -> Table:
    """The paper's Table 2, a row per territory."""
    baselines = ("baseline", "upsampled")
    days = ("Test 1", "Test 2", "Test 3", "Average")
    columns = [Column(f"{day}, over {baseline}", GAIN) for baseline in baselines for day in days]
    title = "The paper’s Table 2: relative gain of PR-AUC of its MTL model, percent (private data)"
    table = Table([Column("Territory", TEXT), *columns], title, id="paper-gain-table")
    against = [*AGAINST_BASELINE, AGAINST_BASELINE_AVERAGE, *AGAINST_UPSAMPLED, AGAINST_UPSAMPLED_AVERAGE]
    for row in zip(TERRITORIES, *against, strict=True):
        table.add(*row)
    return table


def title_table() -> Table:
    """The paper's Table 3."""
    columns = [Column(f"MTL over {name}, percent", GAIN) for name in ("baseline", "upsampled baseline")]
    title = "The paper’s Table 3: gain of titles’ PR-AUC (private data)"
    table = Table([Column("Title", TEXT), *columns], title, id="paper-title-table")
    for row in TITLES:
        table.add(*row)
    return table

"""docs/explanation/daily.md says what was measured."""

from benchmarks.daily import RESULTS
from benchmarks.daily_page import MARK, PAGE, blocks, read
from benchmarks.page import filled


def test_the_page_has_the_figures_of_the_committed_results():
    page, results = PAGE.read_text(encoding="utf-8"), read(RESULTS)
    assert filled(page, MARK, blocks(results)) == page, "python -m benchmarks.daily --page"
    results["drift"]["arms"]["updated"][0]["pr_auc"] += 0.1
    assert filled(page, MARK, blocks(results)) != page

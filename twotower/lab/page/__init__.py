"""An interactive page of an inspected batch or of one traced training step: one HTML file that needs nothing else."""

from twotower.lab.page.page import check_place, page_text, write_page

__all__ = ["check_place", "page_text", "write_page"]

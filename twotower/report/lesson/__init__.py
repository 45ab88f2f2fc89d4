"""An interactive page of an inspected batch or of one traced training step: one HTML file that needs nothing else."""

from twotower.report.lesson.page import page_text, write_page

__all__ = ["page_text", "write_page"]

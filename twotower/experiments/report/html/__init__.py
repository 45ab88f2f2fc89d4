"""The result record of an experiment as one HTML file that needs nothing else."""

from twotower.experiments.report.html.page import page_text, write_report

__all__ = ["page_text", "write_report"]

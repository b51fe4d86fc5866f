"""What people look at: pages, curves, retrieval sheets, the report of an evaluation."""

from lookalike.report.curve import curve
from lookalike.report.evaluation_report import ANSWERS, write_evaluation_report
from lookalike.report.histogram import RATES, Mark
from lookalike.report.page import picture_source, table, write_page
from lookalike.report.retrieval_sheet import Found, retrieval_sheet

__all__ = [
    "ANSWERS",
    "RATES",
    "Found",
    "Mark",
    "curve",
    "picture_source",
    "retrieval_sheet",
    "table",
    "write_evaluation_report",
    "write_page",
]

"""What people look at: pages, curves, retrieval sheets."""

from lookalike.report.curve import curve
from lookalike.report.page import picture_source, table, write_page
from lookalike.report.retrieval_sheet import Found, retrieval_sheet

__all__ = ["Found", "curve", "picture_source", "retrieval_sheet", "table", "write_page"]

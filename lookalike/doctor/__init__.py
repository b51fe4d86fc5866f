"""A recipe for a set of pictures, and the check of a recipe before the first minute of training."""

from lookalike.doctor.check import check_recipe
from lookalike.doctor.findings import Finding, Report
from lookalike.doctor.init import InitResult, init_recipe

__all__ = ["Finding", "InitResult", "Report", "check_recipe", "init_recipe"]

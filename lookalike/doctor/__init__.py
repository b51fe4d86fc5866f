"""A recipe for a set of pictures, and the check of a recipe before the first minute of training."""

from lookalike.doctor.init import InitResult, init_recipe

__all__ = ["InitResult", "init_recipe"]

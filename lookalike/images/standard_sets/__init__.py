"""Official downloads of published sets, turned into the list files that recipes read."""

from lookalike.images.standard_sets.catalogue import standard_set, standard_sets
from lookalike.images.standard_sets.preparation import Prepared, prepare

__all__ = ["Prepared", "prepare", "standard_set", "standard_sets"]

"""Which images make a batch. Importing this package registers all samplers."""

from lookalike.data.sampling import groups, identity, plain

__all__ = ["groups", "identity", "plain"]

"""Which images make a batch. Importing this package registers all samplers."""

from lookalike.data.sampling import domains, groups, identity, mixture, plain, repeated, scales

__all__ = ["domains", "groups", "identity", "mixture", "plain", "repeated", "scales"]

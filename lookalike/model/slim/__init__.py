"""Smaller models: filters taken out, arithmetic in 8 bits, and the structure that their weights need.

Its names are imported from its modules, since a model knows its structure and pruning knows models.
"""

"""Errors, the component registry, number parsing, atomic files, process groups, logging, progress.

Knows nothing of images or models.
"""

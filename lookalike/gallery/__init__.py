"""Enrolled pictures with labels and vectors, and the search among them."""

from lookalike.gallery.gallery import Added, Answer, Conflict, Gallery

__all__ = ["Added", "Answer", "Conflict", "Gallery"]

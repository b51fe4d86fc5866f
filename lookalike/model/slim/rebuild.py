"""Giving a model that was built from its recipe the structure of the weights that it loads."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from lookalike.core.errors import UserError
from lookalike.model.slim.quantisation import put_in_place
from lookalike.model.slim.structure import Structure, read_structure, structure_of
from lookalike.model.slim.widths import resize


def rebuild_for(model: nn.Module, file: Path, source: str) -> None:
    """Make a model, or a backbone alone, fit the weights in a file, in place; its weights are not filled.

    Files without a structure change nothing. Raises UserError for the structure of another model.
    """
    structure = read_structure(file)
    if structure is None:
        return
    if not hasattr(model, "backbone"):
        structure = structure.inside("backbone")
    own = structure_of(model)
    if own == structure:
        return
    if own is not None:
        raise UserError(
            f"{source}: is pruned or rounded in another way than the model that it is loaded into"
        )
    rebuild(model, structure, source)


def rebuild(model: nn.Module, structure: Structure, source: str) -> None:
    """Give a model a structure, in place."""
    resize(model, structure.widths, source)
    if structure.quantisation is not None:
        for part in list(model.modules()):
            fuse = getattr(part, "fuse", None)
            if callable(fuse):
                fuse()
        put_in_place(model, structure.quantisation, source)
    model.structure = structure  # type: ignore[assignment]

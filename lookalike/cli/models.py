"""The model that a command line names by its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.core.errors import UserError

if TYPE_CHECKING:
    from lookalike.deploy import Embedder


def open_model(
    folder: str,
    layer: Sequence[str] = (),
    named_by: str = "the first word after 'embed'",
    **options: Any,
) -> Embedder:
    """The Embedder of a model folder, or of a training checkpoint, which needs `lookalike[train]`.

    layer: any layers of a checkpoint instead of its last feature. Raises UserError for a folder that is
    neither; `named_by` says which word of the command line names it. options: those of `Embedder` for a
    model folder, such as `threads`.
    """
    from lookalike.deploy import Embedder
    from lookalike.deploy.model_folder import MANIFEST

    if (Path(folder) / MANIFEST).is_file():
        if layer:
            raise UserError(
                f"--layer needs a checkpoint such as output/RecModel/best_model: {folder} is an exported "
                "model folder, which holds only its last feature"
            )
        return Embedder(folder, **options)
    if not Path(folder).is_dir():
        raise UserError(f"{folder}: there is no such model folder ({named_by} names it)")
    if not (Path(folder) / "recipe.yaml").is_file():
        raise UserError(
            f"{folder} is neither a model folder nor a checkpoint: no {MANIFEST} and no recipe.yaml there "
            f"({named_by} names it)"
        )
    return Embedder.from_checkpoint(folder, layer=list(layer), **of_pytorch(options))


def of_pytorch(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those options of `Embedder` that a checkpoint has too: it has no graph for another runtime."""
    return {name: options[name] for name in ("device", "precision", "compile") if name in options}

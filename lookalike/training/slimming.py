"""What the section Slim of a recipe does to a model with trained weights, before training goes on."""

from __future__ import annotations

from torch import nn

from lookalike.core.component import Place, Section
from lookalike.core.log import logger
from lookalike.model import RecModel
from lookalike.model.slim.pruning import prune
from lookalike.model.slim.quantisation import quantise
from lookalike.model.slim.size import size_of
from lookalike.recipe import Recipe


def slim(recipe: Recipe, model: nn.Module, image_shape: tuple[int, int, int]) -> list[str]:
    """Prune and round a model as its recipe says, in place. Returns a sentence for each of the two.

    The structure of a model follows its weights: those of a pruned model are not pruned again, and evaluation
    and export need no section Slim. Raises UserError for what does not go together.
    """
    wanted = recipe.slim
    if wanted is None or (wanted.prune is None and wanted.quant is None):
        return []
    place = _place(recipe)
    if not isinstance(model, RecModel):
        raise place.error("prunes and rounds a RecModel only")
    told = []
    if wanted.prune is not None:
        told.append(_prune(recipe, model, image_shape, place.at("prune")))
    if wanted.quant is not None:
        if recipe.ema is not None:
            raise place.at("quant").error(
                "does not go together with EMA: ranges that start empty cannot be averaged; take EMA out"
            )
        told.append(_quantise(recipe, model, image_shape))
    return told


def slim_and_tell(recipe: Recipe, model: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """`slim`, with what it did in the log, and a warning where the weights are not trained ones."""
    told = slim(recipe, model, image_shape)
    backbone = recipe.network.get("Backbone") if told else None
    if told and not recipe.weights and not (backbone or {}).get("pretrained"):
        logger.warning(
            f"{_place(recipe)}: starts from random weights; it is meant for trained ones: name them with "
            "-o Global.pretrained_model=…"
        )
    for sentence in told:
        logger.info(sentence)


def _prune(recipe: Recipe, model: RecModel, image_shape: tuple[int, int, int], place: Place) -> str:
    assert recipe.slim is not None
    assert recipe.slim.prune is not None
    settings, before = recipe.slim.prune, size_of(model, image_shape)
    if model.structure is not None and model.structure.widths:
        return f"Slim.prune: the weights are those of a pruned model, which stays as it is: {before}"
    ratio = float(settings.pruned_ratio)
    prune(model, settings.name, ratio, image_shape, multiple_of=settings.multiple_of, place=place)
    after = size_of(model, image_shape)
    return f"Slim.prune: {settings.name} takes {ratio:.0%} of the filters: {before} → {after}"


def _quantise(recipe: Recipe, model: RecModel, image_shape: tuple[int, int, int]) -> str:
    assert recipe.slim is not None
    assert recipe.slim.quant is not None
    rounds = model.structure.quantisation if model.structure is not None else None
    if rounds is None:
        quantise(
            model,
            image_shape,
            learned_clip=recipe.slim.quant.name == "pact",
            symmetric=bool(recipe.global_.reference_behaviour),
        )
        assert model.structure is not None
        rounds = model.structure.quantisation
    assert rounds is not None
    return (
        f"Slim.quant: {len(rounds.layers)} layers and {len(rounds.quantisers)} tensors between them are "
        "rounded to 8 bits; export writes an int8 model folder"
    )


def _place(recipe: Recipe) -> Place:
    section = recipe.tree.get("Slim")
    return section.place if isinstance(section, Section) else Place("Slim")

"""Which step a recipe trains with."""

from __future__ import annotations

from lookalike.core.errors import UserError
from lookalike.recipe import Recipe
from lookalike.training.assembly import second_loader
from lookalike.training.feed import Feed
from lookalike.training.steps.base import Step, TwoLoaderStep, Workbench
from lookalike.training.steps.fixmatch import ContrastiveFixMatchStep, FixMatchStep
from lookalike.training.steps.metabin import MetaBinStep
from lookalike.training.steps.ordinary import OrdinaryStep

STEPS: dict[str | None, type[Step]] = {
    None: OrdinaryStep,
    "metabin": MetaBinStep,
    "fixmatch": FixMatchStep,
    "fixmatch_ccssl": ContrastiveFixMatchStep,
}


def step_of(recipe: Recipe) -> type[Step]:
    """The kind of step that `Global.train_mode` names. Raises UserError for a model that it cannot train."""
    step = STEPS[recipe.global_.train_mode]
    if step is not OrdinaryStep and recipe.arch.get("name", "RecModel") != "RecModel":
        raise UserError(
            f"{recipe.name}: Global.train_mode {recipe.global_.train_mode} trains a RecModel, not a "
            f"{recipe.arch['name']}"
        )
    return step


def build_step(bench: Workbench, feed: Feed) -> Step:
    """The step of a recipe; a second loader is built where the step reads one."""
    kind = step_of(bench.recipe)
    if issubclass(kind, TwoLoaderStep):
        return kind(bench, feed, second_loader(bench.recipe, kind.beside))
    return kind(bench, feed)

"""What a training mode needs beside `DataLoader.Train` and `Loss.Train`: a second set, other losses."""

from __future__ import annotations

from lookalike.core.errors import UserError
from lookalike.doctor.findings import Report
from lookalike.doctor.parts import Parts
from lookalike.doctor.sets import Sets
from lookalike.recipe import Recipe
from lookalike.training.assembly import second_loader
from lookalike.training.first_numbers import check_sizes
from lookalike.training.soft_labels import check_mixing
from lookalike.training.steps import TwoLoaderStep, step_of


def check_mode(recipe: Recipe, sets: Sets, parts: Parts, missing: list[str], report: Report) -> None:
    """Build what `Global.train_mode` reads beside the rest, and see that losses and batches fit to the model.

    `missing` are the keys of files that are not there.
    """
    mode = recipe.global_.train_mode
    if mode is not None:
        with report.catch("loss"):
            step_of(recipe).build_loss(recipe)
            report.right("loss", f"Global.train_mode {mode}: the losses of all passes can be built")
        step = step_of(recipe)
        if issubclass(step, TwoLoaderStep):
            path = f"DataLoader.{step.beside}"
            if not any(key.startswith(f"{path}.") for key in missing):
                with report.catch("data"):
                    loader = second_loader(recipe, step.beside)
                    records = loader.records
                    report.right(
                        "data",
                        f"{path}: {len(records)} pictures of {records.num_classes} classes, {len(loader)} "
                        "batches before it begins again",
                    )
    if parts.model is not None and parts.loss is not None:
        try:
            check_sizes(parts.model, parts.loss, recipe.global_.image_shape)
        except UserError as error:
            report.wrong("loss", str(error))
            parts.loss = None  # a rehearsal would say it again
    loader_of_train = sets.train.loader if sets.train is not None else None
    if loader_of_train is not None and parts.model is not None and parts.loss is not None:
        with report.catch("loss"):
            check_mixing(recipe, loader_of_train, parts.model, parts.loss)

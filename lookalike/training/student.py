"""The student of a distillation, kept beside `best_model` as a checkpoint of a plain model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from lookalike.core import process
from lookalike.core.files import atomic_folder
from lookalike.recipe import Recipe
from lookalike.training.checkpoint import told_in_words

STUDENT_FOLDER = "best_model_student"


def keep_student(recipe: Recipe, folder: Path) -> None:
    """Write `best_model_student` out of `best_model` in the folder of a run; nothing where there is one
    model.

    It holds `model.safetensors` with the student's weights by the keys of a RecModel, the recipe of that
    RecModel, and the figures of the run: what `Global.pretrained_model`, `export` and `embed` take. It
    cannot be resumed.

    Raises LookalikeError when the disk refuses.
    """
    if not recipe.is_distillation or not process.is_main():
        return
    best, target, start = folder / "best_model", folder / STUDENT_FOLDER, f"{recipe.student}."
    weights = load_file(best / "model.safetensors")
    own = {key.removeprefix(start): value for key, value in weights.items() if key.startswith(start)}
    with told_in_words(target), atomic_folder(target) as part:
        save_file(own, part / "model.safetensors")
        (part / "recipe.yaml").write_text(student_recipe(recipe).dump(), encoding="utf-8")
        (part / "state").mkdir()
        shutil.copy(best / "state" / "training.json", part / "state" / "training.json")


def student_recipe(recipe: Recipe) -> Recipe:
    """The recipe with the student's block for Arch, without the losses between models and other weights."""
    values: dict[str, Any] = recipe.to_dict()
    values["Arch"] = {**recipe.network, "name": "RecModel"}
    values.pop("Loss", None)
    for key in ("pretrained_model", "checkpoints"):
        values.get("Global", {}).pop(key, None)
    return Recipe.from_dict(values, name=recipe.name)

"""What `lookalike eval --report` says of what was scored, beside its figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.core.log import logger
from lookalike.recipe import Recipe

if TYPE_CHECKING:
    from lookalike.report import Mark

Facts = list[tuple[str, str]]


def facts_of_files(features: str, gallery: str | None) -> Facts:
    """Which files of vectors were scored."""
    return [("features", features), *([] if gallery is None else [("gallery", gallery)])]


def facts_of_lists(query: str, gallery: str | None) -> Facts:
    """Which lists of pictures were scored."""
    return [("queries", query), *([] if gallery is None else [("gallery", gallery)])]


def facts_of_recipe(recipe: Recipe, with_weights: bool) -> Facts:
    """Which recipe and, where its own weights were scored, which; and the sets of its DataLoader.Eval."""
    from lookalike.evaluation.recipe_sets import evaluation_blocks

    facts = [("recipe", recipe.name)]
    if with_weights:
        pretrained = recipe.network.get("Backbone", {}).get("pretrained")
        backbone = f"backbone {pretrained}" if isinstance(pretrained, str) else "pretrained backbone"
        facts.append(("weights", str(recipe.weights or (backbone if pretrained else "random"))))
    blocks = evaluation_blocks(recipe)
    names = {"Query": "queries", "Gallery": "gallery"} if len(blocks) > 1 else {}
    for name, block in blocks.items():
        dataset = block["dataset"]
        source = dataset.get("cls_label_path") or dataset.get("image_root") or dataset.get("name")
        facts.append((names.get(name, "pictures"), str(source)))
    return facts


def model_facts(folder: str) -> Facts:
    """The model folder and the fingerprint of what is in it, or the checkpoint."""
    from lookalike.deploy import ModelFolder

    if not _is_model_folder(folder):
        return [("checkpoint", folder)]
    return [("model folder", f"{folder} (fingerprint {ModelFolder.open(folder).fingerprint[:12]})")]


def model_marks(folder: str) -> list[Mark]:
    """The thresholds that `calibrate` stored in a model folder; none where it was not calibrated."""
    from lookalike.deploy import ModelFolder
    from lookalike.report import Mark

    if not _is_model_folder(folder):
        return []
    found = ModelFolder.open(folder).found_thresholds()
    if found is None:
        return []
    return [Mark("unsure", found.unsure.threshold), Mark("same", found.same.threshold)]


def _is_model_folder(folder: str) -> bool:
    from lookalike.deploy.model_folder import MANIFEST

    return (Path(folder) / MANIFEST).is_file()


def write_report(path: str, found: Any, facts: Facts, marks: list[Mark]) -> None:
    """Write the report of an evaluation that was made with `report_options`."""
    from lookalike import __version__
    from lookalike.report import write_evaluation_report

    write_evaluation_report(path, found, [*facts, ("scored with", f"Lookalike {__version__}")], marks)
    logger.info(f"report: {path}")


def report_options() -> dict[str, Any]:
    """What an evaluation must find for a report."""
    from lookalike.report import ANSWERS, RATES

    return {"top_k": ANSWERS, "pairs": RATES}

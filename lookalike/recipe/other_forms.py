"""Forms in the reference's files that mean the same as ours, written as ours before a recipe is checked."""

from __future__ import annotations

from typing import Any

from lookalike.core.component import Section, SectionList
from lookalike.recipe.tree import RecipeSection

_SAMPLERS = ("sampler", "batch_sampler")
_CLASSIFICATION = {"TopkAcc", "AccuracyScore", "HammingDistance", "DistillationTopkAcc", "GoogLeNetTopkAcc"}
"""Metrics that are computed from logits and labels."""


def write_as_ours(tree: RecipeSection) -> None:
    """Change the other forms in a recipe into ours, in place:

    - A sampler without a name, which the reference hands to its plain loader, is a `BatchSampler`.
    - `infer_add_softmax: "false"`, a text, is no. (The reference takes any text for yes.)
    - `IndexProcess.transform_ops` are those of `RecPreProcess`, where there is no such section.
    - Without `Global.eval_mode`, metrics of classification ask for `classification`, the reference's default.
    """
    data = tree.get("DataLoader")
    if isinstance(data, Section):
        _name_samplers(data)
    for arch in _architectures(tree.get("Arch")):
        told = arch.get("infer_add_softmax")
        if isinstance(told, str) and told.lower() in ("true", "false"):
            arch["infer_add_softmax"] = told.lower() == "true"
    index = tree.get("IndexProcess")
    if isinstance(index, Section) and "transform_ops" in index:
        operations = index.pop("transform_ops")
        if "RecPreProcess" not in tree:
            tree["RecPreProcess"] = RecipeSection({"transform_ops": operations}, index.place)
    _choose_evaluation(tree)


def _name_samplers(section: Section) -> None:
    for key, value in section.items():
        if not isinstance(value, Section):
            continue
        if key not in _SAMPLERS:
            _name_samplers(value)
        elif "name" not in value and "batch_size" in value:
            value["name"] = "BatchSampler"


def _architectures(arch: Any) -> list[Section]:
    """`Arch` itself, and the models that a DistillationModel holds."""
    if not isinstance(arch, Section):
        return []
    models = arch.get("models")
    inside = [
        value
        for entry in (models if isinstance(models, SectionList) else [])
        if isinstance(entry, Section)
        for value in entry.values()
        if isinstance(value, Section)
    ]
    return [arch, *inside]


def _choose_evaluation(tree: RecipeSection) -> None:
    metric, settings = tree.get("Metric"), tree.get("Global")
    listed = metric.get("Eval") if isinstance(metric, Section) else None
    if not isinstance(settings, Section) or "eval_mode" in settings or not isinstance(listed, SectionList):
        return
    names = {name for entry in listed if isinstance(entry, Section) for name in entry}
    if names and names <= _CLASSIFICATION:
        settings["eval_mode"] = "classification"

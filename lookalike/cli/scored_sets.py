"""Query and gallery of `lookalike eval` from feature files, or from pictures and a model folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lookalike.cli.models import open_model
from lookalike.cli.pictures import find_pictures, folder_labels, listed_pictures, refuse_root_alone
from lookalike.core.errors import UserError
from lookalike.evaluation import FeatureSet
from lookalike.evaluation.feature_files import feature_sets
from lookalike.evaluation.loader import LeftOut
from lookalike.images import Records
from lookalike.images.feature_files import read_features
from lookalike.images.feature_table import FeatureTable, numbers_or_text
from lookalike.recipe import Recipe, Views

if TYPE_CHECKING:
    from lookalike.deploy import Embedder


_ONE_VIEW = Views()


@dataclass(frozen=True)
class _Listed:
    """Pictures to embed: their paths, and the label and camera of each."""

    paths: Sequence[str]
    labels: np.ndarray
    cameras: np.ndarray | None
    origin: str


def sets_of_files(
    features: str,
    gallery: str | None,
    lists: tuple[str | None, str | None],
    root: str | None,
    bits: int | None,
    normalize: bool,
) -> tuple[FeatureSet, FeatureSet]:
    """The sets of one or two feature files; `lists` say what their rows are, where they do not."""
    if gallery is not None and Path(gallery).resolve() == Path(features).resolve() and lists[1] is None:
        gallery = None  # the file by two names of it is one set
    refuse_root_alone(root, *lists)
    if lists[1] is not None and gallery is None:
        raise UserError("--gallery-list says what the rows of --gallery FILE.npy are: name that file too")
    query = read_features(features, list_file=lists[0], root=root, bits=bits)
    other = None if gallery is None else read_features(gallery, list_file=lists[1], root=root, bits=bits)
    return feature_sets(query, other, normalize=normalize)


def sets_of_lists(
    model: str,
    query: str,
    gallery: str | None,
    root: str | None,
    *,
    normalize: bool,
    batch_size: int,
    cache: str | None,
    views: Views = _ONE_VIEW,
) -> tuple[FeatureSet, FeatureSet]:
    """The sets of one or two list files, or of folders with a folder for each class, embedded with a model
    folder; `views`: each vector is the mean over several views of its picture.
    """
    refuse_root_alone(
        root, *(name for name in (query, gallery) if name is not None and not Path(name).is_dir())
    )
    opened = open_model(model, named_by="--model")
    chosen = [_of_list(name, root) for name in (query, gallery) if name is not None]
    # of both at once, or 007 might become 7 in the one and stay what it is in the other
    labels = numbers_or_text([label for listed in chosen for label in listed.labels.tolist()])
    starts = np.cumsum([len(listed.paths) for listed in chosen])[:-1]
    parts = np.split(labels, starts)
    chosen = [replace(listed, labels=part) for listed, part in zip(chosen, parts, strict=True)]
    return _embedded(_viewed(opened, views, normalize), chosen, normalize, batch_size, cache)


def sets_of_recipe(
    model: str,
    recipe: Recipe,
    *,
    normalize: bool,
    batch_size: int,
    cache: str | None,
    views: Views | None = None,
) -> tuple[FeatureSet, FeatureSet]:
    """The sets of `DataLoader.Eval` of a recipe, embedded with a model folder; by default with the test-time
    views of the recipe.
    """
    from lookalike.evaluation.recipe_sets import evaluation_records
    from lookalike.recipe import require_paths

    opened = open_model(model, named_by="--model")
    require_paths(recipe, ("DataLoader.Eval",))
    opened = _viewed(opened, recipe.global_.views if views is None else views, normalize)
    chosen = [_of_records(records) for records in evaluation_records(recipe) if records is not None]
    return _embedded(opened, chosen, normalize, batch_size, cache)


def paths_of_lists(query: str, gallery: str | None, root: str | None) -> list[str]:
    """The pictures that lists name, whatever their names; those of folders are known by their suffixes."""
    lists = [name for name in (query, gallery) if name is not None and not Path(name).is_dir()]
    return [path for name in lists for path in listed_pictures(name, root).paths]


def paths_of_recipe(recipe: Recipe) -> list[str]:
    """The label files of `DataLoader.Eval` of a recipe, and its weights."""
    from lookalike.evaluation.recipe_sets import evaluation_blocks

    datasets = [block.get("dataset") or {} for block in evaluation_blocks(recipe).values()]
    named = [value for dataset in datasets for value in dataset.values() if isinstance(value, str)]
    weights = Path(recipe.weights or "")
    inside = [str(each) for each in weights.rglob("*")] if recipe.weights and weights.is_dir() else []
    return [*named, str(weights), *inside]


def _viewed(model: Embedder, views: Views, normalize: bool) -> Embedder:
    """The model with several views of each picture, summed as unit vectors where these are compared."""
    from lookalike.deploy.views import with_views

    scaled = normalize if model.folder is None else model.folder.normalized
    return with_views(model, views, unit=scaled or (normalize and model.binarize is None))


def _of_list(name: str, root: str | None) -> _Listed:
    if Path(name).is_dir():
        paths = find_pictures([name])
        return _Listed(paths, np.array(folder_labels(paths)), None, name)
    pictures = listed_pictures(name, root)
    cameras = None if pictures.cameras is None else np.array(pictures.cameras, np.int64)
    return _Listed(pictures.paths, np.array(pictures.labels), cameras, name)


def _of_records(records: Records) -> _Listed:
    labels = records.labels
    if records.class_names is not None:
        labels = np.array([records.name_of(label) for label in labels.tolist()])
    return _Listed(records.paths, labels, records.cameras, records.origin)


def _embedded(
    model: Embedder, chosen: Sequence[_Listed], normalize: bool, batch_size: int, cache: str | None
) -> tuple[FeatureSet, FeatureSet]:
    from lookalike.deploy.extraction import extract

    tables, broken = [], []
    for listed in chosen:
        found = extract(model, listed.paths, batch_size=batch_size, cache=cache)
        kept = np.array(found.kept, np.int64)
        broken += [LeftOut(listed.paths[place], reason) for place, reason in found.broken.items()]
        if not found.kept:
            raise UserError(
                f"none of the {len(listed.paths)} pictures of {listed.origin} could be read, the first: "
                f"{broken[-len(found.broken)]}"
            )
        tables.append(
            FeatureTable(
                found.vectors,
                [listed.paths[place] for place in found.kept],
                listed.labels[kept],
                None if listed.cameras is None else listed.cameras[kept],
                model.size if model.binarize else None,
                listed.origin,
            )
        )
    return feature_sets(*tables, normalize=normalize, broken=broken)

"""The whole way on tiny pictures: what was measured is what is deployed, and what a gallery answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lookalike
from lookalike import Embedder, Gallery, Recipe, evaluate, export, train
from tests.conftest import REPOSITORY
from tests.tiny import recipe_values


def read(pictures: Path, part: str) -> tuple[list[str], list[str]]:
    lines = [line.split("\t") for line in (pictures / f"{part}.txt").read_text("utf-8").splitlines()]
    return [str(pictures / "pictures" / name) for name, _ in lines], [label for _, label in lines]


def test_from_a_recipe_to_an_answer(pictures: Path, tmp_path: Path) -> None:
    values = recipe_values(pictures, tmp_path / "out", epochs=3)
    trained = train(Recipe.from_dict(values))
    values["Global"]["pretrained_model"] = str(tmp_path / "out" / "RecModel" / "best_model")
    recipe = Recipe.from_dict(values)
    scored = evaluate(recipe)
    assert scored.metrics["recall1"] == trained.best_metric
    exported = export(recipe, metrics=scored.metrics)

    # the folder needs nothing else: it may stand anywhere
    model = Embedder(Path(exported.folder).rename(tmp_path / "anywhere"))
    assert f"| recall1 | {scored.metrics['recall1']:.4f} |" in (
        tmp_path / "anywhere" / "README.md"
    ).read_text("utf-8")
    enrolled, labels = read(pictures, "gallery")
    gallery = Gallery.create(tmp_path / "shapes.gallery", model)
    assert gallery.add(enrolled, labels).added == len(enrolled)
    queries, truths = read(pictures, "query")
    answers = gallery.search_many(queries, k=2)
    first = np.mean([found[0].label == truth for found, truth in zip(answers, truths, strict=True)])
    second = np.mean(
        [truth in {each.label for each in found} for found, truth in zip(answers, truths, strict=True)]
    )
    assert first == pytest.approx(
        scored.metrics["recall1"], abs=1 / len(queries)
    )  # equal but for ties in the last bit
    assert second == pytest.approx(scored.metrics["recall2"], abs=1 / len(queries))
    assert gallery.search(enrolled[0], k=1)[0].score == pytest.approx(1.0, abs=1e-5)


def test_the_package_hands_on_its_names_without_importing_them() -> None:
    code = (
        "import sys, lookalike\n"
        "heavy = {'torch', 'cv2', 'faiss', 'onnxruntime'}\n"
        "assert not heavy & set(sys.modules), 'imported too early'\n"
        "lookalike.Recipe; lookalike.load_recipe\n"
        "assert not heavy & set(sys.modules), 'a recipe needs none of them'\n"
        "lookalike.Embedder; lookalike.Gallery\n"
        "assert 'torch' not in sys.modules, 'a model folder needs no torch'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in lookalike.__all__:
        assert getattr(lookalike, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Embeder'"):
        _ = lookalike.Embeder  # type: ignore[attr-defined]

"""The quickstart: from nothing to a recogniser with a report, in about three minutes on two cores."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from lookalike.core.errors import UserError
from lookalike.core.files import write_json
from lookalike.core.log import logger
from lookalike.core.progress import track
from lookalike.deploy import Embedder
from lookalike.deploy.export import export
from lookalike.gallery import Gallery
from lookalike.images import Records, decode_image, read_records
from lookalike.model import Model
from lookalike.quickstart.marks import Drawn, draw_pictures
from lookalike.quickstart.summary import write_summary
from lookalike.recipe import Recipe, load_recipe
from lookalike.report import Found
from lookalike.retrieval import evaluate_retrieval
from lookalike.training import train
from lookalike.training.assembly import assemble_model, prepare_process, training_loader
from lookalike.training.benchmark import build_benchmark
from lookalike.training.scoring import score

RECIPE = "quickstart/brand_marks"
BATCHES_FOR_STATISTICS = 20


@dataclass
class Results:
    """What the quickstart reached on brands that it never trained on, in percent, and where it wrote its
    report.
    """

    recall1_pixels: float
    mAP_pixels: float
    recall1_before: float
    mAP_before: float
    recall1_after: float
    mAP_after: float
    seconds: float
    report: str


def quickstart(
    folder: str | Path = "quickstart", overrides: list[str] | None = None, seed: int = 0, **drawing: Any
) -> Results:
    """Draw pictures, train, score before and after, export, make a gallery, search it, write the report."""
    started = time.perf_counter()
    folder = Path(folder)
    _empty(folder)
    logger.info("1/5 drawing pictures of brand marks")
    drawn = draw_pictures(folder / "pictures", seed=seed, **drawing)
    classes = f"Arch.Head.class_num={drawn.train_brands}"
    recipe = load_recipe(RECIPE, [*_paths(folder), classes, f"Global.seed={seed}", *(overrides or [])])
    logger.info(f"2/5 scoring before training, on {drawn.test_brands} brands that it will never see")
    pixels = _score_pixels(folder / "pictures")
    before = _score_untrained(recipe)
    logger.info(f"3/5 training on {drawn.train_brands} other brands")
    trained = train(recipe)
    if trained.interrupted:
        raise KeyboardInterrupt
    recipe.global_.pretrained_model = str(folder / "output" / "RecModel" / "best_model")
    logger.info("4/5 exporting the model")
    exported = export(recipe, metrics=trained.metrics)
    logger.info("5/5 making a gallery of the unseen brands and searching it")
    found = _search(folder, exported.folder)
    results = Results(
        *_percent(pixels),
        *_percent(before),
        *_percent(trained.metrics),
        seconds=round(time.perf_counter() - started, 1),
        report=str((folder / "report.html").resolve()),
    )
    state = folder / "output" / "RecModel" / "latest" / "state" / "training.json"
    history = json.loads(state.read_text(encoding="utf-8"))["history"]
    write_summary(folder / "report.html", asdict(results), drawn, history, found)
    write_json(folder / "results.json", asdict(results))
    return results


def _empty(folder: Path) -> None:
    """Remove what an earlier quickstart left, and nothing else."""
    marker = folder / ".lookalike-quickstart"
    if folder.exists() and any(folder.iterdir()) and not marker.is_file():
        raise UserError(
            f"{folder} holds files that are not the quickstart's; choose another folder with --out"
        )
    for name in ("pictures", "output", "inference", "brands.gallery"):
        shutil.rmtree(folder / name, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    marker.touch()


def _paths(folder: Path) -> list[str]:
    pictures = folder / "pictures"
    keys = {"Train": "train", "Eval.Query": "query", "Eval.Gallery": "gallery"}
    paths = [f"Global.output_dir={folder / 'output'}", f"Global.save_inference_dir={folder / 'inference'}"]
    for key, part in keys.items():
        paths.append(f"DataLoader.{key}.dataset.image_root={pictures}")
        paths.append(f"DataLoader.{key}.dataset.cls_label_path={pictures / f'{part}.txt'}")
    return paths


def _percent(metrics: dict[str, float]) -> tuple[float, float]:
    return round(100 * metrics["recall1"], 1), round(100 * metrics["mAP"], 1)


def _score_pixels(pictures: Path) -> dict[str, float]:
    """Pixel matching: the picture shrunk to 16 x 16, mean removed, compared by cosine."""

    def vectors(records: Records) -> Any:
        small = [
            cv2.resize(decode_image(path), (16, 16), interpolation=cv2.INTER_AREA) for path in records.paths
        ]
        flat = np.stack(small).reshape(len(small), -1).astype(np.float32)
        flat -= flat.mean(axis=1, keepdims=True)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True).clip(1e-6)

    query, gallery = (_records(pictures, part) for part in ("query", "gallery"))
    result = evaluate_retrieval(
        vectors(query), query.labels, vectors(gallery), gallery.labels, metrics=("recall@1", "mAP")
    )
    return {"recall1": result["recall@1"], "mAP": result["mAP"]}


def _records(pictures: Path, part: str) -> Records:
    return read_records(
        {
            "name": "ImageNetDataset",
            "image_root": str(pictures),
            "cls_label_path": str(pictures / f"{part}.txt"),
        }
    )


def _score_untrained(recipe: Recipe) -> dict[str, float]:
    """The same network with its initial weights; its batch norms take the statistics of training pictures."""
    device = prepare_process(recipe)
    model = assemble_model(recipe, device, None)
    loader = training_loader(recipe)
    measure_batch_norms(model, loader, BATCHES_FOR_STATISTICS, lambda images: images.to(device))
    benchmark = build_benchmark(recipe)
    assert benchmark is not None
    return score(model, recipe, benchmark, device).metrics


def measure_batch_norms(
    model: Model, loader: Any, batches: int, move: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """Replace the running statistics of all batch norms by their means over some batches.

    No weight changes.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    model.train()
    loader.set_epoch(0)
    with torch.no_grad():
        for _, batch in zip(range(batches), track(loader, "statistics", total=batches), strict=False):
            model.embed(move(batch["image"]))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def _search(folder: Path, model: str) -> list[Found]:
    """Enrol the gallery of unseen brands and search it with every query."""
    pictures = folder / "pictures"
    names = dict(
        line.split(" ", 1) for line in (pictures / "brands.txt").read_text(encoding="utf-8").splitlines()
    )
    query, enrolled = (_records(pictures, part) for part in ("query", "gallery"))
    gallery = Gallery.create(folder / "brands.gallery", Embedder(model))
    gallery.add(enrolled.paths, [names[str(label)] for label in enrolled.labels.tolist()])
    answers = gallery.search_many(query.paths, k=5)
    labels = [names[str(label)] for label in query.labels.tolist()]
    return [Found(path, label, each) for path, label, each in zip(query.paths, labels, answers, strict=True)]


__all__ = ["Drawn", "Results", "quickstart"]

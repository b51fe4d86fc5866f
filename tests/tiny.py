"""Tiny pictures and a tiny recipe, so that a whole run takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

SIDE = 32
TRAIN_CLASSES, TEST_CLASSES, PER_CLASS = 6, 3, 8


def draw_pictures(folder: Path) -> Path:
    """Write pictures of coloured shapes, one folder a class, and train, query and gallery lists (test
    classes unseen).
    """
    generator = np.random.default_rng(0)
    lines: dict[str, list[str]] = {"train": [], "query": [], "gallery": []}
    for label in range(TRAIN_CLASSES + TEST_CLASSES):
        colour = generator.integers(30, 226, 3)
        inside = folder / "pictures" / f"class {label}"
        inside.mkdir(parents=True)
        for number in range(PER_CLASS):
            picture = np.full((40, 40, 3), 255, np.uint8)
            centre = generator.integers(14, 26, 2).tolist()
            shade = np.clip(colour + generator.integers(-12, 13, 3), 0, 255).tolist()
            if label % 3 == 0:
                cv2.circle(picture, centre, 10, shade, -1)
            elif label % 3 == 1:
                cv2.rectangle(picture, [c - 9 for c in centre], [c + 9 for c in centre], shade, -1)
            else:
                cv2.line(picture, [4, centre[0]], [36, centre[1]], shade, 6)
            name = f"class {label}/{number}.png"
            cv2.imwrite(str(folder / "pictures" / name), picture)
            part = "train" if label < TRAIN_CLASSES else "query" if number < 3 else "gallery"
            lines[part].append(f"{name}\t{label}")
    for part, listed in lines.items():
        (folder / f"{part}.txt").write_text("\n".join(listed) + "\n", encoding="utf-8")
    return folder


def dataset(folder: Path, part: str, transform_ops: list[Any]) -> dict[str, Any]:
    return {
        "name": "ImageNetDataset",
        "image_root": str(folder / "pictures"),
        "cls_label_path": str(folder / f"{part}.txt"),
        "delimiter": "\t",
        "transform_ops": transform_ops,
    }


def recipe_values(folder: Path, output: Path, epochs: int = 2, num_workers: int = 0) -> dict[str, Any]:
    """A recipe of a tiny network on tiny pictures, with everything random that a run can have."""
    normalise = {"NormalizeImage": {"scale": "1.0/255.0", "mean": [0.5] * 3, "std": [0.5] * 3, "order": ""}}
    plain = [{"ResizeImage": {"size": [SIDE, SIDE]}}, normalise]
    varied = [
        {"RandCropImage": {"size": SIDE, "scale": [0.5, 1.0]}},
        {"RandFlipImage": {"flip_code": 1}},
        normalise,
        {"RandomErasing": {"EPSILON": 0.5, "sl": 0.02, "sh": 0.2, "r1": 0.3, "mean": [0.0, 0.0, 0.0]}},
    ]
    loader = {"num_workers": num_workers}

    def scored(part: str) -> dict[str, Any]:
        return {
            "dataset": dataset(folder, part, plain),
            "sampler": {
                "name": "DistributedBatchSampler",
                "batch_size": 8,
                "drop_last": False,
                "shuffle": False,
            },
            "loader": {"num_workers": 0},
        }

    return {
        "Global": {
            "output_dir": str(output),
            "save_inference_dir": str(output / "inference"),
            "device": "cpu",
            "seed": 3,
            "epochs": epochs,
            "eval_interval": 1,
            "save_interval": 0,
            "print_batch_step": 2,
            "image_shape": [3, SIDE, SIDE],
            "tensorboard": False,
        },
        "Arch": {
            "name": "RecModel",
            "infer_output_key": "features",
            "infer_add_softmax": False,
            "Backbone": {"name": "PPLCNet_x0_25", "pretrained": False, "class_expand": 32},
            "BackboneStopLayer": {"name": "flatten"},
            "Neck": {"name": "FC", "embedding_size": 32, "class_num": 16},
            "Head": {
                "name": "ArcMargin",
                "embedding_size": 16,
                "class_num": TRAIN_CLASSES,
                "margin": 0.1,
                "scale": 16,
            },
        },
        "Loss": {"Train": [{"CELoss": {"weight": 1.0}}, {"TripletLossV2": {"weight": 0.5, "margin": 0.3}}]},
        "Optimizer": {
            "name": "Momentum",
            "momentum": 0.9,
            "lr": {"name": "Cosine", "learning_rate": 0.02, "warmup_epoch": 1},
            "regularizer": {"name": "L2", "coeff": 0.0001},
        },
        "DataLoader": {
            "Train": {
                "dataset": dataset(folder, "train", varied),
                "sampler": {"name": "PKSampler", "batch_size": 8, "sample_per_id": 2, "drop_last": False},
                "loader": loader,
            },
            "Eval": {"Query": scored("query"), "Gallery": scored("gallery")},
        },
        "Metric": {"Eval": [{"Recallk": {"topk": [1, 2]}}, {"mAP": {}}]},
    }

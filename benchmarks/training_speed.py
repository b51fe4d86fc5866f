"""Images per second in training, of three recipes, through the library's own objects.

    python benchmarks/training_speed.py [--case small] [--case v2] [--case vehicle] [--steps N]
        [--threads N] [--recipe ../shared/reference_runs/omniglot.yaml] [--data ../shared/data/omniglot]

small: a recipe file of the reference runs (omniglot.yaml or emoji.yaml: PPLCNet_x0_25, 64x64, batch 64). v2:
PPLCNetV2_base_ShiTu, 224x224, batch 32, CELoss and angular triplet, 1000 classes. vehicle:
ResNet50_last_stage_stride1, 224x224, batch 16, CELoss and SupConLoss.

A step on random pictures is forward, losses, backward and update. With `--data`, `small` is also trained for
two epochs as `lookalike train` does it, pictures read in the process itself, without evaluation (`loop`).

Prints JSON: the median of the steps as images per second of wall time and of processor time (which on a busy
machine, with one thread, tells more), the reference's figure, and the ratio of the wall time's to it. For
`small` the ratio is that of the loop where it was run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lookalike import Recipe, load_recipe, train
from lookalike.loss import build_loss
from lookalike.model import build_model
from lookalike.training import build_optimizer
from lookalike.training.assembly import to_device

REFERENCE = {"small": 160.0, "v2": 2.25, "vehicle": 0.33}
"""Images per second of PaddleClas on two cores, published with the reference runs (small) and in
`timings.json` beside the golden numbers (v2: 14.2 s a step of 32, vehicle: 47.9 s a step of 16)."""

STEPS = {"small": 60, "v2": 5, "vehicle": 4}
WARM_UP = 1
EPOCHS = 2
MOMENTUM: dict[str, Any] = {
    "name": "Momentum",
    "momentum": 0.9,
    "lr": {"name": "Cosine", "learning_rate": 0.01},
    "regularizer": {"name": "L2", "coeff": 0.0005},
}

SMALL_NORMAL = {"weight_attr": {"initializer": {"name": "Normal", "std": 0.001}}, "bias_attr": False}
FROZEN_BIAS = {"initializer": {"name": "Constant", "value": 0.0}, "learning_rate": 1.0e-20}
V2: dict[str, Any] = {
    "Arch": {
        "name": "RecModel",
        "Backbone": {"name": "PPLCNetV2_base_ShiTu", "pretrained": False, "class_expand": 512},
        "BackboneStopLayer": {"name": "flatten"},
        "Neck": {"name": "BNNeck", "num_features": 512, "bias_attr": FROZEN_BIAS},
        "Head": {"name": "FC", "embedding_size": 512, "class_num": 1000, **SMALL_NORMAL},
    },
    "Loss": {
        "Train": [
            {"CELoss": {"weight": 1.0, "epsilon": 0.1}},
            {
                "TripletAngularMarginLoss": {
                    "weight": 1.0,
                    "margin": 0.5,
                    "add_absolute": True,
                    "absolute_loss_weight": 0.1,
                    "ap_value": 0.8,
                    "an_value": 0.4,
                }
            },
        ]
    },
}
VEHICLE: dict[str, Any] = {
    "Arch": {
        "name": "RecModel",
        "Backbone": {"name": "ResNet50_last_stage_stride1", "pretrained": False},
        "BackboneStopLayer": {"name": "avg_pool"},
        "Neck": {"name": "VehicleNeck", "in_channels": 2048, "out_channels": 512},
        "Head": {
            "name": "ArcMargin",
            "embedding_size": 512,
            "class_num": 431,
            "margin": 0.15,
            "scale": 32,
        },
    },
    "Loss": {"Train": [{"CELoss": {"weight": 1.0}}, {"SupConLoss": {"weight": 1.0}}]},
}


def step_of(values: dict[str, Any], batch_size: int, side: int) -> Callable[[], None]:
    """One training step of a recipe on random pictures, four of each class."""
    torch.manual_seed(0)
    model = to_device(build_model(values["Arch"], pretrained=False), torch.device("cpu")).train()
    loss = build_loss(values["Loss"]["Train"])
    section = values.get("Optimizer", MOMENTUM)
    optimizer = build_optimizer(section, model, loss, epochs=20, steps_per_epoch=100)
    pictures = torch.randn(batch_size, 3, side, side)
    labels = torch.arange(batch_size) // 4

    def step() -> None:
        images = pictures.contiguous(memory_format=torch.channels_last)
        loss(model(images, labels), labels)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        optimizer.schedule_step()

    return step


def measured(step: Callable[[], None], count: int, batch_size: int) -> dict[str, float]:
    """Medians of a step as images per second."""
    wall, processor = [], []
    for number in range(WARM_UP + count):
        start, start_processor = time.perf_counter(), time.process_time()
        step()
        if number >= WARM_UP:
            wall.append(time.perf_counter() - start)
            processor.append(time.process_time() - start_processor)
    return {
        "images_per_second": round(batch_size / statistics.median(wall), 2),
        "images_per_processor_second": round(batch_size / statistics.median(processor), 2),
    }


def loop(recipe_file: Path, data: Path) -> dict[str, float]:
    """Whole epochs as `lookalike train` does them, reading pictures and writing checkpoints included."""
    values = load_recipe(
        str(recipe_file),
        [
            f"DataLoader.Train.dataset.image_root={data.resolve()}",
            f"DataLoader.Train.dataset.cls_label_path={data.resolve() / 'train.txt'}",
        ],
    ).to_dict()
    del values["DataLoader"]["Eval"]
    with tempfile.TemporaryDirectory(prefix="training_speed_") as output:
        values["Global"].update(output_dir=output, epochs=EPOCHS, eval_during_train=False)
        start = time.process_time()
        result = train(Recipe.from_dict(values))
        processor = time.process_time() - start
    images = result.images_per_second * result.seconds
    return {
        "images_per_second": round(result.images_per_second, 2),
        "images_per_processor_second": round(images / processor, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", action="append", choices=list(REFERENCE))
    parser.add_argument("--steps", type=int, help="steps measured, after a first one")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--recipe", type=Path, default=Path("../shared/reference_runs/omniglot.yaml"))
    parser.add_argument("--data", type=Path, help="the folder of pictures of --recipe")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    cases: dict[str, Any] = {}
    for name in options.case or list(REFERENCE):
        if name == "small":
            values, batch_size, side = load_recipe(str(options.recipe)).to_dict(), 64, 64
        else:
            values, batch_size, side = (V2, 32, 224) if name == "v2" else (VEHICLE, 16, 224)
        step = step_of(values, batch_size, side)
        figures: dict[str, Any] = {"step": measured(step, options.steps or STEPS[name], batch_size)}
        if name == "small" and options.data is not None:
            figures["loop"] = loop(options.recipe, options.data)
        figures["reference_images_per_second"] = REFERENCE[name]
        reached = figures.get("loop", figures["step"])["images_per_second"]
        figures["ratio"] = round(reached / REFERENCE[name], 2)
        cases[name] = figures
    print(
        json.dumps(
            {"benchmark": "training_speed", "threads": torch.get_num_threads(), "cases": cases}, indent=2
        )
    )


if __name__ == "__main__":
    main()

"""Every YAML block of the reference's documents loads and builds, with its own numbers.

A document shows parts of a recipe. Each part is laid over the shipped recipe that the document is about,
`pretrained` switched off, and everything is built: model, losses, transforms, sampler, optimizer, schedule.
"""

from __future__ import annotations

import logging
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from lookalike.core.errors import UserError
from lookalike.core.log import logger
from lookalike.data import build_loader, build_sampler, build_transforms
from lookalike.evaluation import build_metrics
from lookalike.loss import build_loss
from lookalike.model import build_model
from lookalike.recipe import Recipe, apply_overrides, find_recipe, load_recipe, reject_spaces
from lookalike.recipe.reading import read_text
from lookalike.recipe.tree import plain
from lookalike.training import build_optimizer
from tests.conftest import SHARED, needs_shared

pytestmark = needs_shared

RECIPE_OF = {
    "002_430701a231f31ec6.txt": "vehicle/resnet50",
    "003_1354a12ae587c8e7.txt": "general/pp_shitu_v1",
    "004_69acc4a591925ca4.txt": "general/pp_shitu_v2",
}
"""The shipped recipe that each document with YAML in it is about."""

_FENCE = re.compile(r"^[ \t]*```(\w*)[ \t]*\n(.*?)^[ \t]*```[ \t]*$", re.MULTILINE | re.DOTALL)
_SECTION = re.compile(r"^[A-Z]\w*:\s*(#.*)?$")
_ANCHOR = re.compile(r"(&(\w+) \d[^\s#]*)")


@dataclass(frozen=True)
class Fragment:
    """A YAML block of a document."""

    document: str
    line: int
    text: str

    @property
    def id(self) -> str:
        return f"{self.document[:3]}-line{self.line}-{self.text.split(':')[0]}"


def fragments() -> list[Fragment]:
    """All YAML blocks of all documents: fenced text whose first line opens a section."""
    found = []
    for file in sorted((SHARED / "seeds").glob("*.txt")):
        content = file.read_text(encoding="utf-8")
        for match in _FENCE.finditer(content):
            text = textwrap.dedent(match.group(2))
            lines = [line for line in text.splitlines() if line.strip()]
            if lines and _SECTION.match(lines[0]) and match.group(1) in ("", "yaml"):
                found.append(Fragment(file.name, content[: match.start()].count("\n") + 2, text))
    return found


FRAGMENTS = fragments() if SHARED.is_dir() else []
each_fragment = pytest.mark.parametrize("fragment", FRAGMENTS, ids=[fragment.id for fragment in FRAGMENTS])


def laid_over(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what `top` says: sections are merged; lists, values, other components replaced."""
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        another = (
            isinstance(value, Mapping)
            and isinstance(below, Mapping)
            and value.get("name") != below.get("name")
        )
        if isinstance(value, Mapping) and isinstance(below, Mapping) and not (another and "name" in value):
            merged[key] = laid_over(below, value)
        else:
            merged[key] = value
    return merged


def path_of(tree: Mapping[str, Any], fragment: Mapping[str, Any]) -> list[str]:
    """Where a fragment such as `Head: {name: …}` belongs: the section of that name with such a key in it."""
    ((name, value),) = fragment.items()
    inner = next(iter(value))

    def search(section: Mapping[str, Any], path: list[str]) -> Iterator[list[str]]:
        for key, below in section.items():
            if isinstance(below, Mapping):
                if key == name and inner in below:
                    yield path
                yield from search(below, [*path, key])

    (found,) = search(tree, [])
    return found


def recipe_of(fragment: Fragment) -> Recipe:
    """The shipped recipe with a fragment over it; anchors that the fragment uses are those of the recipe."""
    file = find_recipe(RECIPE_OF[fragment.document])
    anchors = [f"{name}: {anchor}" for anchor, name in _ANCHOR.findall(file.read_text("utf-8"))]
    text = "\n  ".join(["anchors:", "none: 0", *anchors]) + f"\n{fragment.text}"
    top = plain(read_text(text, fragment.id))
    del top["anchors"]
    base = load_recipe(file).to_dict()
    for key in reversed(path_of(base, top) if len(top) == 1 else []):
        top = {key: top}
    return Recipe.from_dict(laid_over(base, top), ["Arch.Backbone.pretrained=False"], name=fragment.id)


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    told: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    listener = Listener()
    logger.addHandler(listener)
    yield told
    logger.removeHandler(listener)


def test_the_blocks_are_found() -> None:
    counts = {name: sum(fragment.document == name for fragment in FRAGMENTS) for name in RECIPE_OF}
    assert counts == {
        "002_430701a231f31ec6.txt": 6,
        "003_1354a12ae587c8e7.txt": 3,
        "004_69acc4a591925ca4.txt": 4,
    }
    assert len(FRAGMENTS) == sum(counts.values())


@each_fragment
def test_a_block_builds(fragment: Fragment) -> None:
    recipe = recipe_of(fragment)
    assert recipe.data is not None
    assert recipe.data.Train is not None
    assert recipe.data.Eval is not None
    head = recipe.arch["Head"]

    with torch.device("meta"):  # the documents' heads have up to 192612 classes
        model = build_model(recipe.arch)
    assert model.embedding_size((3, 224, 224)) == head["embedding_size"]
    assert (
        sum(parameter.numel() for parameter in model.head.parameters())
        >= head["embedding_size"] * head["class_num"]
    )

    loss = build_loss(recipe.loss_train)
    torch.manual_seed(0)
    outputs = {
        "backbone": torch.randn(8, 512),
        "features": torch.randn(8, 512),
        "logits": torch.randn(8, head["class_num"]),
    }
    values = loss(outputs, torch.arange(8) // 2)
    assert set(values) >= {next(iter(entry)) for entry in recipe.loss_train} | {"loss"}
    assert torch.isfinite(values["loss"])

    optimizer = build_optimizer(
        recipe.optimizer, model, loss, epochs=recipe.global_.epochs, steps_per_epoch=10
    )
    assert len(optimizer.learning_rate) == 1
    assert optimizer.learning_rate[0] >= 0

    random = np.random.default_rng(0)
    picture = random.integers(0, 255, (90, 130, 3), dtype=np.uint8)
    for block in (recipe.data.Train, recipe.data.Eval["Query"], recipe.data.Eval["Gallery"]):
        assert build_transforms(block["dataset"]["transform_ops"])(picture, random).shape == (3, 224, 224)

    labels = np.repeat(np.arange(head["class_num"]), 2)
    batch = next(
        iter(build_sampler(recipe.data.Train["sampler"], labels, seed=0, rank=0, world_size=1, epochs=1))
    )
    assert len(batch) == recipe.data.Train["sampler"]["batch_size"]

    figures = [figure for metric in build_metrics(recipe.metrics_eval) for figure in metric.figures]
    assert figures == ["recall1", "recall5", "mAP"]


@each_fragment
def test_a_block_reads_images(fragment: Fragment, tmp_path: Path) -> None:
    lines = []
    for index in range(16):
        picture = np.full((24, 32, 3), 10 * index, np.uint8)
        assert cv2.imwrite(str(tmp_path / f"{index}.png"), picture)
        lines.append(f"{index}.png {index // 4}")
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    recipe = recipe_of(fragment)
    assert recipe.data is not None
    assert recipe.data.Train is not None
    tree = recipe.data.Train
    for key, value in (("image_root", str(tmp_path)), ("cls_label_path", str(tmp_path / "list.txt"))):
        tree["dataset"][key] = value
    tree["sampler"]["batch_size"] = 8
    for key in ("id_list", "ratio"):  # positions in a list of 192612 classes
        tree["sampler"].pop(key, None)
    tree["loader"]["num_workers"] = 0
    batch = next(iter(build_loader(tree, seed=0, rank=0, world_size=1, epochs=1, training=True)))
    assert batch["image"].shape == (8, 3, 224, 224)
    assert torch.isfinite(batch["image"]).all()


def test_the_class_number_of_the_head_is_used(warnings: list[str]) -> None:
    """The Chinese guide writes Global.class_num 30671 beside a head of 431 classes."""
    settings, arch = (next(f for f in FRAGMENTS if f.document.startswith("002") and f.text.startswith(key))
                      for key in ("Global:", "Arch:"))  # fmt: skip
    both = Fragment(settings.document, settings.line, f"{settings.text}\n{arch.text}")
    recipe = recipe_of(both)
    assert recipe.global_.class_num == 30671
    assert recipe.arch["Head"]["class_num"] == 431
    assert [message for message in warnings if "Global.class_num" in message] == [
        "Global.class_num: is 30671, but Arch.Head.class_num is 431: the head's 431 is used "
        "(Global.class_num is deprecated)"
    ]


def test_layer_names_of_the_documents() -> None:
    names = {
        match
        for fragment in FRAGMENTS
        for match in re.findall(r"(flatten_0|adaptive_avg_pool2d_0)", fragment.text)
    }
    assert names == {"flatten_0", "adaptive_avg_pool2d_0"}, (
        "so that building the blocks above shows that both are accepted"
    )


def test_learning_rates_of_the_vehicle_document() -> None:
    (fragment,) = (f for f in FRAGMENTS if f.document.startswith("002") and f.text.startswith("Optimizer"))
    recipe = recipe_of(fragment)
    optimizer = build_optimizer(recipe.optimizer, torch.nn.Linear(2, 2), epochs=160, steps_per_epoch=1)
    rates = []
    for _ in range(160):
        rates.append(optimizer.learning_rate[0])
        optimizer.schedule_step()
        optimizer.epoch_end()
    halvings = [epoch for epoch in range(1, 160) if rates[epoch] < rates[epoch - 1]]
    assert halvings == [30, 60, 70, 80, 90, 100, 120, 140]
    assert rates[0] == pytest.approx(0.01)
    assert rates[-1] == pytest.approx(0.01 / 2**8)


def overrides_in_documents() -> list[str]:
    found: set[str] = set()
    for file in (SHARED / "seeds").glob("*.txt"):
        for match in re.findall(r"-o\s+([\w.]+\s?=\s?(?:\"[^\"]*\"|\w+))", file.read_text(encoding="utf-8")):
            found.add(match)
    return sorted(found)


@pytest.mark.parametrize("written", overrides_in_documents() if SHARED.is_dir() else [])
def test_overrides_of_the_documents(written: str) -> None:
    """What the documents write after -o works as a shell hands it over; with spaces a sentence says how."""
    import shlex

    words = shlex.split(written)
    if len(words) == 1:
        recipe = load_recipe("product/sop", words)
        key = words[0].split("=")[0].removeprefix("Global.").replace("checkpoint", "checkpoints")
        assert getattr(recipe.global_, key) == {"False": False}.get(
            words[0].split("=")[1], words[0].split("=")[1]
        )
    else:
        with pytest.raises(
            UserError, match=r"no spaces .* write -o Global.pretrained_model=output/ReModel/best_model$"
        ):
            reject_spaces(words)
        with pytest.raises(UserError, match=r"write -o Global\.pretrained_model=VALUE"):
            apply_overrides(read_text("Global: {}"), words[:1])


def test_overrides_were_found() -> None:
    keys = {written.split("=")[0].strip() for written in overrides_in_documents()}
    assert keys == {
        "eval_during_train",
        "Global.eval_during_train",
        "Global.checkpoint",
        "Global.pretrained_model",
        "rec_inference_model_dir",
        "Global.rec_inference_model_dir",
    }

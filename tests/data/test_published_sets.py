"""Data sets beyond plain lists: boxes, Pillow's images, mixtures, sizes that a sampler draws."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from lookalike.core.errors import UserError
from lookalike.data import build_dataset, build_loader, build_sampler
from lookalike.data.mixed import MixedDataset
from lookalike.images import read_records
from tests.data.pictures import NORMALISE, dataset_section, write_images

TO_TENSOR: list[Any] = [{"ToTensor": None}]


def test_a_picture_is_cut_to_its_box(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    (tmp_path / "list.txt").write_text("a.png 1\nb.png 2\n", encoding="utf-8")
    for name, box in (("a", "3 5 13 9"), ("b", "30 5 40 9")):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture[:, :, ::-1])
        (tmp_path / f"{name}.txt").write_text(box, encoding="utf-8")
    section = {
        "name": "CompCars", "image_root": str(tmp_path), "cls_label_path": str(tmp_path / "list.txt"),
        "label_root": str(tmp_path), "bbox_crop": True, "transform_ops": [], "max_broken_share": 1,
    }  # fmt: skip
    for options in ({}, {"cache": "ram"}):
        dataset = build_dataset({**section, **options})
        dataset.fill_cache()
        expected = picture[5:9, 3:13].transpose(2, 0, 1)
        assert np.array_equal(dataset[0]["image"].numpy(), expected)
        path, reason = dataset[1]["broken"]
        assert path.endswith("b.png")
        assert reason == "its box [30, 5, 40, 9] lies outside of its 24x20 pixels"
    turned = build_dataset({**section, "rotated_classes": True})
    assert np.array_equal(turned[2]["image"].numpy(), np.rot90(picture[5:9, 3:13]).transpose(2, 0, 1))


def test_images_of_pillow(tmp_path: Path) -> None:
    """`backend: pil` decodes with Pillow, and Resize averages over what it shrinks, as Pillow does."""
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.jpg", quality=90)
    (tmp_path / "list.txt").write_text("a.jpg 1\n", encoding="utf-8")
    section = {
        "name": "VeriWild", "image_root": str(tmp_path), "cls_label_path": str(tmp_path / "list.txt"),
        "transform_ops": [{"Resize": {"size": [9, 9]}}],
    }  # fmt: skip
    decoded = Image.open(tmp_path / "a.jpg").convert("RGB")
    as_pillow = np.asarray(decoded.resize((9, 9), Image.Resampling.BILINEAR))
    found = build_dataset({**section, "backend": "pil"})[0]["image"].numpy()
    assert np.array_equal(found, as_pillow.transpose(2, 0, 1))
    assert not np.array_equal(build_dataset(section)[0]["image"].numpy(), found)


def test_faces(tmp_path: Path) -> None:
    write_images(tmp_path, [0, 1])
    section = {
        "name": "AdaFaceDataset",
        "root_dir": str(tmp_path),
        "label_path": str(tmp_path / "list.txt"),
        "transform": [
            {"RandomHorizontalFlip": None},
            *TO_TENSOR,
            {"Normalize": {"mean": [0.5], "std": [0.5]}},
        ],
    }
    sample = build_dataset(section)[1]
    assert sample["label"] == 1
    assert sample["image"].shape == (3, 20, 24)
    assert float(sample["image"].min()) >= -1
    with pytest.raises(UserError, match="unknown argument 'transform'"):
        build_dataset({**dataset_section(tmp_path, []), "transform": []})


def mixture(folder: Path) -> dict[str, Any]:
    first, second = folder / "one", folder / "two"
    for each in (first, second):
        each.mkdir()
    write_images(first, [0, 0, 1])
    write_images(second, [1, 2])
    small = [{"ResizeImage": {"size": [8, 8]}}, NORMALISE]
    mirrored = [*small[:1], {"RandomHorizontalFlip": {"prob": 1}}, NORMALISE]
    return {
        "name": "MixDataset",
        "datasets_config": [dataset_section(first, small), dataset_section(second, mirrored)],
    }


def test_each_part_of_a_mixture_has_its_own_transforms(tmp_path: Path) -> None:
    section = mixture(tmp_path)
    dataset = build_dataset(section)
    assert isinstance(dataset, MixedDataset)
    assert dataset.lengths == [3, 2]
    assert dataset.labels.tolist() == [0, 0, 1, 1, 2]
    plain = build_dataset(section["datasets_config"][0])
    for index in range(5):
        sample = dataset[index]
        assert sample["index"] == index
        assert sample["label"] == dataset.labels[index]
        own = plain[index if index < 3 else index - 3]["image"]
        assert np.array_equal(sample["image"].numpy(), (own if index < 3 else own.flip(2)).numpy())
    assert np.array_equal(
        pickle.loads(pickle.dumps(dataset))[4]["image"].numpy(), dataset[4]["image"].numpy()
    )
    with pytest.raises(UserError, match="belong to the blocks of datasets_config"):
        build_dataset({**section, "cache": "ram"})


def test_a_sampler_of_identities_takes_a_mixture(tmp_path: Path) -> None:
    block = {
        "dataset": mixture(tmp_path),
        "sampler": {"name": "PKSampler", "batch_size": 4, "sample_per_id": 2},
        "loader": {"num_workers": 0},
    }
    for batch in build_loader(block, seed=1):
        labels = batch["label"].tolist()
        assert labels[::2] == labels[1::2]


@pytest.mark.parametrize("name", ["Market1501", "DukeMTMC", "MSMT17"])
def test_samplers_of_identities_take_persons(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "bounding_box_train"
    folder.mkdir()
    for person in (3, 8, 9):
        for camera in (1, 2):
            (folder / f"{person:04}_c{camera}_1.jpg").write_bytes(b"")
    section = {"name": name, "image_root": str(tmp_path), "cls_label_path": folder.name}
    for sampler in (
        {"name": "PKSampler", "batch_size": 4, "sample_per_id": 2},
        {"name": "DistributedRandomIdentitySampler", "batch_size": 4, "num_instances": 2},
    ):
        batches = list(build_sampler(sampler, read_records(section)))
        assert batches
        assert all(len(batch) == 4 for batch in batches)


def scaled(folder: Path, ops: list[Any], reference: bool = False) -> Any:
    section = {**dataset_section(folder, ops), "name": "MultiScaleDataset"}
    return build_dataset(section, reference_behaviour=reference)


def test_the_size_of_an_image_may_be_drawn(tmp_path: Path) -> None:
    write_images(tmp_path, [0, 1, 2])
    crop = {"RandCropImage": {"size": 16, "scale": [0.2, 0.2], "ratio": [1, 1]}}
    dataset = scaled(tmp_path, [crop, NORMALISE])
    assert dataset[1]["image"].shape == (3, 16, 16)
    assert dataset[(0, 1, 0, 24, 8)]["image"].shape == (3, 8, 24)
    own = dataset.chains.of((24, 8)).steps[1].apply
    assert own.scale == (0.2, 0.2), "the other arguments stay"
    theirs = scaled(tmp_path, [crop, NORMALISE], reference=True).chains.of((24, 8)).steps[1].apply
    assert theirs.scale == (0.08, 1.0)
    short = scaled(tmp_path, [{"ResizeImage": {"resize_short": 16}}, NORMALISE])
    assert short[(0, 1, 0, 12, 8)]["image"].shape == (3, 8, 12)
    with pytest.raises(UserError, match="needs one of RandCropImage"):
        scaled(tmp_path, [NORMALISE])
    plain = build_dataset(dataset_section(tmp_path, [crop, NORMALISE]))
    assert "use MultiScaleDataset with it" in plain[(0, 1, 0, 24, 8)]["failed"]


def test_batches_of_several_sizes(tmp_path: Path) -> None:
    write_images(tmp_path, [0, 1, 2, 3] * 4)
    block = {
        "dataset": {**dataset_section(tmp_path, [{"RandCropImage": {"size": 16}}, NORMALISE]),
                    "name": "MultiScaleDataset"},
        "sampler": {"name": "MultiScaleSampler", "scales": [32, 16], "first_bs": 2, "divided_factor": 16},
        "loader": {"num_workers": 0},
    }  # fmt: skip
    shapes = {tuple(batch["image"].shape) for batch in build_loader(block, seed=1)}
    assert shapes == {(2, 3, 32, 32), (8, 3, 16, 16)}

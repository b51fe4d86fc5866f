"""The dataset: samples, rotated classes, the cache, broken images, messages."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from lookalike.core.errors import UserError
from lookalike.data import build_dataset
from lookalike.images import decode_image
from tests.data.pictures import NORMALISE, dataset_section, write_images

LABELS = [0, 1, 1, 2, 0, 2]


def test_samples(tmp_path: Path) -> None:
    write_images(tmp_path, LABELS)
    dataset = build_dataset(dataset_section(tmp_path), seed=5)
    sample = dataset[3]
    assert set(sample) == {"image", "label", "index"}
    assert sample["image"].shape == (3, 16, 16)
    assert sample["image"].dtype == torch.float32
    assert (sample["label"], sample["index"]) == (2, 3)
    assert dataset.labels.tolist() == LABELS
    assert len(dataset) == 6
    assert dataset[-1]["index"] == 5
    with pytest.raises(IndexError):
        dataset[6]


def test_cameras(tmp_path: Path) -> None:
    write_images(tmp_path, LABELS, cameras=[3, 4, 5, 6, 7, 8])
    dataset = build_dataset({**dataset_section(tmp_path), "name": "VeriWild"})
    assert dataset[1]["camera"] == 4


def test_augmentation_depends_on_seed_epoch_and_image(tmp_path: Path) -> None:
    write_images(tmp_path, LABELS)
    dataset = build_dataset(dataset_section(tmp_path), seed=5)
    first = dataset[0]["image"]
    assert torch.equal(first, dataset[0]["image"])
    assert torch.equal(first, dataset[0, 0, 0]["image"])
    assert not torch.equal(first, dataset[0, 0, 1]["image"]), "the second time in an epoch it comes out anew"
    assert not torch.equal(first, dataset[1, 0, 0]["image"])
    dataset.set_epoch(1)
    assert torch.equal(dataset[0]["image"], dataset[1, 0, 0]["image"])
    other = build_dataset(dataset_section(tmp_path), seed=6)
    assert not torch.equal(first, other[0]["image"])


def test_rotated_classes(tmp_path: Path) -> None:
    write_images(tmp_path, LABELS)
    dataset = build_dataset(dataset_section(tmp_path, ops=[], rotated_classes=True))
    assert len(dataset) == 24
    assert dataset.labels.tolist() == [label + 3 * k for k in range(4) for label in LABELS]
    assert dataset.records.num_classes == 12
    upright = decode_image(dataset.records.paths[2])
    for k in range(4):
        sample = dataset[2 + 6 * k]
        assert sample["label"] == 1 + 3 * k
        expected = np.rot90(upright, k).transpose(2, 0, 1)
        assert np.array_equal(sample["image"].numpy(), expected)


def test_rotated_classes_keep_labels_with_gaps_apart(tmp_path: Path) -> None:
    write_images(tmp_path, [0, 5])
    dataset = build_dataset(dataset_section(tmp_path, rotated_classes=True))
    assert dataset.labels.tolist() == [0, 5, 6, 11, 12, 17, 18, 23]


def test_cache(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path, LABELS)
    (tmp_path / "004.png").write_bytes(b"no image")
    plain = build_dataset(dataset_section(tmp_path), seed=2)
    cached = build_dataset(dataset_section(tmp_path, cache="ram"), seed=2)
    with caplog.at_level(logging.INFO, "lookalike"):
        cached.fill_cache()
    assert "cache: 5 decoded pictures kept in memory, 0 MB" in caplog.text
    expected = [plain[i] for i in range(6)]
    for path in tmp_path.glob("*.png"):
        path.unlink()
    for copy in (cached, pickle.loads(pickle.dumps(cached))):
        for twice in range(2):
            for i in range(6):
                assert ("broken" in copy[i]) == (i == 4), twice
                if i != 4:
                    assert torch.equal(copy[i]["image"], expected[i]["image"])


def test_a_broken_image_says_why(tmp_path: Path) -> None:
    write_images(tmp_path, LABELS)
    (tmp_path / "002.png").unlink()
    sample = build_dataset(dataset_section(tmp_path))[2]
    assert sample["index"] == 2
    assert sample["broken"] == (str(tmp_path / "002.png"), "the file does not exist")


def test_given_records_and_transforms(tmp_path: Path) -> None:
    from lookalike.data import build_transforms

    write_images(tmp_path, LABELS)
    whole = build_dataset(dataset_section(tmp_path))
    part = build_dataset(
        dataset_section(tmp_path), build_transforms([NORMALISE]), records=whole.records.subset([4, 1])
    )
    assert part.labels.tolist() == [0, 1]
    assert part[0]["image"].shape == (3, 20, 24)


def test_messages(tmp_path: Path) -> None:
    write_images(tmp_path, LABELS)
    with pytest.raises(UserError, match="unknown argument 'rotated_clases', did you mean 'rotated_classes'"):
        build_dataset(dataset_section(tmp_path, rotated_clases=True))
    with pytest.raises(UserError, match=r"dataset\.cache: must be .*, got 'disk'"):
        build_dataset(dataset_section(tmp_path, cache="disk"))
    with pytest.raises(UserError, match=r"max_broken_share must lie in 0..1"):
        build_dataset(dataset_section(tmp_path, max_broken_share=2))
    with pytest.raises(UserError, match="unknown dataset 'ImageNetDatase', did you mean 'ImageNetDataset'"):
        build_dataset({**dataset_section(tmp_path), "name": "ImageNetDatase"})

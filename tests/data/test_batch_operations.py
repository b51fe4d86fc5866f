"""Mixed batches: labels say exactly how much of which image is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from lookalike.core.errors import UserError
from lookalike.data import batch_operations, build_loader
from lookalike.data.mixing import low_frequency_mask
from tests.tiny import dataset

HYBRID = {"name": "MixupCutmixHybrid", "label_smoothing": 0.0}
SECTIONS: list[dict[str, Any]] = [
    {"name": "MixupOperator", "alpha": 0.5},
    {"name": "CutmixOperator", "alpha": 1.0},
    {"name": "FmixOperator"},
    {"name": "OpSampler", "MixupOperator": {"prob": 0.5}, "CutmixOperator": {"alpha": 1, "prob": 0.5}},
    HYBRID,
    HYBRID | {"mode": "elem", "cutmix_alpha": 1.0},
    HYBRID | {"mode": "pair", "mixup_alpha": 0.0, "cutmix_alpha": 1.0},
    HYBRID | {"mixup_alpha": 0.0, "cutmix_minmax": [0.2, 0.8]},
]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: str(list(section.values())[:2]))
def test_labels_follow_the_pixels(section: dict[str, Any]) -> None:
    """Image i is full of the number 2^i, so that a mean of pixels tells the mixture, and who is in it."""
    operation = batch_operations.build(section)
    images = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]).view(5, 1, 1, 1).expand(5, 3, 24, 16).contiguous()
    labels = functional.one_hot(torch.arange(5), 5).float()
    rng = np.random.default_rng(0)
    moved = 0
    for _ in range(20):
        changed, soft = operation(images, labels, rng)
        torch.testing.assert_close(soft.sum(dim=1), torch.ones(5))
        told = soft @ torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
        # FMix rounds its share to whole pixels
        torch.testing.assert_close(changed.mean(dim=(1, 2, 3)), told, rtol=0.02, atol=1e-3)
        moved += int((soft.max(dim=1).values < 1).any())
    assert moved > 10
    assert torch.equal(images[0], torch.ones(3, 24, 16)), "the batch that comes in stays as it is"


def test_smoothing_and_probability() -> None:
    labels = functional.one_hot(torch.arange(4), 4).float()
    operation = batch_operations.build(HYBRID | {"prob": 0, "label_smoothing": 0.2})
    images, soft = operation(torch.rand(4, 3, 8, 8), labels, np.random.default_rng(0))
    torch.testing.assert_close(soft, 0.8 * labels + 0.05)
    operation = batch_operations.build(
        {"name": "OpSampler", "MixupOperator": {"prob": 0.0}, "Fmix": {"prob": 0.0}}
    )
    assert operation(images, labels, np.random.default_rng(0)) == (images, labels)


@pytest.mark.parametrize("soft", [0.0, 0.2])
def test_masks_are_smooth_and_have_their_share(soft: float) -> None:
    rng = np.random.default_rng(1)
    for share in (0.1, 0.5, 0.8):
        mask = low_frequency_mask(32, 24, share, 3.0, soft, rng)
        assert mask.shape == (32, 24)
        assert mask.mean() == pytest.approx(share, abs=1 / 32 / 24 + 0.01 * (soft > 0))
        assert ((mask > 0) & (mask < 1)).any() == (soft > 0)
        jumps = np.abs(np.diff(mask, axis=0)).mean()
        shuffled = rng.permutation(mask.ravel()).reshape(32, 24)
        assert jumps < 0.6 * np.abs(np.diff(shuffled, axis=0)).mean()


def test_batches_are_mixed_the_same_after_a_resume(pictures: Path) -> None:
    normalise = [{"ResizeImage": {"size": [16, 16]}}, {"NormalizeImage": {"order": ""}}]
    block = {
        "dataset": dataset(pictures, "train", normalise) | {"batch_transform_ops": [{"Mixup": {}}]},
        "sampler": {"name": "DistributedBatchSampler", "batch_size": 12, "shuffle": True},
    }

    def batches(skip: int = 0, rank: int = 0) -> list[Any]:
        loader = build_loader(block, seed=3, rank=rank, world_size=2, class_num=8)
        loader.set_epoch(1, skip_batches=skip)
        return list(loader)

    whole = batches()
    assert whole[0]["label"].shape == (12, 8)
    assert float(whole[0]["label"].max(dim=1).values.min()) < 1
    for ours, theirs in zip(whole[1:], batches(1), strict=True):
        assert torch.equal(ours["image"], theirs["image"])
        assert torch.equal(ours["label"], theirs["label"])
    assert not torch.equal(whole[0]["label"], batches(rank=1)[0]["label"])
    assert build_loader(block, training=False).mixing is None


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"name": "Mixup", "alpha": 0}, "alpha must be above 0"),
        ({"name": "Fmix", "max_soft": 2}, "max_soft must lie in"),
        ({"name": "OpSampler"}, "needs an operation"),
        ({"name": "OpSampler", "Mixup": {}}, "Mixup needs prob"),
        ({"name": "OpSampler", "Mixup": {"prob": 0.8}, "Cutmix": {"prob": 0.8}}, "at most 1 together"),
        (HYBRID | {"mixup_alpha": 0}, "needs mixup_alpha or cutmix_alpha"),
        (HYBRID | {"cutmix_minmax": [0.8, 0.2]}, "the smaller first"),
        (HYBRID | {"prob": 2}, "prob must lie in 0..1"),
        ({"name": "Mixop"}, "did you mean 'Mixup'"),
    ],
)
def test_messages(section: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        batch_operations.build(section)

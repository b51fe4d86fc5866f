"""The losses of FixMatch and CCSSL against loops over images and views."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from lookalike.core.errors import UserError
from lookalike.loss import build_loss, losses

Array = np.ndarray
LABELS = torch.tensor([0, 2, 0, 1])
BATCH = {
    "mask": torch.tensor([1.0, 0.0, 1.0, 1.0]),
    "confidence": torch.tensor([0.99, 0.4, 0.97, 0.96], dtype=torch.float64),
}


def given() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    views = torch.randn(4, 2, 5, generator=generator, dtype=torch.float64)
    return {
        "logits": torch.randn(4, 3, generator=generator, dtype=torch.float64),
        "features": views / views.norm(dim=2, keepdim=True),
    }


def soft_contrast(
    views: Array, labels: Array, confidence: Array, temperature: float, base: float, only_first: bool
) -> float:
    rows = [(image, views[image, view]) for view in range(views.shape[1]) for image in range(len(views))]
    terms = []
    for a, (image, anchor) in enumerate(rows[: len(views)] if only_first else rows):
        others = [b for b in range(len(rows)) if b != a]
        total = sum(math.exp(float(anchor @ rows[b][1]) / temperature) for b in others)
        above, below = 0.0, 0.0
        for p in others:
            other, positive = rows[p]
            if labels[other] == labels[image]:
                weight = confidence[image] * confidence[other]
                above -= weight * (float(anchor @ positive) / temperature - math.log(total))
                below += weight
        terms.append(above / below if below else 0.0)
    return temperature / base * float(np.mean(terms))


@pytest.mark.parametrize(
    "arguments",
    [{}, {"temperature": 0.5, "base_temperature": 0.1}, {"temperature": 1.0, "contrast_mode": "one"}],
)
@pytest.mark.parametrize("views", [1, 2, 3])
def test_soft_contrast(arguments: dict[str, Any], views: int) -> None:
    features = given()["features"].repeat(1, 2, 1)[:, :views] + torch.arange(views)[:, None] / 10
    loss = losses.build({"SoftSupConLoss": arguments})

    def value(features: torch.Tensor) -> torch.Tensor:
        return loss({"features": features}, LABELS, BATCH)["SoftSupConLoss"]

    expected = soft_contrast(
        features.numpy(),
        LABELS.numpy(),
        BATCH["confidence"].numpy(),
        arguments.get("temperature", 0.07),
        arguments.get("base_temperature", 0.07),
        arguments.get("contrast_mode") == "one",
    )
    assert value(features).item() == pytest.approx(expected, rel=1e-9)
    assert torch.autograd.gradcheck(value, features.requires_grad_())


def test_no_confidence_at_all_is_zero() -> None:
    batch = {"confidence": torch.zeros(4)}
    assert losses.build("SoftSupConLoss")(given(), LABELS, batch)["SoftSupConLoss"].item() == 0


def test_masked_images_count_in_the_mean() -> None:
    outputs = given()
    logits = outputs["logits"].numpy()
    terms = [math.log(sum(math.exp(v - row[y]) for v in row)) for row, y in zip(logits, LABELS, strict=True)]
    value = losses.build("CCSSLCELoss")(outputs, LABELS, BATCH)["CCSSLCELoss"]
    assert value.item() == pytest.approx((terms[0] + terms[2] + terms[3]) / 4)


def test_together_in_half_precision() -> None:
    """As a recipe lists them, with what autocast gives."""
    loss = build_loss([{"CCSSLCELoss": {"weight": 1.0}}, {"SoftSupConLoss": {"weight": 1.0}}])
    outputs = {name: value.half().requires_grad_() for name, value in given().items()}
    results = loss(outputs, LABELS, BATCH)
    assert list(results) == ["CCSSLCELoss", "SoftSupConLoss", "loss"]
    results["loss"].backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in outputs.values())


def test_what_is_missing_is_named() -> None:
    outputs = given()
    with pytest.raises(UserError, match="CCSSLCELoss reads 'mask' of the batch, which holds 'image'; it is "):
        losses.build("CCSSLCELoss")(outputs, LABELS, {"image": torch.zeros(1)})
    with pytest.raises(UserError, match="SoftSupConLoss reads 'confidence' of the batch"):
        losses.build("SoftSupConLoss")(outputs, LABELS, {})
    with pytest.raises(UserError, match=r"reads 'features' as \(N, V, D\), .* got the shape \(4, 5\)"):
        losses.build("SoftSupConLoss")({"features": outputs["features"][:, 0]}, LABELS, BATCH)

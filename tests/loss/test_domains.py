"""The losses of MetaBIN against loops over domains and pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lookalike.core.errors import UserError
from lookalike.loss import losses
from tests.loss.naive_pairs import unit

Array = np.ndarray
LABELS = [0, 0, 1, 2, 2, 3, 1, 4]
DOMAINS = {
    "three": [7, 7, 7, 2, 2, 2, 0, 0],
    "one": [5] * 8,
    "each its own": list(range(8)),
}


def scatter(features: Array, labels: Array, domains: Array) -> float:
    means = []
    for domain in sorted(set(domains.tolist())):
        members = features[domains == domain]
        centre = members.mean(axis=0)
        means.append(np.mean([m @ centre / np.linalg.norm(m) / np.linalg.norm(centre) for m in members]))
    return float(np.mean(means))


def shuffle(features: Array, labels: Array, domains: Array) -> float:
    terms = []
    for i, anchor in enumerate(features):
        far = [float(np.linalg.norm(anchor - f)) for f, d in zip(features, domains, strict=True)
               if d != domains[i]]  # fmt: skip
        near = [float(np.linalg.norm(anchor - features[j])) for j in range(len(features))
                if domains[j] == domains[i] and labels[j] != labels[i]]  # fmt: skip
        terms.append(math.log(1 + math.exp(max([0.0, *far]) - min(near))) if near else 0.0)
    return float(np.mean(terms))


NAIVE = {"IntraDomainScatterLoss": scatter, "InterDomainShuffleLoss": shuffle}


def evaluate(name: str, normalize: bool, features: torch.Tensor, domains: list[int]) -> torch.Tensor:
    loss = losses.build({name: {"normalize_feature": normalize}})
    (value,) = loss({"features": features}, torch.tensor(LABELS), {"domain": torch.tensor(domains)}).values()
    return value


@pytest.mark.parametrize("domains", DOMAINS.values(), ids=DOMAINS)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("name", NAIVE)
def test_value_and_gradient(name: str, normalize: bool, domains: list[int]) -> None:
    features = np.random.default_rng(0).normal(size=(8, 5))
    expected = NAIVE[name](unit(features) if normalize else features, np.array(LABELS), np.array(domains))
    given = torch.tensor(features, requires_grad=True)
    value = evaluate(name, normalize, given, domains)
    # a sample is at distance 1e-6 of itself, the smallest whose root has a gradient
    assert value.item() == pytest.approx(expected, rel=1e-9, abs=1e-6)
    assert torch.autograd.gradcheck(lambda f: evaluate(name, normalize, f, domains), given, fast_mode=True)


@pytest.mark.parametrize("name", NAIVE)
def test_degenerate_features(name: str) -> None:
    for features in (torch.zeros(8, 5), torch.ones(8, 5), torch.randn(8, 5) * 1e4):
        for normalize in (True, False):
            given = features.clone().half().float().requires_grad_()
            value = evaluate(name, normalize, given, DOMAINS["three"])
            value.backward()
            assert value.isfinite()
            assert given.grad is not None
            assert given.grad.isfinite().all()


@pytest.mark.parametrize("name", NAIVE)
def test_batch_without_domains_is_one_sentence(name: str) -> None:
    loss = losses.build(name)
    outputs, labels = {"features": torch.randn(8, 5)}, torch.tensor(LABELS)
    with pytest.raises(UserError, match=f"{name} reads 'domain' of the batch, which holds 'label'; domains "):
        loss(outputs, labels, {"label": labels})
    with pytest.raises(UserError, match=f"{name} reads 'domain' of the batch, which holds nothing"):
        loss(outputs, labels)
    with pytest.raises(UserError, match=f"{name} needs one domain a sample"):
        loss(outputs, labels, {"domain": torch.zeros(3)})


def test_smoothing_beyond_the_classes_is_one_sentence() -> None:
    loss = losses.build({"CELossForMetaBIN": {"epsilon": 0.8}})
    with pytest.raises(UserError, match=r"epsilon must be at most 0\.667 for 3 classes, got 0\.8"):
        loss({"logits": torch.randn(2, 3)}, torch.tensor([0, 1]))

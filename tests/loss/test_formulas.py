"""Each loss against its formula written as a loop, on batches of any make-up, and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lookalike.core.errors import UserError
from lookalike.loss import losses
from lookalike.loss.base import Loss
from tests.loss.naive import NAIVE
from tests.loss.naive_pairs import parameter_values

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("CELoss", {}),
    ("CELoss", {"epsilon": 0.1}),
    ("CELoss", {"epsilon": 0.3, "reduction": "sum"}),
    ("CELoss", {"reduction": "none"}),
    ("TripletLoss", {}),
    ("TripletLoss", {"margin": 0.2}),
    ("TripletLossV2", {}),
    ("TripletLossV2", {"margin": 0.1, "normalize_feature": False}),
    ("TripletAngularMarginLoss", {}),
    ("TripletAngularMarginLoss", {"add_absolute": True, "absolute_loss_weight": 0.1, "an_value": 0.2}),
    ("TripletAngularMarginLoss", {"reduction": "none", "normalize_feature": False}),
    ("TripletAngularMarginLoss", {"reduction": "sum", "add_absolute": True}),
    ("SupConLoss", {}),
    ("SupConLoss", {"temperature": 0.5, "base_temperature": 0.1}),
    ("SupConLoss", {"contrast_mode": "one", "normalize_feature": False, "temperature": 2.0}),
    ("PairwiseCosface", {}),
    ("PairwiseCosface", {"margin": 0.1, "gamma": 4}),
    ("ContrastiveLoss", {}),
    ("ContrastiveLoss", {"margin": 0.1, "normalize_feature": False, "epsilon": 0.3}),
    ("ContrastiveLoss_XBM", {"xbm_size": 20, "embedding_size": 6, "start_iter": 1}),
    ("TripletAngularMarginLoss_XBM", {"xbm_size": 20, "feat_dim": 6, "start_iter": 1, "add_absolute": True}),
    ("CenterLoss", {"num_classes": 5, "feat_dim": 6}),
    ("TriHardLoss", {"margin": 0.7}),
    ("MSMLoss", {"margin": 0.7}),
    ("EmlLoss", {}),
    ("NpairsLoss", {"reg_lambda": 0.3}),
    ("DSHSDLoss", {"alpha": 0.5}),
    ("DSHSDLoss", {"multi_label": True}),
    ("LCDSHLoss", {"_lambda": 0.5}),
    ("DCHLoss", {"gamma": 2.5, "_lambda": 0.7}),
    ("SoftTargetCrossEntropy", {}),
    ("CELossForMetaBIN", {"epsilon": 0.2}),
    ("TripletLossForMetaBIN", {}),
]
"""Settings of every loss of one output and the labels. The memory of the losses that have one starts with
their second batch, and is tested in test_memory.py."""

BESIDE = {
    "test_domains.py": {"IntraDomainScatterLoss", "InterDomainShuffleLoss"},
    "test_matryoshka.py": {"MatryoshkaLoss"},
    "test_pseudo_labels.py": {"CCSSLCELoss", "SoftSupConLoss"},
    "test_distillation.py": {entry.name for entry in losses if entry.name.startswith("Distillation")},
}
"""Losses that read more, by the file that tests them."""

FIRST_SETTING = dict(reversed(SETTINGS))

BATCHES = {
    "pk": [0, 0, 0, 1, 1, 1, 2, 2, 2],
    "unequal": [3, 1, 1, 3, 0, 3, 2, 3, 1],
    "no_positives": [0, 1, 2, 3, 4],
    "one_identity": [4, 4, 4, 4],
    "single": [2],
}


def build(name: str, arguments: dict[str, Any], **context: Any) -> Loss:
    return losses.build({name: arguments}, **context)


def evaluate(name: str, arguments: dict[str, Any], values: torch.Tensor, labels: Any) -> torch.Tensor:
    """The loss of values that are features and logits at once."""
    loss = build(name, arguments)
    for parameter in loss.parameters():
        parameter.data.copy_(torch.from_numpy(parameter_values(*parameter.shape)))
    if values.dtype is torch.float64:
        loss.double()
    (result,) = loss({"features": values, "logits": values}, torch.as_tensor(labels)).values()
    return result


def test_every_loss_has_a_formula() -> None:
    assert {name for name, _ in SETTINGS} == set(NAIVE)
    assert {entry.name for entry in losses} == set(NAIVE).union(*BESIDE.values())


@pytest.mark.parametrize("labels", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize(("name", "arguments"), SETTINGS)
def test_value_is_the_formula(name: str, arguments: dict[str, Any], labels: list[int]) -> None:
    rng = np.random.default_rng(len(labels))
    values = rng.normal(size=(len(labels), 6))
    expected = NAIVE[name](values, np.array(labels), **arguments)
    actual = evaluate(name, arguments, torch.tensor(values), labels)
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=1e-9, atol=1e-9)
    column = evaluate(name, arguments, torch.tensor(values), np.array(labels)[:, None])
    torch.testing.assert_close(column, actual)


@pytest.mark.parametrize("labels", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize(("name", "arguments"), SETTINGS)
def test_gradient(name: str, arguments: dict[str, Any], labels: list[int]) -> None:
    torch.manual_seed(len(labels))
    values = torch.randn(len(labels), 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: evaluate(name, arguments, v, labels), values, fast_mode=True)


@pytest.mark.parametrize("labels", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("make", ["zeros", "identical", "one_zero_row", "huge"])
@pytest.mark.parametrize(("name", "arguments"), SETTINGS)
def test_finite_on_degenerate_features(
    name: str, arguments: dict[str, Any], make: str, labels: list[int]
) -> None:
    torch.manual_seed(0)
    values = torch.randn(len(labels), 6)
    if make == "zeros":
        values = torch.zeros_like(values)
    elif make == "identical":
        values = values[:1].repeat(len(labels), 1)
    elif make == "one_zero_row":
        values[0] = 0
    else:
        values = values * 1e4
    values.requires_grad_()
    loss = evaluate(name, arguments, values, labels)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert values.grad is not None
    assert torch.isfinite(values.grad).all()
    assert make == "huge" or values.grad.abs().max() < 1e4


@pytest.mark.parametrize("name", ["TripletLoss", "TripletLossV2"])
def test_triplets_of_one_identity_are_zero(name: str) -> None:
    values = torch.randn(4, 6, requires_grad=True)
    loss = evaluate(name, {}, values, [1, 1, 1, 1])
    loss.backward()
    assert loss.item() == 0
    assert values.grad is not None
    assert not values.grad.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("name", "arguments"), SETTINGS)
def test_half_precision_is_computed_in_float32(
    name: str, arguments: dict[str, Any], dtype: torch.dtype
) -> None:
    torch.manual_seed(1)
    labels = [0, 0, 1, 1, 2, 2]
    values = torch.randn(6, 6).to(dtype).requires_grad_()
    expected = evaluate(name, arguments, values.detach().float(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = evaluate(name, arguments, values, labels)
    assert loss.dtype is torch.float32
    torch.testing.assert_close(loss, expected)
    loss.sum().backward()
    assert values.grad is not None
    assert torch.isfinite(values.grad).all()


@pytest.mark.parametrize("name", [name for name in NAIVE if name != "NpairsLoss"])
def test_order_of_the_batch_does_not_matter(name: str) -> None:
    """Except to the loss that makes its pairs in order."""
    torch.manual_seed(2)
    values, labels = torch.randn(9, 6), torch.tensor(BATCHES["unequal"])
    order = torch.randperm(9)
    torch.testing.assert_close(
        evaluate(name, FIRST_SETTING[name], values, labels),
        evaluate(name, FIRST_SETTING[name], values[order], labels[order]),
    )


def test_feature_maps_are_flattened() -> None:
    values, labels = torch.randn(6, 4, 1, 1), [0, 0, 1, 1, 2, 2]
    torch.testing.assert_close(
        evaluate("TripletLossV2", {}, values, labels),
        evaluate("TripletLossV2", {}, values.flatten(1), labels),
    )


def test_absolute_term_of_a_satisfied_batch_is_zero_and_one_in_the_reference() -> None:
    values = torch.eye(2).repeat_interleave(2, 0)
    arguments = {"margin": 0.0, "add_absolute": True, "absolute_loss_weight": 0.1}
    outputs, labels = {"features": values}, torch.tensor([0, 0, 1, 1])
    ours = build("TripletAngularMarginLoss", arguments)(outputs, labels)
    reference = build("TripletAngularMarginLoss", arguments, reference_behaviour=True)(outputs, labels)
    assert ours["TripletAngularMarginLoss"].item() == pytest.approx(0)
    assert reference["TripletAngularMarginLoss"].item() == pytest.approx(0.1)


def test_soft_labels_are_distributions() -> None:
    logits = torch.randn(4, 5, dtype=torch.float64)
    soft = torch.rand(4, 5, dtype=torch.float64).softmax(1).requires_grad_()
    for epsilon in (None, 0.2):
        loss = build("CELoss", {"epsilon": epsilon})({"logits": logits}, soft)["CELoss"]
        expected = NAIVE["CELoss"](logits.numpy(), soft.detach().numpy(), epsilon=epsilon)
        assert loss.item() == pytest.approx(expected)
        assert not loss.requires_grad


def test_epsilon_outside_of_its_range() -> None:
    with pytest.raises(UserError, match=r"epsilon must be at least 0 and below 1, got 1\.5"):
        build("CELoss", {"epsilon": 1.5})
    assert build("CELoss", {"epsilon": 1.5}, reference_behaviour=True).epsilon == 0


@pytest.mark.parametrize(
    ("label", "message"),
    [(5, "a label is 5, but 'logits' has 5 classes, 0 to 4: raise Arch.Head.class_num to at least 6"),
     (-1, "a label is -1, but class numbers start at 0")],
)  # fmt: skip
def test_labels_out_of_range(label: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate("CELoss", {}, torch.randn(2, 5), [0, label])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_labels_out_of_range_on_a_gpu_are_found_later() -> None:
    loss = build("CELoss", {})
    logits = torch.randn(2, 5, device="cuda")
    good, bad = torch.tensor([0, 1]).cuda(), torch.tensor([0, 7]).cuda()
    loss({"logits": logits}, good)
    assert torch.isfinite(loss({"logits": logits}, bad)["CELoss"])
    for _ in range(18):
        loss({"logits": logits}, good)
    with pytest.raises(UserError, match="a label is 7"):
        loss({"logits": logits}, good)


def test_labels_without_a_center() -> None:
    section = {"num_classes": 5, "feat_dim": 6}
    message = "CenterLoss: a label is 5, but it has 5 classes, 0 to 4: raise its num_classes to at least 6"
    with pytest.raises(UserError, match=message):
        evaluate("CenterLoss", section, torch.randn(2, 6), [0, 5])
    with pytest.raises(UserError, match="feat_dim is 6, but 'features' has 7 values"):
        evaluate("CenterLoss", section, torch.randn(2, 7), [0, 1])
    with pytest.raises(UserError, match="DSHSDLoss: a label is 6, but 'logits' has 6 classes"):
        evaluate("DSHSDLoss", {}, torch.randn(2, 6), [0, 6])


@pytest.mark.parametrize("name", ["TriHardLoss", "MSMLoss", "EmlLoss", "NpairsLoss"])
def test_labels_count_and_in_the_reference_the_order_of_rows(name: str) -> None:
    """Both agree where each run of two rows is one class."""
    features = {"features": torch.randn(8, 6, generator=torch.Generator().manual_seed(3))}
    ours, reference = build(name, {}), build(name, {}, reference_behaviour=True)
    for labels, alike in (([4, 4, 0, 0, 7, 7, 2, 2], True), ([4, 0, 4, 0, 7, 2, 2, 7], False)):
        (one,), (other,) = (loss(features, torch.tensor(labels)).values() for loss in (ours, reference))
        assert bool(torch.isclose(one, other)) is alike


def test_multi_hot_labels_of_codes() -> None:
    """Samples are alike that share a class; a label of one class is that class's number."""
    values = torch.randn(3, 4, dtype=torch.float64)
    outputs, loss = {"features": values, "logits": values}, build("DSHSDLoss", {"multi_label": True})
    one_hot = torch.eye(4)[[1, 1, 3]]
    torch.testing.assert_close(loss(outputs, one_hot), loss(outputs, torch.tensor([1, 1, 3])))
    sharing = one_hot + torch.eye(4)[[0, 2, 1]]
    squared = torch.cdist(values, values).square()  # all three share class 1
    terms = torch.nn.functional.binary_cross_entropy_with_logits(values, sharing.double(), reduction="none")
    expected = terms.sum(dim=1).mean() + 0.05 * squared.mean() / 2
    torch.testing.assert_close(loss(outputs, sharing)["dshsdloss"], expected)


@pytest.mark.parametrize("labels", [torch.zeros(3), torch.zeros(4, 2), torch.zeros(2, 2, 1)])
def test_labels_of_another_shape(labels: torch.Tensor) -> None:
    with pytest.raises(UserError, match="TripletLossV2 needs one label a sample"):
        evaluate("TripletLossV2", {}, torch.randn(4, 6), labels.long())

"""A loss of the first numbers of features: against each formula on what is cut by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lookalike.core.component import Place, Section
from lookalike.core.errors import UserError
from lookalike.loss import build_loss, losses
from lookalike.loss.matryoshka import MatryoshkaLoss
from lookalike.model import build_head, build_model
from tests.loss.naive import NAIVE
from tests.loss.naive_pairs import parameter_values
from tests.loss.test_formulas import BATCHES, SETTINGS

WIDTH, SIZES, WEIGHTS = 12, [5, 12, 7], [1.0, 0.5, 2.0]
LABELS = torch.tensor(BATCHES["unequal"])
TRIPLETS = {"TripletLossV2": {"margin": 0.3}}


def build(loss: Any, **arguments: Any) -> MatryoshkaLoss:
    built = losses.build({"MatryoshkaLoss": {"loss": loss, "sizes": SIZES, "weights": WEIGHTS, **arguments}})
    assert isinstance(built, MatryoshkaLoss)
    for parameter in built.parameters():
        parameter.data.copy_(torch.from_numpy(parameter_values(*parameter.shape)))
    return built


def cut(values: torch.Tensor, size: int, normalise: bool = True) -> torch.Tensor:
    return torch.nn.functional.normalize(values[:, :size]) if normalise else values[:, :size]


def value(loss: MatryoshkaLoss, values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The loss of features, whose first numbers are the scores of classes, too."""
    scores = {f"logits_{size}": cut(values, size, loss.normalize_feature) for size in SIZES}
    result: torch.Tensor
    (result,) = loss({"features": values, "logits": values, **scores}, labels).values()
    return result


def features(count: int = len(LABELS), dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(3), dtype=dtype)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize(("name", "arguments"), SETTINGS)
def test_the_sum_over_sizes_is_the_formula(name: str, arguments: dict[str, Any], normalise: bool) -> None:
    loss = build({name: arguments}, normalize_feature=normalise).double()
    expected: Any = 0.0
    for size, weight in zip(SIZES, WEIGHTS, strict=True):
        widths = {key: size for key in ("feat_dim", "embedding_size") if key in arguments}
        first = cut(features(), size, normalise).numpy()
        expected += weight * NAIVE[name](first, LABELS.numpy(), **(arguments | widths))
    found = value(loss, features(), LABELS).detach().numpy()
    # a sample is 1e-6 from itself, where the formula has 0 (`pairwise.distances`)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize(("name", "arguments"), SETTINGS)
def test_gradient(name: str, arguments: dict[str, Any]) -> None:
    values = features().requires_grad_()

    def at(given: torch.Tensor) -> torch.Tensor:
        return value(build({name: arguments}).double(), given, LABELS)

    assert torch.autograd.gradcheck(at, values, fast_mode=True)


@pytest.mark.parametrize("make", [torch.zeros_like, torch.ones_like, lambda values: values * 1e4])
@pytest.mark.parametrize(("name", "arguments"), SETTINGS)
def test_it_is_finite(name: str, arguments: dict[str, Any], make: Any) -> None:
    values = make(features(dtype=torch.float32)).requires_grad_()
    found = value(build({name: arguments}), values, LABELS).sum()
    (gradient,) = torch.autograd.grad(found, values)
    assert torch.isfinite(found)
    assert torch.isfinite(gradient).all()


def test_half_precision_is_computed_in_float32() -> None:
    values = features(dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = value(build(TRIPLETS), values, LABELS)
    assert found.dtype is torch.float32
    torch.testing.assert_close(found, value(build(TRIPLETS), values.float(), LABELS))


def test_a_recipe_names_it_beside_others() -> None:
    section = [
        {"MatryoshkaLoss": {"weight": 0.5, "loss": TRIPLETS, "sizes": [4, 12]}},
        {"TripletLossV2": {"margin": 0.3}},
    ]
    found = build_loss(section)({"features": features()}, LABELS)
    assert list(found) == ["Matryoshka_TripletLossV2", "TripletLossV2", "loss"]
    alone = build_loss([TRIPLETS])({"features": features()[:, :4]}, LABELS)["loss"]
    torch.testing.assert_close(found["Matryoshka_TripletLossV2"], 0.5 * (alone + found["TripletLossV2"]))


@pytest.mark.parametrize("name", ["ArcMargin", "CosMargin", "CircleMargin"])
def test_scores_of_classes_are_those_of_the_first_columns(name: str) -> None:
    """The loss of a whole model against a head of each size, built of the first columns of the weight."""
    head = {"name": name, "embedding_size": 16, "class_num": 4, "margin": 0.2, "scale": 8}
    arch = {"Backbone": {"name": "Conv4", "width": 16}, "BackboneStopLayer": {"name": "flatten"}}
    model = build_model({**arch, "Head": {**head, "sizes": [4, 16]}}).train()
    labels = torch.tensor([0, 1, 2, 3, 1])
    weight = model.get_parameter("head.weight")
    outputs = model(torch.randn(5, 3, 16, 16), labels)
    assert list(outputs) == ["backbone", "features", "logits", "logits_4", "logits_16"]
    found = build_loss([{"MatryoshkaLoss": {"loss": "CELoss", "sizes": [4, 16]}}])(outputs, labels)["loss"]
    expected = torch.zeros(())
    for size in (4, 16):
        small = build_head({**head, "embedding_size": size})
        small.get_parameter("weight").data.copy_(weight[:, :size])
        logits = small.train()(outputs["features"][:, :size], labels)
        expected = expected + torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(found, expected)
    gradient = torch.autograd.grad(found, weight)[0]
    assert (gradient[:, :4].abs().sum(dim=0) > 0).all()
    assert (gradient[:, 4:].abs().sum(dim=0) > 0).all()


def test_some_sizes_a_batch_are_drawn_and_all_are_scored() -> None:
    loss = build(TRIPLETS, per_step=2)
    single = {size: build(TRIPLETS, sizes=[size], weights=[1.0]) for size in SIZES}
    parts = [
        weight * float(value(single[size], features(), LABELS))
        for size, weight in zip(SIZES, WEIGHTS, strict=True)
    ]
    pairs = {round(sum(parts) - part, 9) for part in parts}
    drawn = [round(float(value(loss, features(), LABELS)), 9) for _ in range(20)]
    assert set(drawn) == pairs
    assert float(value(loss.eval(), features(), LABELS)) == pytest.approx(sum(parts))
    resumed = build(TRIPLETS, per_step=2)
    for _ in range(7):
        value(resumed, features(), LABELS)
    other = build(TRIPLETS, per_step=2)
    other.load_state_dict(resumed.state_dict())
    assert [round(float(value(other, features(), LABELS)), 9) for _ in range(13)] == drawn[7:]


def test_each_size_has_a_memory_and_centres_of_its_own() -> None:
    loss = build({"ContrastiveLoss_XBM": {"xbm_size": 20, "embedding_size": 99, "start_iter": 0}})
    value(loss, features(dtype=torch.float32), LABELS)
    memories = [loss.get_buffer(f"terms.{index}.memory.features") for index in range(len(SIZES))]
    assert [memory.shape for memory in memories] == [(20, size) for size in SIZES]
    centres = build({"CenterLoss": {"num_classes": 4, "feat_dim": 1}})
    assert [tuple(parameter.shape) for parameter in centres.parameters()] == [(4, size) for size in SIZES]


def test_losses_of_the_library() -> None:
    pytest.importorskip("pytorch_metric_learning")
    entry = {"pml.ProxyAnchorLoss": {"num_classes": 4, "embedding_size": 12}}
    loss = build(entry)
    assert [tuple(parameter.shape) for parameter in loss.parameters()] == [(4, size) for size in SIZES]
    found = value(build("pml.MultiSimilarityLoss"), features(), LABELS)
    alone = build_loss(["pml.MultiSimilarityLoss"])
    expected = sum(
        weight * alone({"features": cut(features(), size)}, LABELS)["loss"]
        for size, weight in zip(SIZES, WEIGHTS, strict=True)
    )
    torch.testing.assert_close(found, expected)


def test_the_batch_is_handed_on() -> None:
    entry: dict[str, Any] = {"IntraDomainScatterLoss": {}}
    batch = {"domain": torch.arange(len(LABELS)) % 2}
    (found,) = build(entry)({"features": features()}, LABELS, batch).values()
    alone = build_loss([entry])
    expected = sum(
        weight * alone({"features": cut(features(), size)}, LABELS, batch)["loss"]
        for size, weight in zip(SIZES, WEIGHTS, strict=True)
    )
    torch.testing.assert_close(found, expected)


def test_soft_labels_are_those_of_the_loss() -> None:
    assert build("CELoss").takes_soft_labels
    assert not build(TRIPLETS).takes_soft_labels


@pytest.mark.parametrize(
    ("sizes", "why"), [([], " (at least one is needed)"), ([4, 4], " (4 stands twice)"), ([0], "")]
)
def test_wrong_sizes(sizes: list[int], why: str) -> None:
    expected = f"must be a list of whole numbers of at least 1, got {sizes}{why}"
    with pytest.raises(UserError) as told:
        build_loss([{"MatryoshkaLoss": {"loss": "CELoss", "sizes": sizes}}])
    assert str(told.value) == f"Loss.Train[0].MatryoshkaLoss.sizes: {expected}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": [1]}, "'weights' has 1 numbers and 'sizes' 3: give one for each size"),
        ({"per_step": 4}, "'per_step' is 4, but there are 3 sizes"),
        ({"loss": {"CELoss": {"weight": 2}}}, r"loss\.CELoss\.weight: belongs to MatryoshkaLoss, beside"),
        ({"loss": "CELos"}, r"loss: unknown loss 'CELos', did you mean 'CELoss'"),
        ({"loss": "CCSSLCELoss"}, "CCSSLCELoss does not read one feature a sample of one model"),
        ({"loss": "SoftSupConLoss"}, "SoftSupConLoss does not read one feature a sample of one model"),
        (
            {"loss": {"MatryoshkaLoss": {"loss": "CELoss", "sizes": [2]}}},
            "MatryoshkaLoss does not read one feature a sample of one model",
        ),
    ],
)
def test_what_cannot_be_wrapped(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(**{"loss": "CELoss", **arguments})


def test_what_a_model_does_not_give() -> None:
    with pytest.raises(UserError, match="'sizes' has 12, but 'features' has only 8 numbers"):
        build(TRIPLETS)({"features": features()[:, :8]}, LABELS)
    scores = {"features": features(), "logits": features(), "logits_5": features()}
    message = (
        "class scores of the first 12 numbers, which the model does not give: write the same 'sizes' at A"
    )
    with pytest.raises(UserError, match=message):
        build("CELoss")(scores, LABELS)
    with pytest.raises(
        UserError, match="CELoss reads the model's output 'logits', but the model gives 'feat"
    ):
        build("CELoss")({"features": features()}, LABELS)


def test_an_error_inside_names_its_line() -> None:
    inner = Section({"margn": 1}, Place("Loss.Train[0].MatryoshkaLoss.loss.TripletLossV2", "a.yaml", 43))
    entry = Section({"TripletLossV2": inner}, Place("Loss.Train[0].MatryoshkaLoss.loss", "a.yaml", 42))
    entry.lines["TripletLossV2"] = 43
    with pytest.raises(
        UserError, match=r"a\.yaml:43: Loss\.Train\[0\]\.M.*\.TripletLossV2: unknown argument"
    ):
        build_loss([{"MatryoshkaLoss": {"loss": entry, "sizes": [4]}}])

"""The weighted sum of losses, and what it says when a recipe is wrong."""

from __future__ import annotations

import sys

import pytest
import torch

from lookalike.core.component import Place, Section, SectionList
from lookalike.core.errors import UserError
from lookalike.loss import build_loss

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


def outputs() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {"backbone": torch.randn(6, 8), "features": torch.randn(6, 4), "logits": torch.randn(6, 3)}


def test_terms_are_weighted_and_add_up() -> None:
    combined = build_loss([{"CELoss": {"weight": 0.5, "epsilon": 0.1}}, {"TripletLossV2": {"weight": "1/4"}}])
    results = combined(outputs(), LABELS)
    assert list(results) == ["CELoss", "TripletLossV2", "loss"]
    alone = build_loss([{"CELoss": {"epsilon": 0.1}}])(outputs(), LABELS)["CELoss"]
    torch.testing.assert_close(results["CELoss"], alone * 0.5)
    torch.testing.assert_close(results["loss"], results["CELoss"] + results["TripletLossV2"])


def test_weight_of_a_lone_loss() -> None:
    section = [{"CELoss": {"weight": 0.5}}]
    half = build_loss(section)(outputs(), LABELS)
    whole = build_loss(section, reference_behaviour=True)(outputs(), LABELS)
    torch.testing.assert_close(half["loss"] * 2, whole["loss"])


def test_two_losses_of_one_name() -> None:
    section = [{"CELoss": {"weight": 1.0}}, {"CELoss": {"weight": 0.25, "epsilon": 0.1}}, "CELoss"]
    results = build_loss(section)(outputs(), LABELS)
    assert list(results) == ["CELoss", "CELoss_2", "CELoss_3", "loss"]
    torch.testing.assert_close(results["loss"], results["CELoss"] + results["CELoss_2"] + results["CELoss_3"])
    reference = build_loss(section, reference_behaviour=True)(outputs(), LABELS)
    torch.testing.assert_close(reference["loss"], results["CELoss_3"])


def test_feature_from() -> None:
    given = outputs()
    reads_backbone = build_loss([{"TripletLossV2": {"feature_from": "backbone"}}])
    renamed = {**given, "features": given["backbone"]}
    torch.testing.assert_close(
        reads_backbone(given, LABELS)["loss"], build_loss(["TripletLossV2"])(renamed, LABELS)["loss"]
    )


def test_missing_output_is_named() -> None:
    given = outputs()
    del given["logits"]
    message = (
        "CELoss reads the model's output 'logits', but the model gives 'backbone', 'features'; 'logits' come"
    )
    with pytest.raises(UserError, match=message):
        build_loss(["CELoss"])(given, LABELS)
    message = "TripletLossV2 reads the model's output 'neck', but the model gives .* set 'feature_from'"
    with pytest.raises(UserError, match=message):
        build_loss([{"TripletLossV2": {"feature_from": "neck"}}])(given, LABELS)
    with pytest.raises(
        UserError, match=r"needs 'features' as one row a sample, \(N, D\), got the shape \(6,\)"
    ):
        build_loss(["TripletLossV2"])({"features": torch.zeros(6)}, LABELS)


def test_no_loss() -> None:
    for nothing in (None, []):
        with pytest.raises(UserError, match="there is no loss to train with: list at least one under"):
            build_loss(nothing)(outputs(), LABELS)


def test_unreduced_loss() -> None:
    with pytest.raises(UserError, match="CELoss with reduction 'none' gives one value a sample"):
        build_loss([{"CELoss": {"reduction": "none"}}])(outputs(), LABELS)


def test_errors_name_the_place() -> None:
    arguments = Section({"margn": 1}, Place("Loss.Train[0].TripletLossV2", "a.yaml", 41))
    entry = Section({"TripletLossV2": arguments}, Place("Loss.Train[0]", "a.yaml", 40))
    entry.lines["TripletLossV2"] = 41
    with pytest.raises(UserError) as caught:
        build_loss(SectionList([entry], Place("Loss.Train", "a.yaml", 39)))
    assert str(caught.value) == (
        "a.yaml:41: Loss.Train[0].TripletLossV2: unknown argument 'margn', did you mean 'margin'? "
        "(accepts: margin, normalize_feature, feature_from, weight)"
    )
    with pytest.raises(UserError, match=r"Loss.Train\[1\].CEloss: unknown loss 'CEloss', did you mean 'CE"):
        build_loss(["CELoss", {"CEloss": {}}])
    with pytest.raises(
        UserError, match=r"\[0\].DMLLoss: DMLLoss compares .* as DistillationDMLLoss, or Dist"
    ):
        build_loss([{"DMLLoss": {}}])
    with pytest.raises(
        UserError, match=r"here it stands as DistillationPairLoss with base_loss_name: RKdAngle"
    ):
        build_loss(["RKdAngle"])
    with pytest.raises(UserError, match=r"Loss.Train\[0\].CELoss.weight: must be a number, got 'heavy'"):
        build_loss([{"CELoss": {"weight": "heavy"}}])
    with pytest.raises(UserError, match=r"Loss\.Train: expected a list of losses"):
        build_loss({"CELoss": {}})  # type: ignore[arg-type]


def test_recipes_of_the_reference_pass() -> None:
    build_loss([{"CELoss": {"weight": 1.0}}, {"SupConLoss": {"weight": 1.0, "views": 2}}])
    build_loss([{"PairwiseCosface": {"weight": 1.0, "margin": 0.35, "gamma": 64}}])


def test_library_losses() -> None:
    library = pytest.importorskip("pytorch_metric_learning")
    section = [
        {"pml.MultiSimilarityLoss": {"weight": 0.5, "alpha": 2, "feature_from": "backbone"}},
        {"pml.ProxyAnchorLoss": {"num_classes": 3, "embedding_size": 4}},
        {"pml.ContrastiveLoss": {"distance": {"name": "CosineSimilarity"}, "pos_margin": 1, "neg_margin": 0}},
    ]
    torch.manual_seed(1)
    combined = build_loss(section)
    results = combined(outputs(), LABELS)
    assert list(results) == ["pml.MultiSimilarityLoss", "pml.ProxyAnchorLoss", "pml.ContrastiveLoss", "loss"]
    expected = library.losses.MultiSimilarityLoss(alpha=2)(outputs()["backbone"], LABELS) * 0.5
    torch.testing.assert_close(results["pml.MultiSimilarityLoss"], expected)
    assert [tuple(parameter.shape) for parameter in combined.parameters()] == [(3, 4)]
    results["loss"].backward()
    with pytest.raises(
        UserError, match="has no MultiSimilarityLos in losses, did you mean 'MultiSimilarityLoss'"
    ):
        build_loss(["pml.MultiSimilarityLos"])
    with pytest.raises(
        UserError, match=r"pml.TripletMarginLoss: unknown argument 'margn', did you mean 'margin'"
    ):
        build_loss([{"pml.TripletMarginLoss": {"margn": 1}}])


def test_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning", None)
    message = r"pml.TripletMarginLoss needs pytorch-metric-learning, .*pip install 'lookalike\[pml\]'"
    with pytest.raises(UserError, match=message):
        build_loss(["pml.TripletMarginLoss"])


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("SupConLoss", "temperature"),
        ("SupConLoss", "base_temperature"),
        ("SoftSupConLoss", "temperature"),
        ("PairwiseCosface", "gamma"),
        ("DCHLoss", "gamma"),
        ("DistillationKLDivLoss", "temperature"),
        ("DistillationSKDLoss", "multiplier"),
    ],
)
@pytest.mark.parametrize("value", [0, -1.5])
def test_what_divides_or_scales_is_above_0(name: str, argument: str, value: float) -> None:
    with pytest.raises(UserError) as told:
        build_loss([{name: {argument: value}}])
    assert str(told.value) == f"Loss.Train[0].{name}.{argument}: must be a number above 0, got {value}"

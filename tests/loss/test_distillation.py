"""The terms that recipes for distillation list: what they compare, and how their values are named."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lookalike.core.errors import UserError
from lookalike.loss import build_loss, losses
from lookalike.loss.distillation import pair_losses

LABELS = torch.tensor([2, 0, 1, 0])
WRAPPED = {
    "DistillationDMLLoss": ("DMLLoss", {}, "DMLLoss_Student_Teacher_0"),
    "DistillationDistanceLoss": ("DistanceLoss", {"mode": "l1"}, "loss_l1_loss_l1_0"),
    "DistillationKLDivLoss": ("KLDivLoss", {"temperature": 3}, "loss_kldiv_Student_Teacher"),
    "DistillationDKDLoss": ("DKDLoss", {"alpha": 2, "beta": 0.5}, "loss_dkd_Student_Teacher"),
    "DistillationWSLLoss": ("WSLLoss", {"temperature": 3}, "wsl_loss_Student_Teacher"),
    "DistillationSKDLoss": ("SKDLoss", {"multiplier": 3}, "skd_loss_Student_Teacher"),
    "DistillationDISTLoss": ("DISTLoss", {"gamma": 3}, "loss_dist_Student_Teacher"),
}


def outputs(**more: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)

    def model() -> dict[str, Tensor]:
        sizes = {"backbone": 8, "features": 6, "logits": 3}
        return {name: torch.randn(4, size, generator=generator) for name, size in sizes.items()}

    return {"Teacher": model(), "Student": model(), **more}


def evaluate(
    section: dict[str, Any], given: dict[str, Any] | None = None, **context: Any
) -> dict[str, Tensor]:
    return losses.build(section, **context)(given or outputs(), LABELS)


@pytest.mark.parametrize("name", WRAPPED)
def test_wrapped_pair_loss(name: str) -> None:
    base, arguments, result = WRAPPED[name]
    given = outputs()
    (expected,) = pair_losses.build({base: arguments})(
        given["Student"]["logits"], given["Teacher"]["logits"], LABELS
    ).values()
    found = evaluate({name: {**arguments, "key": "logits"}})
    assert list(found) == [result]
    torch.testing.assert_close(found[result], expected)
    section = {"base_loss_name": base, "s_key": "logits", "t_key": "logits", **arguments}
    (alike,) = evaluate({"DistillationPairLoss": section}).values()
    torch.testing.assert_close(alike, expected)


def test_pairs_are_told_apart() -> None:
    pairs = [["Student", "Teacher"], ["Teacher", "Student"]]
    found = evaluate({"DistillationKLDivLoss": {"model_name_pairs": pairs, "key": "logits"}})
    assert list(found) == ["loss_kldiv_Student_Teacher", "loss_kldiv_Teacher_Student"]
    assert not torch.isclose(*found.values())


def test_cross_entropy_with_the_teacher() -> None:
    """Its probabilities are the labels, smoothed where that is asked; the reference smooths its logits."""
    given = outputs()
    logits, teacher = given["Student"]["logits"], given["Teacher"]["logits"]
    for epsilon in (None, 0.3):
        terms = []
        for s, t in zip(logits, teacher, strict=True):
            wanted = (1 - (epsilon or 0)) * t.softmax(0) + (epsilon or 0) / 3
            terms.append(-sum(w * p for w, p in zip(wanted, s.log_softmax(0), strict=True)))
        section = {"DistillationCELoss": {"key": "logits", "epsilon": epsilon}}
        (found,) = evaluate(section).values()
        torch.testing.assert_close(found, torch.stack(terms).mean())
        (reference,) = evaluate(section, reference_behaviour=True).values()
        assert bool(torch.isclose(found, reference)) is (epsilon is None)


def test_cross_entropy_with_the_labels_of_each_model() -> None:
    given = outputs()
    section = {
        "DistillationGTCELoss": {"model_names": ["Student", "Teacher"], "key": "logits", "epsilon": 0.1}
    }
    found = evaluate(section)
    assert list(found) == ["CELoss_Student", "CELoss_Teacher"]
    for model in ("Student", "Teacher"):
        alone = evaluate({"CELoss": {"epsilon": 0.1}}, given[model])["CELoss"]
        torch.testing.assert_close(found[f"CELoss_{model}"], alone)


def test_relations_of_several_outputs() -> None:
    keys = {"student_keepkeys": ["features", "backbone"], "teacher_keepkeys": ["backbone", "backbone"]}
    found = evaluate({"DistillationRKDLoss": keys})
    assert list(found) == [
        f"loss_{kind}_{index}_Student_Teacher" for index in (0, 1) for kind in ("angle", "dist")
    ]
    given = outputs()
    alone = pair_losses.build("RKdAngle")(given["Student"]["features"], given["Teacher"]["backbone"])["loss"]
    torch.testing.assert_close(found["loss_angle_0_Student_Teacher"], alone)
    with pytest.raises(UserError, match="student_keepkeys names 1 outputs and teacher_keepkeys 2"):
        losses.build({"DistillationRKDLoss": {**keys, "student_keepkeys": ["features"]}})


def test_layers_of_a_pair_loss_train() -> None:
    section = {"base_loss_name": "PEFDLoss", "s_key": "features", "t_key": "backbone"}
    loss = build_loss([{"DistillationPairLoss": {**section, "student_channel": 6, "teacher_channel": 8}}])
    assert len(list(loss.parameters())) == 6
    loss(outputs(), LABELS)["loss"].backward()
    assert all(parameter.grad is not None for parameter in loss.parameters())


def test_only_the_first_of_a_lone_loss_counts_in_the_reference() -> None:
    section = [{"DistillationRKDLoss": {"weight": 2.0}}]
    ours = build_loss(section)(outputs(), LABELS)
    reference = build_loss(section, reference_behaviour=True)(outputs(), LABELS)
    angle, dist = (f"loss_{kind}_0_Student_Teacher" for kind in ("angle", "dist"))
    torch.testing.assert_close(ours["loss"], ours[angle] + ours[dist])
    torch.testing.assert_close(reference["loss"], ours[angle] / 2)


def test_what_is_missing_is_named() -> None:
    plain = outputs()["Student"]
    with pytest.raises(
        UserError, match="reads the model 'Student', but Arch gives 'backbone', 'features', 'lo"
    ):
        evaluate({"DistillationDMLLoss": {"key": "logits"}}, plain)
    with pytest.raises(UserError, match="reads 'neck' of the model 'Student', which gives 'backbone', 'feat"):
        evaluate({"DistillationDMLLoss": {"key": "neck"}})
    with pytest.raises(UserError, match="set 'key' to one of these"):
        evaluate({"DistillationDMLLoss": {}})
    with pytest.raises(UserError, match="unknown loss between two models 'MGLoss', did you mean 'MGDLoss'"):
        losses.build({"DistillationPairLoss": {"base_loss_name": "MGLoss"}})
    with pytest.raises(UserError, match=r"unknown argument 'temperatur', did you mean 'temperature'"):
        losses.build({"DistillationPairLoss": {"base_loss_name": "KLDivLoss", "temperatur": 2}})

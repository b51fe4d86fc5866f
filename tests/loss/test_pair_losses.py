"""Losses between a student's and a teacher's output against their formulas, and who gets a gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lookalike.core.errors import UserError
from lookalike.loss.distillation import PairLoss, pair_losses
from tests.loss.naive_distillation import NAIVE

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("DistanceLoss", {"mode": "l1"}),
    ("DistanceLoss", {"mode": "l2", "reduction": "sum"}),
    ("DistanceLoss", {"mode": "smooth_l1", "delta": 0.4}),
    ("KLDivLoss", {}),
    ("DMLLoss", {}),
    ("DMLLoss", {"act": "sigmoid", "sum_across_class_dim": True}),
    ("DKDLoss", {"temperature": 2.0, "alpha": 0.5, "beta": 3.0}),
    ("DKDLoss", {"use_target_as_gt": True}),
    ("SKDLoss", {"temperature": 3.0, "multiplier": 1.5, "alpha": 0.3}),
    ("SKDLoss", {"use_target_as_gt": True}),
    ("WSLLoss", {"temperature": 3.0}),
    ("DISTLoss", {"beta": 0.5, "gamma": 2.0}),
    ("RKdAngle", {}),
    ("RkdDistance", {}),
]
WITH_LAYERS: list[tuple[str, dict[str, Any]]] = [
    ("PEFDLoss", {"student_channel": 6, "teacher_channel": 6}),
    ("MGDLoss", {"student_channels": 6, "teacher_channels": 6}),
]
OWN_TARGET = {"KLDivLoss", "DKDLoss"}
"""Those whose teacher never gets a gradient."""

LABELS = torch.tensor([2, 0, 5, 0, 1])


def build(name: str, arguments: dict[str, Any], **context: Any) -> PairLoss:
    torch.manual_seed(0)
    return pair_losses.build({name: arguments}, **context)


def outputs(seed: int = 0, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 5, 6, generator=generator, dtype=torch.float64).unbind()
    return student.to(**options).requires_grad_(), teacher.to(**options).requires_grad_()


def evaluate(loss: PairLoss, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    (value,) = loss(student, teacher, LABELS).values()
    return value


def test_every_pair_loss_is_here() -> None:
    assert {entry.name for entry in pair_losses} == {name for name, _ in SETTINGS + WITH_LAYERS}
    assert {name for name, _ in SETTINGS} == set(NAIVE)


@pytest.mark.parametrize(("name", "arguments"), SETTINGS)
def test_value_is_the_formula(name: str, arguments: dict[str, Any]) -> None:
    student, teacher = outputs()
    value = evaluate(build(name, arguments), student, teacher)
    expected = NAIVE[name](student.detach().numpy(), teacher.detach().numpy(), LABELS.numpy(), **arguments)
    assert value.item() == pytest.approx(expected, rel=1e-7)  # correlations have a 1e-8 in their denominator
    if name != "WSLLoss":  # its weights count as constants
        assert torch.autograd.gradcheck(lambda s: evaluate(build(name, arguments), s, teacher), student)


@pytest.mark.parametrize(("name", "arguments"), SETTINGS + WITH_LAYERS)
def test_gradients(name: str, arguments: dict[str, Any]) -> None:
    """A teacher that trains gets a gradient, except where it is the target; a frozen one has none to get."""
    loss = build(name, arguments)
    student, teacher = outputs(dtype=torch.float32)
    evaluate(loss, student, teacher).backward()
    assert student.grad is not None
    assert student.grad.any()
    assert (teacher.grad is not None and bool(teacher.grad.any())) is (name not in OWN_TARGET)
    evaluate(loss, student, teacher.detach()).backward()
    assert all(p.grad is not None and p.grad.any() for p in loss.parameters())


@pytest.mark.parametrize(("name", "arguments"), SETTINGS + WITH_LAYERS)
@pytest.mark.parametrize("make", ["zeros", "identical", "equal to the teacher", "large", "half"])
def test_finite(name: str, arguments: dict[str, Any], make: str) -> None:
    student, teacher = (output.detach() for output in outputs(dtype=torch.float32))
    if make == "zeros":
        student = torch.zeros_like(student)
    elif make == "identical":
        student = student[:1].repeat(5, 1)
    elif make == "equal to the teacher":
        student = teacher.clone()
    elif make == "large":
        student, teacher = student * 100, teacher * 100
    else:
        student, teacher = student.half(), teacher.half()
    student, teacher = student.requires_grad_(), teacher.requires_grad_()
    value = evaluate(build(name, arguments), student, teacher)
    value.backward()
    assert value.dtype is torch.float32
    assert value.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert teacher.grad is None or teacher.grad.isfinite().all()


@pytest.mark.parametrize("name", ["DKDLoss", "SKDLoss", "WSLLoss"])
def test_right_class_is_the_label(name: str) -> None:
    """The reference's flag means the teacher's most probable class; without labels there is nothing else."""
    student, teacher = outputs()
    of_teacher = build(name, {})(student, teacher, teacher.argmax(dim=1))["loss"]
    ours = build(name, {"use_target_as_gt": True})(student, teacher, LABELS)["loss"]
    reference = build(name, {"use_target_as_gt": True}, reference_behaviour=True)(student, teacher, LABELS)
    torch.testing.assert_close(ours, build(name, {})(student, teacher, LABELS)["loss"])
    torch.testing.assert_close(reference["loss"], of_teacher)
    torch.testing.assert_close(build(name, {})(student, teacher)["loss"], of_teacher)
    assert not torch.isclose(ours, of_teacher)


def test_projections_of_the_student() -> None:
    """Each layer's projection, cut at 0 and averaged, by hand; maps are averaged first or laid flat."""
    channels = {"student_channel": 6, "teacher_channel": 6}
    loss = build("PEFDLoss", {**channels, "num_projectors": 2}).double()
    student, teacher = (output.detach() for output in outputs())
    cosines = []
    for s, t in zip(student, teacher, strict=True):
        projected = sum((layer.weight @ s + layer.bias).clamp_min(0) for layer in loss.projectors) / 2
        cosines.append(projected @ t / projected.norm() / t.norm())
    expected = 1 - torch.stack(cosines).mean()
    torch.testing.assert_close(evaluate(loss, student, teacher), expected)
    torch.testing.assert_close(evaluate(loss, student[..., None, None], teacher[..., None, None]), expected)
    pooled = build(
        "PEFDLoss", {"student_channel": 6, "teacher_channel": 6, "num_projectors": 2, "mode": "gap"}
    )
    pooled.load_state_dict(loss.state_dict())
    maps = [output[..., None, None].repeat(1, 1, 3, 2) for output in (student, teacher)]
    torch.testing.assert_close(evaluate(pooled.double(), *maps), expected)


def test_masked_channels_are_regenerated() -> None:
    loss = build("MGDLoss", {"student_channels": 4, "teacher_channels": 6, "lambda_mgd": 0.0}).double()
    student, teacher = torch.randn(2, 4, 3, 3, dtype=torch.float64), torch.randn(2, 6, 3, 3).double()
    (value,) = loss(student, teacher).values()
    regenerated = loss.generation(loss.align(student))
    torch.testing.assert_close(value, 1.756 * (regenerated - teacher).square().mean())
    masked = build("MGDLoss", {"student_channels": 4, "teacher_channels": 6, "lambda_mgd": 1.0}).double()
    nothing = masked.generation(torch.zeros_like(teacher))
    torch.testing.assert_close(masked(student, teacher)["loss"], 1.756 * (nothing - teacher).square().mean())


def test_outputs_that_cannot_be_compared() -> None:
    with pytest.raises(UserError, match=r"KLDivLoss compares outputs of one shape, but the .* \(5, 6\)"):
        evaluate(build("KLDivLoss", {}), torch.zeros(5, 6), torch.zeros(5, 7))
    with pytest.raises(UserError, match="RKdAngle compares outputs of one batch"):
        evaluate(build("RKdAngle", {}), torch.zeros(5, 6), torch.zeros(4, 7))
    with pytest.raises(UserError, match="MGDLoss compares maps of one size"):
        evaluate(build(*WITH_LAYERS[1]), torch.zeros(5, 6, 2, 2), torch.zeros(5, 6, 3, 3))
    with pytest.raises(UserError, match="num_projectors must be at least 1, got 0"):
        build("PEFDLoss", {"student_channel": 6, "teacher_channel": 6, "num_projectors": 0})

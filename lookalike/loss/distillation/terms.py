"""What a recipe for distillation lists under `Loss.Train`.

Each is a pair loss between models of a DistillationModel (`model_name_pairs`, by default Student and
Teacher) on the output `key`. A teacher that is frozen has no gradient to get; one that trains gets that of
the pair loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number, Positive
from lookalike.loss.base import Term
from lookalike.loss.cross_entropy import CELoss
from lookalike.loss.distillation.between_models import BetweenModels, Pairs, read_of_model
from lookalike.loss.distillation.correlation import DISTLoss
from lookalike.loss.distillation.distance import DistanceLoss, Mode
from lookalike.loss.distillation.divergence import DMLLoss, KLDivLoss, TeacherCrossEntropy
from lookalike.loss.distillation.pair import pair_losses
from lookalike.loss.distillation.relations import RKdAngle, RkdDistance
from lookalike.loss.distillation.soft_labels import DKDLoss, SKDLoss, WSLLoss
from lookalike.loss.registries import losses

_UNUSED_NAME = {"name": "the values are named after the loss and the pair, as in the reference"}


@losses.register("DistillationCELoss", swallows=_UNUSED_NAME)
class DistillationCELoss(BetweenModels):
    """Cross entropy of the student's logits with the teacher's probabilities as soft labels.

    See `TeacherCrossEntropy`.
    """

    def __init__(
        self,
        model_name_pairs: Pairs | None = None,
        epsilon: Number | None = None,
        key: str | None = None,
        reference_behaviour: bool = False,
    ) -> None:
        super().__init__(TeacherCrossEntropy(epsilon, reference_behaviour), model_name_pairs, key, key)


@losses.register("DistillationGTCELoss", swallows=_UNUSED_NAME)
class DistillationGTCELoss(Term):
    """CELoss of each named model with the labels; without `key` that of its logits.

    The values are told as `CELoss_Student` and so on.
    """

    def __init__(
        self,
        model_names: list[str],
        epsilon: Number | None = None,
        key: str | None = None,
        reference_behaviour: bool = False,
    ) -> None:
        super().__init__()
        self.loss = CELoss(epsilon, reference_behaviour=reference_behaviour)
        self.model_names = model_names
        self.key = key

    def forward(
        self, outputs: Mapping[str, Any], labels: Tensor, batch: Mapping[str, Any] | None = None
    ) -> dict[str, Tensor]:
        results = {}
        for model in self.model_names:
            logits = read_of_model(outputs, model, self.key or "logits", type(self).__name__)
            for value, number in self.loss({"logits": logits}, labels).items():
                results[f"{value}_{model}"] = number
        return results


@losses.register("DistillationDMLLoss", swallows=_UNUSED_NAME)
class DistillationDMLLoss(BetweenModels):
    """Deep mutual learning between models that both train. See `DMLLoss`."""

    result_name = "{value}_{student}_{teacher}_{index}"

    def __init__(
        self,
        model_name_pairs: Pairs | None = None,
        act: Literal["softmax", "sigmoid"] | None = "softmax",
        sum_across_class_dim: bool = False,
        key: str | None = None,
    ) -> None:
        super().__init__(DMLLoss(act, sum_across_class_dim), model_name_pairs, key, key)


@losses.register("DistillationDistanceLoss")
class DistillationDistanceLoss(BetweenModels):
    """The distance of two outputs, after softmax or sigmoid where `act` says so. See `DistanceLoss`."""

    def __init__(
        self,
        mode: Mode = "l2",
        model_name_pairs: Pairs | None = None,
        act: Literal["softmax", "sigmoid"] | None = None,
        key: str | None = None,
        name: str = "loss_",
        reduction: Literal["mean", "sum"] = "mean",
        delta: Number = 1.0,
    ) -> None:
        super().__init__(DistanceLoss(mode, reduction, delta), model_name_pairs, key, key)
        self.result_name = f"{name}{mode}_{{value}}_{{index}}"
        self.act = act

    def activated(self, output: Tensor) -> Tensor:
        if self.act is None:
            return output
        return output.softmax(dim=-1) if self.act == "softmax" else output.sigmoid()


@losses.register("DistillationRKDLoss")
class DistillationRKDLoss(Term):
    """Relational distillation by angles and distances, on pairs of outputs. See `RKdAngle` and `RkdDistance`.

    The outputs are paired in order: the first of `student_keepkeys` with the first of `teacher_keepkeys`.
    Raises UserError when these differ in number.
    """

    def __init__(
        self,
        target_size: int | None = None,
        model_name_pairs: Pairs | None = None,
        student_keepkeys: list[str] | None = None,
        teacher_keepkeys: list[str] | None = None,
    ) -> None:
        super().__init__()
        student_keys, teacher_keys = student_keepkeys or ["features"], teacher_keepkeys or ["features"]
        if len(student_keys) != len(teacher_keys):
            raise UserError(
                f"DistillationRKDLoss: student_keepkeys names {len(student_keys)} outputs and "
                f"teacher_keepkeys {len(teacher_keys)}; they are paired in order"
            )
        self.parts = nn.ModuleList()
        for index, (student_key, teacher_key) in enumerate(zip(student_keys, teacher_keys, strict=True)):
            for kind, loss in (
                ("angle", RKdAngle(target_size)),
                ("dist", RkdDistance(target_size=target_size)),
            ):
                part = BetweenModels(loss, model_name_pairs, student_key, teacher_key)
                part.result_name = f"loss_{kind}_{index}_{{student}}_{{teacher}}"
                self.parts.append(part)

    def forward(
        self, outputs: Mapping[str, Any], labels: Tensor, batch: Mapping[str, Any] | None = None
    ) -> dict[str, Tensor]:
        return {name: value for part in self.parts for name, value in part(outputs, labels).items()}


@losses.register("DistillationKLDivLoss", swallows=_UNUSED_NAME)
class DistillationKLDivLoss(BetweenModels):
    """Hinton's distillation of softened probabilities. See `KLDivLoss`."""

    def __init__(
        self, model_name_pairs: Pairs | None = None, temperature: Positive = 4.0, key: str | None = None
    ) -> None:
        super().__init__(KLDivLoss(temperature), model_name_pairs, key, key)


@losses.register("DistillationDKDLoss")
class DistillationDKDLoss(BetweenModels):
    """Decoupled knowledge distillation. See `DKDLoss`."""

    def __init__(
        self,
        model_name_pairs: Pairs | None = None,
        key: str | None = None,
        temperature: Positive = 1.0,
        alpha: Number = 1.0,
        beta: Number = 1.0,
        use_target_as_gt: bool = False,
        name: str = "loss_dkd",
        reference_behaviour: bool = False,
    ) -> None:
        loss = DKDLoss(temperature, alpha, beta, use_target_as_gt, reference_behaviour)
        super().__init__(loss, model_name_pairs, key, key)
        self.result_name = f"{name}_{{student}}_{{teacher}}"


@losses.register("DistillationWSLLoss")
class DistillationWSLLoss(BetweenModels):
    """Weighted soft labels. See `WSLLoss`."""

    def __init__(
        self,
        model_name_pairs: Pairs | None = None,
        key: str | None = None,
        temperature: Positive = 2.0,
        name: str = "wsl_loss",
    ) -> None:
        super().__init__(WSLLoss(temperature), model_name_pairs, key, key)
        self.result_name = f"{name}_{{student}}_{{teacher}}"


@losses.register("DistillationSKDLoss")
class DistillationSKDLoss(BetweenModels):
    """Spherical knowledge distillation. See `SKDLoss`."""

    def __init__(
        self,
        model_name_pairs: Pairs | None = None,
        key: str | None = None,
        temperature: Positive = 1.0,
        multiplier: Positive = 2.0,
        alpha: Number = 0.9,
        use_target_as_gt: bool = False,
        name: str = "skd_loss",
        reference_behaviour: bool = False,
    ) -> None:
        loss = SKDLoss(temperature, multiplier, alpha, use_target_as_gt, reference_behaviour)
        super().__init__(loss, model_name_pairs, key, key)
        self.result_name = f"{name}_{{student}}_{{teacher}}"


@losses.register("DistillationDISTLoss")
class DistillationDISTLoss(BetweenModels):
    """Distillation from a stronger teacher by correlation. See `DISTLoss`."""

    def __init__(
        self,
        model_name_pairs: Pairs | None = None,
        key: str | None = None,
        beta: Number = 1.0,
        gamma: Number = 1.0,
        name: str = "loss_dist",
    ) -> None:
        super().__init__(DISTLoss(beta, gamma), model_name_pairs, key, key)
        self.result_name = f"{name}_{{student}}_{{teacher}}"


@losses.register("DistillationPairLoss")
class DistillationPairLoss(BetweenModels):
    """The pair loss `base_loss_name` between two outputs: `s_key` of the student and `t_key` of the teacher.

    All other arguments are its own. It may be DistanceLoss, KLDivLoss, DMLLoss, DKDLoss, SKDLoss, WSLLoss,
    DISTLoss, RKdAngle, RkdDistance, PEFDLoss or MGDLoss; the last two have weights of their own, which train
    with the student. Raises UserError for another name or argument.
    """

    def __init__(
        self,
        base_loss_name: str,
        model_name_pairs: Pairs | None = None,
        s_key: str | None = None,
        t_key: str | None = None,
        name: str = "loss",
        reference_behaviour: bool = False,
        **arguments: Any,
    ) -> None:
        loss = pair_losses.build({base_loss_name: arguments}, reference_behaviour=reference_behaviour)
        super().__init__(loss, model_name_pairs, s_key, t_key)
        bare = loss.output_key == "loss"
        self.result_name = f"{name}_{{index}}_{{student}}_{{teacher}}{'' if bare else '_{value}'}"

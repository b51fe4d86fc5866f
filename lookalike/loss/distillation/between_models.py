"""A pair loss laid between the models of a DistillationModel, and reading their outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from lookalike.core.errors import UserError
from lookalike.loss.base import Term
from lookalike.loss.distillation.pair import PairLoss

Pairs = list[tuple[str, str]]
"""Names of a student and a teacher, as many times as there are losses."""

STUDENT_AND_TEACHER = ("Student", "Teacher")


class BetweenModels(Term):
    """A pair loss between `outputs[student][student_key]` and `outputs[teacher][teacher_key]` for each pair.

    `outputs` is what a DistillationModel gives: the outputs of each of its models, by its name. The values
    are named as in the reference: `result_name` with the names of the pair, its index and the `value` of the
    pair loss put in.
    """

    result_name = "{value}_{student}_{teacher}"

    def __init__(
        self,
        loss: PairLoss,
        pairs: Sequence[tuple[str, str]] | None,
        student_key: str | None,
        teacher_key: str | None,
    ) -> None:
        super().__init__()
        self.loss = loss
        self.pairs = list(pairs) if pairs is not None else [STUDENT_AND_TEACHER]
        self.student_key = student_key
        self.teacher_key = teacher_key

    def forward(
        self, outputs: Mapping[str, Any], labels: Tensor, batch: Mapping[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """The value of each pair. Raises UserError for a model or an output that is not there."""
        results = {}
        reader = type(self).__name__
        for index, (student, teacher) in enumerate(self.pairs):
            given = self.loss(
                self.activated(read_of_model(outputs, student, self.student_key, reader)),
                self.activated(read_of_model(outputs, teacher, self.teacher_key, reader)),
                labels,
            )
            for value, number in given.items():
                name = self.result_name.format(value=value, student=student, teacher=teacher, index=index)
                results[name] = number
        return results

    def activated(self, output: Tensor) -> Tensor:
        """What the pair loss is given of an output: here the output."""
        return output


def read_of_model(outputs: Mapping[str, Any], model: str, key: str | None, reader: str) -> Tensor:
    """The output `key` of one of several models; without a key the output of a model that gives only one.

    Raises UserError that names what there is.
    """
    of_model = outputs.get(model)
    if of_model is None:
        raise UserError(
            f"{reader} reads the model '{model}', but Arch gives {_listed(outputs)}; the models of a "
            "DistillationModel have their names from Arch.models"
        )
    value = of_model if isinstance(of_model, Tensor) else of_model.get(key)
    if not isinstance(value, Tensor):
        advice = "set 'key' to one of these" if key is None else "it has no such output"
        raise UserError(
            f"{reader} reads '{key}' of the model '{model}', which gives {_listed(of_model)}; {advice}"
        )
    return value


def _listed(outputs: Mapping[str, Any]) -> str:
    return ", ".join(f"'{name}'" for name, output in outputs.items() if output is not None) or "nothing"

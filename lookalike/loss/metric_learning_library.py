"""Losses of pytorch-metric-learning, named `pml.<Name>` in a recipe. An optional extra."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor

from lookalike.core.component import Component
from lookalike.core.errors import did_you_mean, missing_extra, nearest_or_all
from lookalike.loss.base import Loss

PREFIX = "pml."
_PARTS = {"distance": "distances", "reducer": "reducers", "embedding_regularizer": "regularizers"}


class LibraryLoss(Loss):
    """A loss of pytorch-metric-learning on one output of the model.

    Musgrave, Belongie, Lim, PyTorch Metric Learning, 2020, https://arxiv.org/abs/2008.09164.

    Arguments go to the class of that name in `pytorch_metric_learning.losses`; `distance`, `reducer` and
    `embedding_regularizer` may be components of that library (`distance: {name: CosineSimilarity}`).
    `feature_from` (default features) is ours. Losses with weights of their own (ProxyAnchorLoss, ArcFaceLoss,
    …) train them with the model.

    Raises UserError when the library is not installed, or has no such loss or argument.
    """

    def __init__(self, component: Component) -> None:
        arguments = {name: value for name, value in component.arguments.items() if name != "weight"}
        super().__init__(str(arguments.pop("feature_from", "features")))
        self.output_key = component.name
        for argument, module in _PARTS.items():
            if arguments.get(argument) is not None:
                part = Component.of(arguments[argument], f"{component.place}.{argument}")
                arguments[argument] = _build(module, part, part.arguments)
        self.loss = _build("losses", component, arguments)

    def value(self, values: Tensor, labels: Tensor) -> Tensor:
        result: Tensor = self.loss(values, labels)
        return result


def _build(module_name: str, component: Component, arguments: dict[str, Any]) -> Any:
    try:
        import pytorch_metric_learning
        from pytorch_metric_learning import distances, losses, reducers, regularizers
    except ImportError:
        raise missing_extra(
            "pytorch-metric-learning", "pml", f"{component.place}: {component.name}"
        ) from None
    module = {"losses": losses, "distances": distances, "reducers": reducers, "regularizers": regularizers}[
        module_name
    ]
    classes = {n: c for n, c in vars(module).items() if inspect.isclass(c) and not n.startswith("_")}
    name = component.name.removeprefix(PREFIX)
    if name not in classes:
        raise component.place.error(
            f"pytorch-metric-learning {pytorch_metric_learning.__version__} has no {name} in {module_name}"
            f"{nearest_or_all(name, classes, 'the documentation of pytorch-metric-learning')}"
        )
    accepted = _accepted(classes[name])
    for argument in arguments:
        if argument not in accepted:
            raise component.place.error(
                f"unknown argument '{argument}'{did_you_mean(argument, accepted) or '.'} "
                f"(accepts: {', '.join(accepted)})"
            )
    try:
        return classes[name](**arguments)
    except (TypeError, ValueError, AssertionError) as error:
        raise component.place.error(f"pytorch-metric-learning refuses these arguments: {error}") from error


def _accepted(built: type) -> list[str]:
    """Arguments of a class and of those it hands its `**kwargs` on to."""
    accepted: list[str] = []
    for ancestor in built.__mro__:
        initialiser = vars(ancestor).get("__init__")
        if initialiser is None:
            continue
        parameters = inspect.signature(initialiser).parameters.values()
        accepted += [
            p.name
            for p in parameters
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"
        ]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return list(dict.fromkeys(accepted))

"""The optimizers by name: their arguments, how they decay, and the torch optimizer behind each."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lookalike.core.component import Place
from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.core.registry import Registry
from lookalike.training.parameter_groups import Named, Settings

Groups = list[dict[str, Any]]
Decay = tuple[str, float]

_MASTER_WEIGHTS = {"multi_precision": "weights and optimizer state are always float32 here"}


@dataclass(kw_only=True)
class Rule(ABC):
    """What all optimizers take.

    - `weight_decay`: a coefficient; `regularizer`: `{name: L2, coeff: 1.e-5}` or L1, which wins over
      weight_decay. Both are coupled (a term added to the gradient) for all but AdamW, as in the reference.
      Biases and norms are decayed too.
    - `no_weight_decay_name`: parts of parameter names, separated by spaces, that are not decayed;
      `one_dim_param_no_weight_decay`: nor are biases and norms.
    - `clip_norm`: the gradient of each tensor is scaled down to this norm, before the decay term is added
      (the reference's). `grad_clip` is an object there, which a recipe cannot hold: nothing is taken.
    - Ours: `clip_grad_norm` scales all gradients of the optimizer together to this global norm; `layer_decay`
      multiplies the rate with itself for each layer further from the head; `backbone_lr_multiplier`
      multiplies that of the backbone.
    """

    weight_decay: Number | None = None
    regularizer: Any = None
    no_weight_decay_name: str | None = None
    one_dim_param_no_weight_decay: bool = False
    clip_norm: Number | None = None
    clip_grad_norm: Number | None = None
    grad_clip: Any = None
    layer_decay: Number | None = None
    backbone_lr_multiplier: Number = 1.0
    reference_behaviour: bool = False

    groups_undo_decay: ClassVar[bool] = False
    """Whether in the reference, once a name is exempt, nothing is decayed at all."""

    def __post_init__(self) -> None:
        for argument in ("clip_norm", "clip_grad_norm", "layer_decay"):
            value = getattr(self, argument)
            if value is not None and value <= 0:
                raise UserError(f"Optimizer: {argument} must be above 0, got {value}")
        if self.grad_clip is not None:
            raise UserError(
                f"Optimizer: grad_clip is an object in the reference, which a recipe cannot hold, got "
                f"{self.grad_clip!r}: write clip_norm (each tensor) or clip_grad_norm (all together)"
            )

    @abstractmethod
    def make(self, groups: Groups) -> torch.optim.Optimizer:
        """The torch optimizer; its rate is set by the schedule."""

    def settings(self, named: Named, model: nn.Module, place: Place) -> list[Settings]:
        """Decay and rate of each parameter. Raises UserError for arguments that do not fit to the model."""
        decay = self.decay(place)
        multipliers = self.multipliers(named, model, place)
        found = []
        for name, parameter in named:
            exempt = self.is_exempt(name, parameter)
            own: Decay | None = getattr(parameter, "regularizer", None)
            found.append(
                Settings(
                    lr_multiplier=multipliers[name], **self.decay_of(own, ("L2", 0.0) if exempt else decay)
                )
            )
        return found

    def decay(self, place: Place) -> Decay:
        """Kind and coefficient that the section asks for."""
        if self.regularizer is not None:
            return regularizers.build(self.regularizer, f"{place}.regularizer")
        return "L2", self.weight_decay or 0.0

    def is_exempt(self, name: str, parameter: nn.Parameter) -> bool:
        named = (self.no_weight_decay_name or "").split()
        if self.reference_behaviour and self.groups_undo_decay:
            return bool(named)
        return any(part in name for part in named) or (
            self.one_dim_param_no_weight_decay and parameter.dim() == 1
        )

    def decay_of(self, own: Decay | None, section: Decay) -> dict[str, float]:
        """Settings of a parameter with a regularizer of its own, or else the section's."""
        kind, coefficient = own or section
        return {"added_l1": coefficient} if kind == "L1" else {"weight_decay": coefficient}

    def multipliers(self, named: Named, model: nn.Module, place: Place) -> dict[str, float]:
        """What multiplies the rate of each parameter."""
        layers = self._layer_multipliers(model, place) if self.layer_decay is not None else {}
        if self.backbone_lr_multiplier != 1 and not any(name.startswith("backbone.") for name, _ in named):
            raise place.at("backbone_lr_multiplier").error("none of the parameters belongs to a backbone")
        found = {}
        for name, parameter in named:
            found[name] = float(getattr(parameter, "lr_multiplier", 1.0)) * layers.get(name, 1.0)
            if name.startswith("backbone."):
                found[name] *= self.backbone_lr_multiplier
        return found

    def _layer_multipliers(self, model: nn.Module, place: Place) -> dict[str, float]:
        layer_groups = getattr(model, "layer_groups", None)
        if layer_groups is None:
            raise place.at("layer_decay").error(
                f"{type(model).__name__} does not tell the order of its layers"
            )
        layers: list[list[str]] = list(layer_groups())
        assert self.layer_decay is not None
        return {
            name: self.layer_decay ** (len(layers) - 1 - i)
            for i, names in enumerate(layers)
            for name in names
        }

    def before_step(self, groups: Groups, tensors: list[Tensor]) -> None:
        """Clip the gradients, then add the decay terms that the torch optimizer does not know."""
        for tensor in tensors:
            _lay_out_alike(tensor)
        gradients = [tensor.grad for tensor in tensors if tensor.grad is not None]
        with torch.no_grad():
            if self.clip_norm is not None:
                _clip_each(gradients, self.clip_norm)
            if self.clip_grad_norm is not None:
                torch.nn.utils.clip_grad_norm_(tensors, self.clip_grad_norm)
            for group in groups:
                if group["added_l1"] or group["added_l2"] or group["early_decay"]:
                    _add_terms(group)


def _same_layout(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one shape run through memory alike; strides of size 1 mean nothing."""
    return one.stride() == other.stride() or all(
        a == b for a, b, size in zip(one.stride(), other.stride(), one.shape, strict=True) if size != 1
    )


def _lay_out_alike(parameter: Tensor) -> None:
    # fused kernels walk weight, gradient and state as flat memory, and mix them up where a
    # channels-last weight has a gradient in another order
    gradient = parameter.grad
    if gradient is not None and not _same_layout(gradient, parameter):
        parameter.grad = torch.empty_like(parameter).copy_(gradient)


def _clip_each(gradients: list[Tensor], limit: float) -> None:
    norms = torch.stack(torch._foreach_norm(gradients)) if len({g.device for g in gradients}) == 1 else None
    if norms is None:
        for gradient in gradients:
            gradient.mul_(limit / gradient.norm().clamp_min(limit))
        return
    torch._foreach_mul_(gradients, list((limit / norms.clamp_min(limit)).unbind()))


def _add_terms(group: dict[str, Any]) -> None:
    parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
    gradients = [parameter.grad for parameter in parameters]
    if not parameters:
        return
    if group["added_l1"]:
        torch._foreach_add_(gradients, torch._foreach_sign(parameters), alpha=group["added_l1"])
    if group["added_l2"]:
        torch._foreach_add_(gradients, parameters, alpha=group["added_l2"])
    if group["early_decay"]:
        torch._foreach_mul_(parameters, 1 - group["lr"] / group["lr_multiplier"] * group["early_decay"])


def _fused(groups: Groups) -> bool:
    """Whether torch's fused step, one pass over memory, knows where these parameters lie."""
    return all(
        p.device.type in ("cpu", "cuda") and p.is_floating_point() for g in groups for p in g["params"]
    )


regularizers: Registry[Decay] = Registry("regularizer")
optimizers: Registry[Rule] = Registry("optimizer")
"""Names in the Optimizer section of a recipe."""


def _regularizer(kind: str) -> Callable[[Number], Decay]:
    def regularizer(coeff: Number = 0.0) -> Decay:
        return kind, coeff

    return regularizer


regularizers.register("L2", "L2Decay")(_regularizer("L2"))
regularizers.register("L1", "L1Decay")(_regularizer("L1"))


@optimizers.register("SGD", swallows=_MASTER_WEIGHTS)
@dataclass(kw_only=True)
class SGD(Rule):
    """p -= lr (g + decay)."""

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, lr=0.0, fused=_fused(groups))


@optimizers.register("Momentum", swallows=_MASTER_WEIGHTS)
@dataclass(kw_only=True)
class Momentum(Rule):
    """v = momentum v + g + decay; p -= lr v, or with `use_nesterov` p -= lr (g + decay + momentum v).

    The reference, once `no_weight_decay_name` is set, decays no parameter at all, and ignores
    `one_dim_param_no_weight_decay` without it; `reference_behaviour=True` does the same.
    """

    momentum: Number = 0.9
    use_nesterov: bool = False
    groups_undo_decay: ClassVar[bool] = True

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        optimizer = torch.optim.SGD(
            groups, lr=0.0, momentum=self.momentum, nesterov=self.use_nesterov, fused=_fused(groups)
        )
        # the fused step allocates v and fills it at its first update, also when gradients overflow and that
        # update is left out (float16): from then on v would be whatever lay in memory
        if self.momentum:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer


@optimizers.register("Adam", swallows={**_MASTER_WEIGHTS, "lazy_mode": "there are no sparse gradients"})
@dataclass(kw_only=True)
class Adam(Rule):
    """Kingma, Ba, Adam, 2015, https://arxiv.org/abs/1412.6980, with coupled decay."""

    beta1: Number = 0.9
    beta2: Number = 0.999
    epsilon: Number = 1e-8

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            groups, lr=0.0, betas=(self.beta1, self.beta2), eps=self.epsilon, fused=_fused(groups)
        )


@optimizers.register("AdamW", swallows={**_MASTER_WEIGHTS, "lazy_mode": "there are no sparse gradients"})
@dataclass(kw_only=True)
class AdamW(Rule):
    """Adam after p *= 1 - lr weight_decay. Loshchilov, Hutter, 2019, https://arxiv.org/abs/1711.05101.

    Without `weight_decay` nothing is decayed (the reference fails). A parameter's own regularizer replaces
    the section's coefficient; in the reference it is a coupled term beside it, and `reference_behaviour=True`
    does the same.
    """

    beta1: Number = 0.9
    beta2: Number = 0.999
    epsilon: Number = 1e-8

    def decay(self, place: Place) -> Decay:
        if self.regularizer is not None:
            raise place.at("regularizer").error(
                "AdamW decays the weights themselves and takes no regularizer: write weight_decay or use Adam"
            )
        return super().decay(place)

    def decay_of(self, own: Decay | None, section: Decay) -> dict[str, float]:
        if own is None:
            return {"weight_decay": section[1]}
        kind, coefficient = own
        if self.reference_behaviour:
            return {"weight_decay": section[1], "added_l1" if kind == "L1" else "added_l2": coefficient}
        return super().decay_of(own, section)

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            groups, lr=0.0, betas=(self.beta1, self.beta2), eps=self.epsilon, fused=_fused(groups)
        )


@optimizers.register("AdamWDL", swallows=_MASTER_WEIGHTS)
@dataclass(kw_only=True)
class AdamWDL(AdamW):
    """AdamW whose rate falls from the last layer to the first.

    It is multiplied by layerwise_decay^(n - i) in `blocks.i` of n blocks, by layerwise_decay^(n + 1) in
    embeddings and what stands before the blocks, by 1 in the rest.

    With `filter_bias_and_bn` biases and other 1-D parameters are not decayed. The reference decays the other
    weights twice a step, first with the undiminished rate (`reference_behaviour=True` too), and fails unless
    `weight_decay` and `layerwise_decay` are both given. For other models there is `layer_decay` of every
    optimizer.
    """

    layerwise_decay: Number | None = None
    filter_bias_and_bn: bool = True

    def is_exempt(self, name: str, parameter: nn.Parameter) -> bool:
        filtered = self.filter_bias_and_bn and (parameter.dim() == 1 or name.endswith(".bias"))
        return filtered or super().is_exempt(name, parameter)

    def decay_of(self, own: Decay | None, section: Decay) -> dict[str, float]:
        found = super().decay_of(own, section)
        return {**found, "early_decay": section[1]} if self.reference_behaviour else found

    def multipliers(self, named: Named, model: nn.Module, place: Place) -> dict[str, float]:
        found = super().multipliers(named, model, place)
        if self.layerwise_decay is None:
            return found
        blocks = {name: int(match[1]) for name in found if (match := re.search(r"\bblocks\.(\d+)\.", name))}
        if not blocks:
            raise place.at("layerwise_decay").error(
                f"{type(model).__name__} has no layers called 'blocks.0', …: use AdamW with layer_decay"
            )
        depth = max(blocks.values()) + 1
        for name in found:
            if name in blocks:
                found[name] *= self.layerwise_decay ** (depth - blocks[name])
            elif any(part in name for part in ("embed", "token", "conv1", "ln_pre")):
                found[name] *= self.layerwise_decay ** (depth + 1)
        return found


@optimizers.register("RMSProp", swallows=_MASTER_WEIGHTS)
@dataclass(kw_only=True)
class RMSProp(Rule):
    """s = rho s + (1 - rho) g^2; v = momentum v + lr g / sqrt(s + epsilon); p -= v, g with its decay.

    Hinton, lecture 6e, 2012. Unlike torch's, epsilon lies under the root and the rate in the momentum.
    """

    momentum: Number = 0.0
    rho: Number = 0.95
    epsilon: Number = 1e-6
    groups_undo_decay: ClassVar[bool] = False

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        return RootMeanSquare(groups, momentum=self.momentum, rho=self.rho, epsilon=self.epsilon)


class RootMeanSquare(torch.optim.Optimizer):
    """The update of RMSProp as Paddle defines it."""

    def __init__(self, groups: Groups, momentum: float, rho: float, epsilon: float) -> None:
        super().__init__(
            groups, {"lr": 0.0, "momentum": momentum, "rho": rho, "epsilon": epsilon, "weight_decay": 0.0}
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            for parameter in parameters:
                if not self.state[parameter]:
                    self.state[parameter]["mean_square"] = torch.zeros_like(parameter)
                    self.state[parameter]["velocity"] = torch.zeros_like(parameter)
            gradients = torch._foreach_add(
                [p.grad for p in parameters], parameters, alpha=group["weight_decay"]
            )
            mean_squares = [self.state[parameter]["mean_square"] for parameter in parameters]
            velocities = [self.state[parameter]["velocity"] for parameter in parameters]
            torch._foreach_mul_(mean_squares, group["rho"])
            torch._foreach_addcmul_(mean_squares, gradients, gradients, value=1 - group["rho"])
            roots = torch._foreach_add(mean_squares, group["epsilon"])
            torch._foreach_sqrt_(roots)
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_addcdiv_(velocities, gradients, roots, value=group["lr"])
            torch._foreach_sub_(parameters, velocities)

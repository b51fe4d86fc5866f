"""From a model that rounds while it trains to one whose graph holds whole numbers.

Each layer keeps its weights as int8 with a scale for each channel, the batch norm behind it folded into both,
and its bias as int32; each quantiser becomes a pair QuantizeLinear, DequantizeLinear of uint8. Runtimes that
know these pairs compute what lies between them with integers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lookalike.core.errors import UserError
from lookalike.model.slim.quantisers import WEIGHT_LIMIT, Quantiser, rounded_weight, weight_scale
from lookalike.model.slim.structure import Quantisation

_OPSET = 19
_LARGEST_BIAS = 2.0**30


def make_integer(model: nn.Module, rounds: Quantisation, name: str) -> None:
    """Change a model for its export, in place. It can only be exported then: PyTorch has no int8 layers.

    Raises UserError where no training has set the ranges of the quantisers; `name` says whose they are.
    """
    quantisers = {path: _quantiser(model, path) for path in rounds.quantisers}
    if not any(bool(quantiser.high > quantiser.low) for quantiser in quantisers.values()):
        raise UserError(f"{name}: no training has set the ranges of its 8 bits yet: train it with Slim.quant")
    for path, layer in rounds.layers.items():
        norm = model.get_submodule(layer.norm) if layer.norm is not None else None
        _change_layer(model.get_submodule(path), norm, quantisers[layer.reads])
    for quantiser in quantisers.values():
        _change_quantiser(quantiser)


def _quantiser(model: nn.Module, path: str) -> Quantiser:
    found = model.get_submodule(path)
    assert isinstance(found, Quantiser)
    return found


class IntegerQuantiser(nn.Module):
    """A quantiser as a pair of ONNX operations."""

    scale: Tensor
    zero: Tensor

    def forward(self, x: Tensor) -> Tensor:
        whole = _operation("QuantizeLinear", (x, self.scale, self.zero), torch.uint8, x.shape)
        return _operation("DequantizeLinear", (whole, self.scale, self.zero), torch.float32, x.shape)


class _IntegerLayer(nn.Module):
    whole_weight: Tensor
    weight_scale: Tensor
    weight_zero: Tensor
    whole_bias: Tensor
    bias_scale: Tensor

    def dequantised(self) -> tuple[Tensor, Tensor]:
        """Weight and bias as the runtime reads them."""
        weight = _operation(
            "DequantizeLinear",
            (self.whole_weight, self.weight_scale, self.weight_zero),
            torch.float32,
            self.whole_weight.shape,
            axis=0,
        )
        bias = _operation(
            "DequantizeLinear",
            (self.whole_bias, self.bias_scale),
            torch.float32,
            self.whole_bias.shape,
            axis=0,
        )
        return weight, bias


class IntegerConv2d(_IntegerLayer, nn.Conv2d):
    """A convolution with int8 weights."""

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, *self.dequantised())


class IntegerLinear(_IntegerLayer, nn.Linear):
    """A linear layer with int8 weights."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, *self.dequantised())


class FoldedNorm(nn.Module):
    """What is left of a batch norm that is folded into the layer before it: its activation, if it has one."""

    def forward(self, x: Tensor) -> Tensor:
        for name in ("drop", "act"):
            if name in self._modules:
                x = getattr(self, name)(x)
        return x


@torch.no_grad()
def _change_layer(layer: nn.Module, norm: nn.Module | None, reads: Quantiser) -> None:
    """y = f (w x + b - mean) + beta, f = gamma / sqrt(var + eps): weight f w, bias f (b - mean) + beta."""
    assert isinstance(layer, (nn.Conv2d, nn.Linear))
    weight, scale = rounded_weight(layer.weight), weight_scale(layer.weight)
    bias = layer.bias if layer.bias is not None else torch.zeros_like(scale)
    if norm is not None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        factor = (norm.running_var + norm.eps).rsqrt()
        factor = factor if norm.weight is None else factor * norm.weight
        weight = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
        scale = scale * factor.abs()
        bias = (bias - norm.running_mean) * factor + (0.0 if norm.bias is None else norm.bias)
        norm._parameters.clear()
        norm._buffers.clear()
        norm.__class__ = FoldedNorm  # type: ignore[assignment]
    step = _step(reads)[0]
    # a channel without weights would ask for a step so small that its bias does not fit 32 bits
    scale = torch.maximum(scale, bias.abs() / (step * _LARGEST_BIAS)).clamp_min(
        torch.finfo(torch.float32).tiny
    )
    whole = (weight / scale.reshape(-1, *[1] * (weight.ndim - 1))).round().clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)
    layer.weight = layer.bias = None  # type: ignore[assignment]
    layer.register_buffer("whole_weight", whole.to(torch.int8))
    layer.register_buffer("weight_scale", scale)
    layer.register_buffer("weight_zero", torch.zeros_like(scale, dtype=torch.int8))
    # runtimes take integer kernels only where the step of the bias is the product of the other two
    layer.register_buffer("bias_scale", scale * step)
    layer.register_buffer("whole_bias", (bias / (scale * step)).round().to(torch.int32))
    layer.__class__ = IntegerConv2d if isinstance(layer, nn.Conv2d) else IntegerLinear


def _change_quantiser(quantiser: Quantiser) -> None:
    scale, zero = _step(quantiser)
    quantiser._parameters.clear()
    quantiser._buffers.clear()
    quantiser.register_buffer("scale", scale)
    quantiser.register_buffer("zero", zero.to(torch.uint8))
    quantiser.__class__ = IntegerQuantiser  # type: ignore[assignment]


def _step(quantiser: Quantiser) -> tuple[Tensor, Tensor]:
    """Scale and zero point; one that saw nothing but zeros in training has steps of 1."""
    scale, zero = quantiser.grid()
    return (
        (scale, zero) if quantiser.high > quantiser.low else (torch.ones_like(scale), torch.zeros_like(zero))
    )


def _operation(
    name: str,
    inputs: Sequence[Tensor],
    dtype: torch.dtype,
    shape: Sequence[int | torch.SymInt],
    **attributes: int,
) -> Tensor:
    """An operation of ONNX, which the exporter writes as it stands here."""
    return torch.onnx.ops.symbolic(  # type: ignore[no-any-return,attr-defined,unused-ignore]
        name, inputs, attrs=dict(attributes), dtype=dtype, shape=shape, version=_OPSET
    )

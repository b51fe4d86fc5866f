"""Rounding to 8 bits while training: quantisers of activations, and layers whose weights are rounded."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MOMENTUM = 0.9
"""Share of the running range that stays with each batch."""
FIRST_CLIP, CLIP_DECAY = 20.0, 2e-5
"""Where the learned bound starts, and its L2 decay."""
WEIGHT_LIMIT = 127
"""Weights are whole numbers from -127 to 127 times the scale of their channel."""
_TINY = 1e-12


class Quantiser(nn.Module):
    """x → scale · (clamp(round(x / scale) + zero, 0, 255) - zero), the gradient that of a clamp.

    The 256 steps lie between the running minimum and maximum of x, with 0 among them: r ← 0.9 r + 0.1 min(x),
    from the first batch on. With `learned_clip` x is kept within ±clip in training, a parameter (PACT,
    https://arxiv.org/abs/1805.06085); the range follows it, so it is not needed afterwards. Until it has seen
    a batch in training the quantiser gives x as it is.

    The reference has steps of max|x| / 127 on both sides of 0, which leaves half of them unused behind a
    ReLU; `symmetric` does the same.
    """

    low: Tensor
    high: Tensor

    def __init__(self, learned_clip: bool = True, symmetric: bool = False) -> None:
        super().__init__()
        self.symmetric = symmetric
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.clip: nn.Parameter | None = None
        if learned_clip:
            self.clip = nn.Parameter(torch.tensor(FIRST_CLIP))
            self.clip.regularizer = ("L2", CLIP_DECAY)  # type: ignore[attr-defined]

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()  # autocast does not know the rounding
        if not self.training:
            # a range without extent: nothing was seen yet
            return torch.where(self.high > self.low, self._rounded(x), x)
        if self.clip is not None:
            x = torch.clamp(x, -self.clip, self.clip)
        self._observe(x.detach())
        return self._rounded(x)

    def grid(self) -> tuple[Tensor, Tensor]:
        """Scale and zero point, an int32 from 0 to 255."""
        scale = ((self.high - self.low) / 255).clamp_min(_TINY)
        return scale, (-self.low / scale).round().clamp(0, 255).to(torch.int32)

    def _rounded(self, x: Tensor) -> Tensor:
        scale, zero = self.grid()
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 255)

    def _observe(self, x: Tensor) -> None:
        low, high = torch.aminmax(x)
        low, high = low.clamp_max(0.0), high.clamp_min(0.0)
        if self.symmetric:
            high = torch.maximum(high, -low)
            # 128 is the step of 0, so that there are 127 above it
            low = -high * (128 / 127)
        share = torch.where(self.high > self.low, 1 - MOMENTUM, 1.0)
        self.low.lerp_(low, share)
        self.high.lerp_(high, share)


def weight_scale(weight: Tensor) -> Tensor:
    """The step of each output channel, max|w| / 127: (C,)."""
    return (weight.detach().abs().flatten(1).amax(dim=1) / WEIGHT_LIMIT).clamp_min(_TINY)


def rounded_weight(weight: Tensor) -> Tensor:
    """Weights rounded channel by channel, in float32; the gradient goes through."""
    weight = weight.float()
    scale = weight_scale(weight)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    rounded: Tensor = torch.fake_quantize_per_channel_affine(
        weight, scale, zero, 0, -WEIGHT_LIMIT, WEIGHT_LIMIT
    )
    return rounded


class RoundedConv2d(nn.Conv2d):
    """A convolution that computes with rounded weights."""

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = self._conv_forward(input, rounded_weight(self.weight), self.bias)
        return output


class RoundedLinear(nn.Linear):
    """A linear layer that computes with rounded weights."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, rounded_weight(self.weight), self.bias)

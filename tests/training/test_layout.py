"""In which layout a model is trained."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lookalike.training.layout import memory_layout

CPU, CUDA, MPS = map(torch.device, ("cpu", "cuda", "mps"))


@pytest.mark.parametrize(
    ("layer", "on_cpu"),
    [
        (nn.Conv2d(8, 16, 1, stride=2), torch.contiguous_format),
        (nn.Conv2d(64, 64, 1, stride=(2, 1), groups=8), torch.contiguous_format),
        (nn.Conv2d(16, 16, 1, stride=2), torch.channels_last),
        (nn.Conv2d(8, 16, 1), torch.channels_last),
        (nn.Conv2d(8, 16, 3, stride=2), torch.channels_last),
        (nn.Linear(8, 16), torch.channels_last),
    ],
)
def test_layout(layer: nn.Module, on_cpu: torch.memory_format) -> None:
    model = nn.Sequential(nn.Sequential(layer), nn.ReLU())
    assert memory_layout(model, CPU) is on_cpu
    assert memory_layout(model, CUDA) is torch.channels_last
    assert memory_layout(model, MPS) is torch.contiguous_format


@pytest.mark.parametrize("channels", [3, 8, 15])
def test_gradients_of_a_narrow_shortcut_are_right(channels: int) -> None:
    """In the layout that is chosen; in the other one this can end the process."""
    torch.manual_seed(0)
    shortcut = nn.Conv2d(channels, 16, 1, stride=2, bias=False)
    layout = memory_layout(shortcut, CPU)
    shortcut.to(memory_format=layout)  # type: ignore[call-overload]
    maps = torch.randn(8, channels, 56, 56).contiguous(memory_format=layout)
    given = shortcut(maps)
    gradient = torch.randn_like(given)
    given.backward(gradient)
    found = shortcut.weight.grad
    assert found is not None
    exact = torch.einsum("nchw,nohw->oc", maps[:, :, ::2, ::2].double(), gradient.double())
    # sums of 6,272 products of numbers around one, in float32
    torch.testing.assert_close(found[:, :, 0, 0].double(), exact, rtol=0, atol=2e-3)

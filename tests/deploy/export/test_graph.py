"""What the exporter of torch writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from lookalike.deploy.export.graph import write_graph


class Excited(nn.Module):
    """A depthwise layer, whose weights are in the order of channels last too, and a gate of its means."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.pool, self.gate = nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(x)
        return x * self.gate(self.pool(x))


def test_an_average_pool_is_one_node(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Excited().eval()
    write_graph(module, torch.randn(2, 8, 5, 6), tmp_path / "graph.onnx")
    graph = onnx.load(str(tmp_path / "graph.onnx")).graph
    assert [node.op_type for node in graph.node] == ["Conv", "GlobalAveragePool", "Conv", "Mul"]
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    session = onnxruntime.InferenceSession(tmp_path / "graph.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 3):
        pictures = torch.randn(count, 8, 5, 6)
        (found,) = session.run(None, {"images": pictures.numpy()})
        np.testing.assert_allclose(found, module(pictures).detach().numpy(), atol=1e-6)

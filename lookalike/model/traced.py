"""A network traced up to one of its layers (torch.fx), with one graph for training and one for evaluation."""

from __future__ import annotations

import warnings
from typing import Any

from timm.layers._fx import create_feature_extractor
from torch import nn
from torchvision.models.feature_extraction import DualGraphModule


class TracedNetwork(DualGraphModule):  # type: ignore[misc]
    """What leads to the named layer; the keys of its weights are those of the whole network."""

    def __deepcopy__(self, memo: dict[int, Any]) -> TracedNetwork:
        # torchvision's copy is always in training mode
        twin: TracedNetwork = super().__deepcopy__(memo)
        for name, part in self.named_modules():
            twin.get_submodule(name).training = part.training
        twin.graph = twin.train_graph if self.training else twin.eval_graph
        return twin


def traced_up_to(module: nn.Module, path: str) -> nn.Module:
    """The network that ends with a layer. Whatever torch.fx raises means that it cannot be traced."""
    training = module.training
    with warnings.catch_warnings():
        # training and evaluation differ in dropout, which is what two graphs are for
        warnings.simplefilter("ignore")
        extractor: Any = create_feature_extractor(module, [path])
    for graph in (extractor.train_graph, extractor.eval_graph):
        output = next(node for node in graph.nodes if node.op == "output")
        output.args = (next(iter(output.args[0].values())),)
    network: nn.Module = TracedNetwork(extractor, extractor.train_graph, extractor.eval_graph)
    return network.train(training)

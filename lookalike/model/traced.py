"""A network traced up to one of its layers (torch.fx), with one graph for training and one for evaluation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from timm.layers._fx import create_feature_extractor, register_notrace_module
from torch import nn
from torch.fx import Graph, Node
from torchvision.models.feature_extraction import DualGraphModule

from lookalike.model.meta_norm import MetaBIN
from lookalike.model.stop_layers import TRACED_OUTPUT

register_notrace_module(MetaBIN)  # a graph would fix the mode and the gates that are set from outside


_SAID_OF_ITSELF = (
    "reference_keys",
    "idle_in_reference",
    "obsolete_in_reference",
    "required_from_reference",
    "unmapped_in_reference",
)
"""What a network may say of its weights in the reference's files (`weights/reference_layout.py`)."""


class TracedNetwork(DualGraphModule):  # type: ignore[misc]
    """What leads to the named layer; the keys of its weights are those of the whole network."""

    def __deepcopy__(self, memo: dict[int, Any]) -> TracedNetwork:
        # torchvision's copy is always in training mode
        twin: TracedNetwork = super().__deepcopy__(memo)
        for name, part in self.named_modules():
            twin.get_submodule(name).training = part.training
        twin.graph = twin.train_graph if self.training else twin.eval_graph
        return twin


def traced_up_to(module: nn.Module, path: str, watched: Sequence[str] = ()) -> nn.Module:
    """The network that ends with a layer. Whatever torch.fx raises means that it cannot be traced.

    A traced network runs the smallest of its layers one by one, so a block of them has no output to look at.
    For each watched layer that is a block an identity stands in, `<layer>.traced_output`, through which its
    output goes on. Watched layers that lie behind the end are not in the network.
    """
    training = module.training
    watched = [layer for layer in watched if layer and layer != path]
    with warnings.catch_warnings():
        # training and evaluation differ in dropout, which is what two graphs are for
        warnings.simplefilter("ignore")
        ends: Any = create_feature_extractor(module, [path])
        extractor: Any = create_feature_extractor(module, [path, *watched]) if watched else ends
    for mode in ("train_graph", "eval_graph"):
        graph, reached = getattr(extractor, mode), {node.name for node in getattr(ends, mode).nodes}
        output = next(node for node in graph.nodes if node.op == "output")
        nodes = dict(output.args[0])
        output.args = (nodes.pop(path),)
        for layer, node in nodes.items():
            if node.name in reached and node.target != layer:
                _stand_in(extractor, graph, node, layer)
        for node in reversed(graph.nodes):
            if node is not output and not node.users and node.name not in reached:
                graph.erase_node(node)
    network: nn.Module = TracedNetwork(extractor, extractor.train_graph, extractor.eval_graph)
    for said in _SAID_OF_ITSELF:
        if hasattr(module, said):
            setattr(network, said, getattr(module, said))
    return network.train(training)


def _stand_in(extractor: Any, graph: Graph, node: Node, layer: str) -> None:
    """Let the output of a node go on through an identity that bears the name of a layer."""
    name = f"{layer}.{TRACED_OUTPUT}"
    extractor.add_submodule(name, nn.Identity())
    with graph.inserting_after(node):
        identity = graph.create_node("call_module", name, (node,))
    node.replace_all_uses_with(identity, delete_user_cb=lambda user: user is not identity)

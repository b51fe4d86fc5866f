"""Writing a module as an ONNX graph, or as a program of torch.export."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lookalike.core.errors import LookalikeError, line_of, missing_extra

INPUT, OUTPUT = "images", "features"
"""The names of what goes into the graph and what comes out of it."""


def write_graph(module: nn.Module, example: Tensor, file: Path) -> None:
    """Write a module as an ONNX graph whose batch may have any size.

    Raises LookalikeError where it holds an operation that ONNX does not have.
    """
    try:
        import onnx  # noqa: F401 (torch asks for it in the middle of an export)
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise missing_extra("onnx", "train", "export") from error
    from lookalike.deploy.export.graph_passes import simplify_file  # needs onnx

    with _quiet("to ONNX"):
        traced = torch.export.export(module, (example,), dynamic_shapes=_free())
        _pools_to_means(traced)
        program: Any = torch.onnx.export(
            traced,
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=_free(),
            verbose=False,
        )
        _forget_origin(program.model)
        program.save(str(file), external_data=False)
        simplify_file(file)


def _pools_to_means(program: torch.export.ExportedProgram) -> None:
    """Write average pools over all places as the mean over them, which they are.

    The exporter makes of such a pool the mean and a copy of it into the order of channels last, whose indices
    the graph computes anew for each batch.
    """
    for node in program.graph.nodes:
        if node.target is torch.ops.aten.adaptive_avg_pool2d.default and list(node.args[1]) == [1, 1]:
            node.target, node.args = torch.ops.aten.mean.dim, (node.args[0], [-2, -1], True)


def write_program(module: nn.Module, example: Tensor, file: Path, any_size: bool = False) -> None:
    """Write a module as a program of torch.export, for other users of PyTorch; the batch may have any size,
    and with `any_size` pictures (N, H, W, 3) too.

    This file holds no pickle. `torch.export.load` unpickles what a file marks so, though, and a pickle may
    run code: it is no way to read the file of somebody else. `lookalike.deploy.load_torch` is one.
    """
    with _quiet("with torch.export"):
        program = torch.export.export(module, (example,), dynamic_shapes=_free(any_size))
        program.example_inputs = None  # of no use, and the one thing in the file that would be pickled
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # paths and lines of source files on this machine
        torch.export.save(program, file)


def put_before(module: nn.Module, file: Path) -> None:
    """Make a graph that takes pixels of one size take those of any: `module` makes the former of the latter.

    The graph stays as it is behind that, whatever it was converted to.
    """
    import onnx
    from onnx.compose import add_prefix

    network = onnx.load(file)
    (opset,) = (each.version for each in network.opset_import if not each.domain)
    with _quiet("to ONNX"):
        program: Any = torch.onnx.export(
            module,
            (torch.zeros(2, 5, 7, 3, dtype=torch.uint8),),
            dynamo=True,
            opset_version=opset,
            input_names=[INPUT],
            output_names=["pixels"],
            dynamic_shapes=_free(any_size=True),
            verbose=False,
        )
        _forget_origin(program.model)
    before = add_prefix(program.model_proto, "geometry/", rename_inputs=False)
    for node in network.graph.node:
        for position, name in enumerate(node.input):
            if name == INPUT:
                node.input[position] = before.graph.output[0].name
    nodes = [*before.graph.node, *network.graph.node]
    del network.graph.node[:]
    network.graph.node.extend(nodes)
    network.graph.initializer.extend(before.graph.initializer)
    network.graph.input[0].CopyFrom(before.graph.input[0])
    file.write_bytes(network.SerializeToString())


def _free(any_size: bool = False) -> tuple[dict[int, Any]]:
    """The dimensions of the input that may have any size."""
    names = ("batch", "height", "width") if any_size else ("batch",)
    return ({axis: torch.export.Dim(name, min=1) for axis, name in enumerate(names)},)


@contextmanager
def _quiet(what: str) -> Iterator[None]:
    """Neither logs nor warnings of the exporter; whatever it raises becomes one sentence."""
    noisy = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    before = [each.level for each in noisy]
    for each in noisy:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # the exporter raises whatever a module's operations raise
        raise LookalikeError(f"the model could not be exported {what}: {line_of(error)}") from error
    finally:
        for each, level in zip(noisy, before, strict=True):
            each.setLevel(level)


def _forget_origin(model: Any) -> None:
    """Remove what the exporter notes of each node: paths and lines of source files on this machine.

    Nobody else is to read them, and the same model is to have the same fingerprint wherever it was exported.
    """
    graphs = [model.graph, *(function.graph for function in model.functions.values())]
    for graph in graphs:
        for noted in (graph, *graph.all_nodes(), *graph.inputs, *graph.outputs, *graph.initializers.values()):
            noted.metadata_props.clear()
            noted.doc_string = None
        for node in graph.all_nodes():
            for value in node.outputs:
                value.metadata_props.clear()
                value.doc_string = None
    model.metadata_props.clear()

"""Cutting a backbone at a named layer.

Where the layers on the way run one after the other (all backbones of our own), everything behind the named
one is deleted. Inside a residual block, or in a network of timm, the network is traced (torch.fx) and only
what leads to the named layer is kept. The keys of the weights stay as they were, and what is left can be
compiled and exported.

A backbone may carry `stop_layer_aliases`, a mapping from names that recipes use to layers that it has: to
their path, or to `WHOLE_NETWORK`. The reference leaves a network whole, with a warning, when it knows no
layer of the name; a recipe that relies on that works here because the backbone declares it. Every other
unknown name is an error.

It may also carry `stop_layer_leaves_out`: for some of its layers the names of those behind that the reference
takes out when the network is cut there, where some of what it runs is no layer and so remains.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

from torch import nn

from lookalike.core.component import Place
from lookalike.core.errors import line_of

DOCUMENT_NAMES = {"flatten_0": "flatten", "adaptive_avg_pool2d_0": "avg_pool"}
"""Layer names in older documents of the reference, and what they are called in its code and here."""

TRACED_OUTPUT = "traced_output"
"""The child of a layer that gives its output in a traced network, in which the layer itself does not run."""

WHOLE_NETWORK = ""
"""As the layer behind a name in `stop_layer_aliases`: the output of the whole network."""


def layer_path(name: str) -> str:
    """`stages[3][1].act` → `stages.3.1.act`."""
    return re.sub(r"\[(\d+)\]", r".\1", name.strip()).lstrip(".")


def find_layer(module: nn.Module, name: str, place: Place | None = None, what: str = "layer") -> str:
    """The dotted path of a named layer, `WHOLE_NETWORK` where a backbone says that the name means its output.

    Raises UserError that lists the nearest names.
    """
    known, aliases = dict(module.named_modules()), layer_aliases(module)
    path = layer_path(name)
    path = path if path in known or path in aliases else DOCUMENT_NAMES.get(path, path)
    if path in aliases:
        return aliases[path]
    if path and path in known:
        return path
    raise (place or Place()).error(
        f"there is no {what} '{name}'; nearest: {', '.join(_nearest(path, list(known)))}"
    )


def layer_aliases(module: nn.Module) -> dict[str, str]:
    """The aliases that a module and those inside it declare, names and layers as paths from the module."""
    return {
        ".".join(filter(None, (prefix, name))): ".".join(filter(None, (prefix, layer)))
        for prefix, part in module.named_modules()
        for name, layer in getattr(part, "stop_layer_aliases", {}).items()
    }


def _nearest(path: str, known: list[str]) -> list[str]:
    near = difflib.get_close_matches(path, known, n=6, cutoff=0.5)
    top = [name for name in known if name and "." not in name]
    return (near + [name for name in top if name not in near])[:10]


def cut(module: nn.Module, name: str, place: Place | None = None, watched: Collection[str] = ()) -> nn.Module:
    """The network that ends with the named layer; the given one must not be used afterwards.

    `watched` are paths of layers whose outputs will be looked at on the way, which a traced network has to be
    told. Raises UserError for a name that does not exist, for a layer that cannot be traced, and for a
    watched one that lies behind the named one.
    """
    path = find_layer(module, name, place, "layer for BackboneStopLayer")
    if path == WHOLE_NETWORK:
        return module
    if path in (leaves_out := getattr(module, "stop_layer_leaves_out", {})):
        for layer in leaves_out[path]:
            module._modules.pop(layer, None)
    else:
        module = _cut(module, path, name, place, watched)
    left = dict(module.named_modules())
    for layer in watched:
        if layer not in left:
            raise (place or Place()).error(
                f"the layer '{layer}' lies behind '{name}', where the backbone is cut"
            )
    return module


def _cut(module: nn.Module, path: str, name: str, place: Place | None, watched: Collection[str]) -> nn.Module:
    if isinstance(module.get_submodule(path), (nn.ModuleList, nn.ModuleDict)):
        listed = ", ".join(f"{path}.{child}" for child in dict(module.get_submodule(path).named_children()))
        raise (place or Place()).error(f"'{name}' is a list of layers, name one of them: {listed}")
    container, parts, done = module, path.split("."), 0
    while isinstance(container, nn.Sequential):
        children = list(container._modules)
        for later in children[children.index(parts[done]) + 1 :]:
            del container._modules[later]
        done += 1
        if done == len(parts):
            return module
        container = container.get_submodule(parts[done - 1])
    start = "".join(f"{part}." for part in parts[:done])
    inside = [layer.removeprefix(start) for layer in watched if layer.startswith(start) and layer != start]
    traced = _traced_up_to(container, ".".join(parts[done:]), name, place, inside)
    if done == 0:
        return traced
    module.get_submodule(".".join(parts[: done - 1])).add_module(parts[done - 1], traced)
    return module


def _traced_up_to(
    module: nn.Module, path: str, name: str, place: Place | None, watched: list[str]
) -> nn.Module:
    # needed for few recipes, and importing what traces takes longer than building a model
    from lookalike.model.traced import traced_up_to

    try:
        return traced_up_to(module, path, watched)
    except Exception as error:
        reason = line_of(error)
        raise (place or Place()).error(f"the network cannot be cut at '{name}': {reason}") from error

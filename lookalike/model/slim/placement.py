"""Where a network has to round, so that integer kernels can compute it.

A kernel takes a rounded input, a rounded weight, and rounds its output: convolution, batch norm and ReLU are
one step. A tensor is rounded where it is made, once for all who read it. What is computed between two kernels
(the activation of PP-LCNet, the gate of squeeze-and-excite) reads rounded values and is rounded again.

The places are found by watching the network while it sees a black image: which module reads the very tensor
that another one made. That needs no trace of its code, so a network stays the module it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lookalike.core.errors import UserError
from lookalike.model.rec_model import RecModel
from lookalike.model.slim.structure import Quantisation, QuantisedLayer

INPUT, OUTPUT = "input_quantiser", "output_quantiser"
"""Names under which a module holds the quantiser of what it reads, or of what it gives."""

_Key = tuple[int, int]


@dataclass
class _Watched:
    """Who made and who read which tensor. A tensor is known by its identity and by how often it was changed
    in place; all are kept alive, so that no identity is used twice.
    """

    maker: dict[_Key, str] = field(default_factory=dict)
    readers: dict[_Key, list[str]] = field(default_factory=dict)
    read: dict[str, _Key] = field(default_factory=dict)
    made: dict[str, Tensor] = field(default_factory=dict)
    keys: dict[str, _Key] = field(default_factory=dict)
    alive: list[Tensor] = field(default_factory=list)

    def reading(self, name: str, value: Tensor) -> None:
        self.alive.append(value)
        self.read[name] = _key(value)
        self.readers.setdefault(_key(value), []).append(name)

    def making(self, name: str, value: Tensor) -> None:
        self.alive.append(value)
        # what goes through an identity was made before it
        self.maker.setdefault(_key(value), name)
        self.made[name], self.keys[name] = value, _key(value)


def find_places(
    model: RecModel, image_shape: tuple[int, int, int], *, learned_clip: bool, symmetric: bool
) -> Quantisation:
    """The quantisers that backbone and neck need. Raises UserError where there is no layer to round."""
    modules = dict(model.named_modules())
    layers = [
        name
        for name, module in modules.items()
        if type(module) in (nn.Conv2d, nn.Linear) and not name.startswith("head.")
    ]
    watched, features = _watch(model, image_shape)
    ends = {name: _end_of_step(name, modules, watched) for name in layers if name in watched.read}
    if not ends:
        raise UserError("Slim.quant: the model has no convolution or linear layer that could be rounded")
    found: dict[str, QuantisedLayer] = {}
    quantisers: dict[str, None] = {}
    for name, (norm, end) in ends.items():
        maker = watched.maker.get(watched.read[name])
        reads = f"{maker}.{OUTPUT}" if maker is not None else f"{name}.{INPUT}"
        quantisers[reads] = None
        found[name] = QuantisedLayer(reads, norm)
        # the embedding itself is not rounded
        if watched.made[end].untyped_storage().data_ptr() != features.untyped_storage().data_ptr():
            quantisers[f"{end}.{OUTPUT}"] = None
    return Quantisation(list(quantisers), found, learned_clip, symmetric)


def _watch(model: RecModel, image_shape: tuple[int, int, int]) -> tuple[_Watched, Tensor]:
    watched, handles = _Watched(), []
    for name, module in model.named_modules():
        # a child of these would run as one of their steps, so they cannot hold a quantiser
        if isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict, RecModel)):
            continue

        def before(_module: nn.Module, inputs: tuple[object, ...], name: str = name) -> None:
            if len(inputs) == 1 and isinstance(inputs[0], Tensor):
                watched.reading(name, inputs[0])

        def after(_module: nn.Module, _inputs: object, output: object, name: str = name) -> None:
            if isinstance(output, Tensor):
                watched.making(name, output)

        handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        with torch.no_grad():  # not inference_mode, in which tensors do not count their changes
            features = model.embed(torch.zeros(1, *image_shape, device=device))
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)
    return watched, features


def _end_of_step(layer: str, modules: dict[str, nn.Module], watched: _Watched) -> tuple[str | None, str]:
    """The batch norm behind a layer, and the module whose output an integer kernel gives."""
    norm = _reader_of(watched, layer, (nn.BatchNorm2d,), modules)
    if norm is None:
        return None, _behind_relu(layer, modules, watched)
    own = modules[norm]
    if hasattr(own, "act") and hasattr(own, "drop"):  # timm's batch norm with an activation
        inner = "act" if isinstance(own.act, (nn.ReLU, nn.ReLU6, nn.Identity)) else "drop"
        return norm, f"{norm}.{inner}"
    return norm, _behind_relu(norm, modules, watched)


def _behind_relu(name: str, modules: dict[str, nn.Module], watched: _Watched) -> str:
    return _reader_of(watched, name, (nn.ReLU, nn.ReLU6), modules) or name


def _reader_of(
    watched: _Watched, name: str, kinds: tuple[type[nn.Module], ...], modules: dict[str, nn.Module]
) -> str | None:
    """The module that alone reads what another gives, where it is of one of the kinds."""
    readers = watched.readers.get(watched.keys[name], [])
    if len(readers) == 1 and isinstance(modules[readers[0]], kinds):
        return readers[0]
    return None


def _key(value: Tensor) -> _Key:
    return id(value), value._version

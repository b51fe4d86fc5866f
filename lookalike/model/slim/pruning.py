"""Taking whole filters out of a network.

One share of every convolution goes, and with a filter whatever reads or follows it: the batch norm, the next
layer's inputs, the depthwise convolution, all branches that are added up. torch-pruning finds these
dependencies (DepGraph, https://arxiv.org/abs/2301.12900). The embedding keeps its size, and so do heads.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lookalike.core.component import Place
from lookalike.core.errors import missing_extra
from lookalike.model.rec_model import RecModel
from lookalike.model.slim.structure import Structure
from lookalike.model.slim.widths import changed, widths_of

Importance = Literal["fpgm", "l1_norm"]


def prune(
    model: RecModel,
    importance: Importance,
    ratio: float,
    image_shape: tuple[int, int, int],
    *,
    multiple_of: int = 1,
    place: Place | None = None,
) -> None:
    """Take about `ratio` of the filters out of every convolution of backbone and neck, in place.

    `fpgm`: those with the smallest sum of distances to all others go, since these can stand in for them
    (Filter Pruning via Geometric Median, https://arxiv.org/abs/1811.00250). `l1_norm`: those with the
    smallest sum of absolute weights go (https://arxiv.org/abs/1608.08710). Filters that go together are
    ranked by the mean of all layers that lose them. What is left is the multiple of `multiple_of` below,
    where a layer has that many: with more than 1 narrow layers lose more than their share.

    The reference prunes the last convolution as well where that is the neck. Raises UserError without
    torch-pruning, and for a network in which it takes out nothing.
    """
    place = place or Place("Slim.prune")
    try:
        import torch_pruning
    except ImportError as error:
        raise missing_extra("torch-pruning", "slim", "Slim.prune") from error
    if model.facts.frozen_before is not None:
        raise place.error("does not go together with freeze_before of the backbone: no gradient passes there")
    before = widths_of(model)
    with _traceable(model):
        images = torch.zeros(1, *image_shape, device=next(model.parameters()).device)
        kinds = {
            "fpgm": torch_pruning.importance.FPGMImportance,
            "l1_norm": torch_pruning.importance.MagnitudeImportance,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of operations that keep channels as they are
            pruner = torch_pruning.pruner.BasePruner(
                _WithoutHead(model),
                images,
                importance=kinds[importance](p=2 if importance == "fpgm" else 1),
                pruning_ratio=ratio,
                round_to=multiple_of if multiple_of > 1 else None,
                ignored_layers=_layers_of_fixed_width(model, images),
                root_module_types=[nn.Conv2d],
            )
            pruner.step()
    widths = changed(before, widths_of(model))
    if not widths:
        raise place.error(
            f"takes nothing out: no convolution but the last has enough filters for a ratio of {ratio} in "
            f"steps of {multiple_of}"
        )
    earlier = model.structure.widths if model.structure is not None else {}
    model.structure = Structure({**earlier, **widths})


class _WithoutHead(nn.Module):
    """Backbone and neck, with the paths that they have in the model."""

    def __init__(self, model: RecModel) -> None:
        super().__init__()
        self.backbone, self.neck = model.backbone, model.neck
        self.outputs: list[Callable[[Tensor], Tensor]] = [model.embed]
        if model.head_feature_from == "backbone":
            self.outputs.append(lambda images: model.embed(images, "backbone"))

    def forward(self, images: Tensor) -> list[Tensor]:
        return [output(images) for output in self.outputs]


def _layers_of_fixed_width(model: RecModel, images: Tensor) -> list[nn.Module]:
    """The convolutions and linear layers whose channels are those of the embedding, or of what a head reads.

    Found by going backwards through the graph of gradients until the first such layer on each way.
    """
    made_by: dict[Any, nn.Module] = {}
    handles = [
        layer.register_forward_hook(lambda layer, _inputs, output: made_by.update({output.grad_fn: layer}))
        for layer in model.modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear))
    ]
    try:
        outputs = _WithoutHead(model)(images)
    finally:
        for handle in handles:
            handle.remove()
    found: list[nn.Module] = []
    waiting, seen = [output.grad_fn for output in outputs], set()
    while waiting:
        step = waiting.pop()
        if step is None or step in seen:
            continue
        seen.add(step)
        if step in made_by:
            found.append(made_by[step])
        else:
            waiting += [earlier for earlier, _ in step.next_functions]
    return found


@contextmanager
def _traceable(model: RecModel) -> Iterator[None]:
    """A model whose parameters all have gradients; afterwards each is again what it was, though narrower."""
    settings = {name: (dict(vars(p)), p.requires_grad) for name, p in model.named_parameters()}
    training = model.training
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad():
            yield
    finally:
        for name, parameter in model.named_parameters():
            attributes, learns = settings[name]
            vars(parameter).update(attributes)
            parameter.requires_grad_(learns)
            parameter.grad = None
        model.train(training)

"""Which layers stay in float: the fewest, found by measuring what each of them costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lookalike.core.log import logger
from lookalike.core.progress import track


@dataclass(frozen=True)
class Found:
    """What a search found: layers by name, with the loss that each takes away when it alone is in float."""

    kept_float: dict[str, float] = field(default_factory=dict)
    loss: float = 0.0
    measured: int = 0
    """Of how many layers the gain was measured before time was up."""


def layers_to_keep(
    layers: Sequence[str],
    loss: Callable[[Sequence[str]], float],
    quick_loss: Callable[[Sequence[str]], float],
    tolerance: float,
    seconds: float,
) -> Found:
    """The fewest layers that must stay in float for a loss within the tolerance.

    `loss` of a graph in which the layers named stay in float is what must not exceed the tolerance;
    `quick_loss` is a cheaper figure, taken once a layer: a layer gains what it falls by when that layer alone
    is in float. Layers are kept in the order of their gain, and how many are needed is
    found by bisection, which supposes that more layers in float never lose more. After `seconds` no further
    gain is measured; a layer without one counts as harmless.
    """
    before = loss(())
    if before <= tolerance:
        return Found(loss=before)
    started = time.monotonic()
    whole = quick_loss(())
    gains: dict[str, float] = {}
    for layer in track(layers, "layers", total=len(layers), unit="layers"):
        if time.monotonic() - started > seconds:
            logger.warning(f"after {seconds:.0f} s the cost of {len(gains)} of {len(layers)} layers is known")
            break
        gains[layer] = whole - quick_loss((layer,))
    order = sorted(layers, key=lambda layer: -gains.get(layer, 0.0))
    enough, too_few = len(order), 0
    losses = {}
    while enough - too_few > 1:
        # few layers are needed as a rule, so small numbers are tried first
        count = min(max(2 * too_few, 1), (too_few + enough) // 2)
        losses[count] = loss(order[:count])
        if losses[count] <= tolerance:
            enough = count
        else:
            too_few = count
    return Found(
        {layer: gains.get(layer, 0.0) for layer in order[:enough]},
        losses[enough] if enough in losses else loss(order),
        len(gains),
    )

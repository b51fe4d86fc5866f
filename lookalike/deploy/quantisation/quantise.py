"""From a float graph to one that computes on 8-bit values, with what that costs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.core.errors import UserError, missing_extra
from lookalike.core.files import atomic_file
from lookalike.core.log import logger
from lookalike.deploy.proof.parity import angles
from lookalike.deploy.quantisation.bias import correct_biases, mean_inputs
from lookalike.deploy.quantisation.graph import WeightBits, quantised
from lookalike.deploy.quantisation.layers import prepared, prologue, tail, with_weights
from lookalike.deploy.quantisation.ranges import Kind, measured_ranges
from lookalike.deploy.quantisation.running import open_graph, run
from lookalike.deploy.quantisation.search import layers_to_keep

Pictures = NDArray[Any]

ANGLE = 0.02
"""Mean of 1 - cosine to the float features that is allowed unless another is asked for."""
HELD_OUT = 4
"""One picture in so many is not calibrated on, but shows what 8 bits cost."""
GROUP = 32
"""Ranges are noted of so many pictures together."""
QUICK = 8
"""On how many pictures the cost of one layer is measured."""


@dataclass(frozen=True)
class QuantisationReport:
    """What an int8 graph is made of and what it costs."""

    int8_layers: int
    """Layers with weights that are computed on 8-bit values."""
    kept_float: dict[str, float]
    """Layers that stay in float because they hurt, with how much less 1 - cosine is when one alone does."""
    float_tail: int
    """Layers with weights that stay in float because they work on one number a channel: it costs nothing."""
    ranges: Kind
    weight_bits: WeightBits
    pictures: int
    """On how many pictures the ranges were measured."""
    mean_angle: float
    """Mean of 1 - cosine between the features of both graphs, on pictures that no range was measured on."""
    largest_angle: float
    seconds: float

    def lines(self) -> list[str]:
        """What a model card says."""
        told = [
            f"{self.int8_layers} layers with 8-bit activations and {self.weight_bits}-bit weights "
            f"(a scale for each channel), {self.float_tail + len(self.kept_float)} in float",
            f"calibrated on {self.pictures} pictures; 1 - cosine to the float features on others: "
            f"mean {self.mean_angle:.2g}, largest {self.largest_angle:.2g}",
        ]
        told += [f"`{name}` stays in float: {gain:+.2g}" for name, gain in self.kept_float.items()]
        return told


def quantise_graph(
    graph: Path,
    out: Path,
    batches: Iterable[Pictures],
    *,
    tolerance: float = ANGLE,
    weight_bits: WeightBits = 7,
    search_seconds: float = 120.0,
) -> QuantisationReport:
    """Write the int8 graph of a float one (static, QDQ, U8S8, a scale for each channel of weights).

    graph: a file that `export` wrote. out: where the int8 graph goes; only a whole one is put there.
    batches: training pictures as the graph takes them, a few hundred. One in four is not calibrated on; on
    those the features of both graphs are compared.
    tolerance: how large the mean of 1 - cosine may be between them. Where it is larger, the layers that hurt
    most stay in float, as few as are enough. `search_seconds` bounds how long their costs are measured.

    Raises UserError where there are too few pictures, where `onnx` is missing, and where no layer with
    weights could be made int8 within the tolerance.
    """
    try:
        import onnx  # noqa: F401 (onnxruntime's quantiser asks for it)
    except ImportError as error:
        raise missing_extra("onnx", "train", "quantising to int8") from error
    started = time.monotonic()
    calibration, held_out = _divided(batches)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = prepared(graph, folder)
        at_end = tail(model)
        always_float = [*at_end, *prologue(model)]
        layers = [each for each in with_weights(model) if each not in always_float]
        (folder / "prepared.onnx").write_bytes(model.SerializeToString())
        ranges = measured_ranges(folder / "prepared.onnx", calibration, folder)
        means = mean_inputs(model, calibration)
        expected = _features(model, held_out)

        def made(kind: Kind, kept: Sequence[str]) -> Any:
            whole = quantised(model, ranges.of(kind), [*always_float, *kept], weight_bits)
            correct_biases(whole, model, means)
            return whole

        def loss(kind: Kind, kept: Sequence[str], count: int | None = None) -> float:
            return float(angles(_features(made(kind, kept), held_out[:count]), expected[:count]).mean())

        kinds: tuple[Kind, ...] = ("mean", "extreme")
        kind = min(kinds, key=lambda each: loss(each, ()))
        found = layers_to_keep(
            layers,
            lambda kept: loss(kind, kept),
            lambda kept: loss(kind, kept, QUICK),
            tolerance,
            search_seconds,
        )
        if len(found.kept_float) == len(layers):
            raise UserError(
                f"no layer can be computed in 8 bits with a mean 1 - cosine of at most {tolerance:g}; "
                "train with Slim.quant"
            )
        result = made(kind, list(found.kept_float))
        with atomic_file(out) as file:
            file.write(result.SerializeToString())
        final = angles(_features(result, held_out), expected)
    report = QuantisationReport(
        int8_layers=len(layers) - len(found.kept_float),
        kept_float=found.kept_float,
        float_tail=sum(each in at_end for each in with_weights(model)),
        ranges=kind,
        weight_bits=weight_bits,
        pictures=sum(map(len, calibration)),
        mean_angle=float(final.mean()),
        largest_angle=float(final.max()),
        seconds=time.monotonic() - started,
    )
    logger.info("int8: " + "; ".join(report.lines()))
    return report


def _divided(batches: Iterable[Pictures]) -> tuple[list[Pictures], Pictures]:
    """Pictures to calibrate on, in groups, and those held out."""
    given = list(batches)
    pictures = np.concatenate(given) if given else np.empty(0)
    if len(pictures) < 2 * HELD_OUT:
        raise UserError(f"8 bits are calibrated on pictures: {len(pictures)} are too few, give a few hundred")
    held_out = np.arange(len(pictures)) % HELD_OUT == 0
    rest = pictures[~held_out]
    return [rest[start : start + GROUP] for start in range(0, len(rest), GROUP)], pictures[held_out]


def _features(model: Any, pictures: Pictures) -> NDArray[np.float32]:
    session = open_graph(model)
    starts = range(0, len(pictures), GROUP)
    return np.concatenate([run(session, pictures[at : at + GROUP])[0] for at in starts])

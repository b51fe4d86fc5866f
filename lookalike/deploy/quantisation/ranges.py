"""From which to which value each tensor of a graph goes: what its 256 steps are laid over."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lookalike.deploy.quantisation.layers import QUANTISED

Kind = Literal["extreme", "mean"]


@dataclass(frozen=True)
class Ranges:
    """The smallest and the largest value of each tensor in each batch: (batches,) arrays by its name."""

    lows: dict[str, NDArray[np.float32]]
    highs: dict[str, NDArray[np.float32]]

    def of(self, kind: Kind) -> Any:
        """The range of each tensor as onnxruntime's quantiser takes it.

        extreme: from the smallest value of all to the largest; nothing is cut off.
        mean: the mean over batches of either; rare values are cut off, the others get finer steps.
        """
        from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData

        low, high = (np.min, np.max) if kind == "extreme" else (np.mean, np.mean)
        return TensorsData(
            CalibrationMethod.MinMax,
            {
                name: (np.float32(low(self.lows[name])), np.float32(high(self.highs[name])))
                for name in self.lows
            },
        )


def measured_ranges(model: Path, batches: Iterable[NDArray[np.float32]], folder: Path) -> Ranges:
    """Run a graph over batches of pictures and note the ranges; `folder` is for a half-way graph."""
    from onnxruntime.quantization.calibrate import MinMaxCalibrater

    calibrator = MinMaxCalibrater(model, QUANTISED, os.fspath(folder / "watched.onnx"))
    calibrator.augment_graph()
    calibrator.create_inference_session()
    (name,) = [each.name for each in calibrator.infer_session.get_inputs()]
    lows: dict[str, list[Any]] = {}
    highs: dict[str, list[Any]] = {}
    for batch in batches:
        calibrator.calibrate_tensors_range = None
        calibrator.collect_data(_OneBatch({name: batch}))
        for tensor, data in calibrator.compute_data().items():
            low, high = data.range_value
            lows.setdefault(tensor, []).append(np.min(low))
            highs.setdefault(tensor, []).append(np.max(high))
    return Ranges({k: np.array(v) for k, v in lows.items()}, {k: np.array(v) for k, v in highs.items()})


class _OneBatch:
    """What a calibrator reads from."""

    def __init__(self, values: dict[str, NDArray[np.float32]]) -> None:
        self.values = iter([values])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self.values, None)

"""A model folder without Lookalike: a picture's vector with OpenCV, NumPy and onnxruntime only.

    python examples/plain_onnxruntime.py inference photo.jpg

It reads the steps that most recipes have, a resize and a normalisation, from `lookalike.json`. The model
card of each folder, its `README.md`, has the lines for its own steps. The graph of `lookalike export
--input uint8` takes pixels and normalises them itself, that of `--input uint8-any-size` resizes them too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime


def embed(folder: str, picture: str) -> np.ndarray:
    manifest = json.loads((Path(folder) / "lookalike.json").read_text(encoding="utf-8"))
    steps = {name: values for step in manifest["preprocess"] for name, values in step.items()}
    if unknown := steps.keys() - {"version", "DecodeImage", "ResizeImage", "NormalizeImage", "ToCHWImage"}:
        sys.exit(f"{folder}/README.md has the lines for the step {', '.join(unknown)}")
    _, height, width = manifest["shape"]
    image = cv2.cvtColor(cv2.imread(picture), cv2.COLOR_BGR2RGB)
    if manifest["input"] != "uint8_nhwc_any_size":
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    batch = image[None]
    if manifest["input"] == "float32_nchw":
        scale, mean, std = (np.float32(steps["NormalizeImage"][key]) for key in ("scale", "mean", "std"))
        batch = ((batch * scale - mean) / std).transpose(0, 3, 1, 2)
    session = onnxruntime.InferenceSession(Path(folder) / manifest["graph"])
    return session.run(None, {"images": batch})[0][0]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(embed(*sys.argv[1:]).tolist())

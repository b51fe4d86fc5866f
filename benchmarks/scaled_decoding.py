"""What decoding JPEG files at a part of their size does to features: `DecodeImage: {scaled: true}`.

    python benchmarks/scaled_decoding.py output/grocery/RecModel/best_model \\
        [--data ../shared/data/grocery] [--sides 480 960 1920] [--queries 200] [--json]

The model is a checkpoint or a model folder. Photographs of `query.txt` are enlarged to the sides that are
asked for, with the noise of a sensor, written as JPEG and embedded twice, decoded in full and at a part of
their size. Told are the cosines between both features, and recall@1 of both among the photographs of
`gallery.txt` as they are. With a resize that averages (`backend: pil`) and with one that skips pixels
(OpenCV's bilinear).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lookalike import Embedder
from lookalike.deploy.model_folder import MANIFEST
from lookalike.images import Preprocess


def listed(data: Path, name: str) -> tuple[list[str], np.ndarray]:
    lines = [line.rsplit(" ", 1) for line in (data / name).read_text().splitlines()]
    return [str(data / path) for path, _ in lines], np.array([label for _, label in lines])


def enlarged(file: str, side: int, rng: np.random.Generator) -> bytes:
    """The photograph with a longer side of this many pixels, as JPEG."""
    picture = cv2.imread(file)
    factor = side / max(picture.shape[:2])
    picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    noisy = picture + rng.normal(0, 3, picture.shape[:2])[..., None]
    written, data = cv2.imencode(
        ".jpg", np.clip(noisy, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90]
    )
    assert written
    return data.tobytes()


def changed(model: Embedder, backend: str, scaled: bool) -> Embedder:
    """The model with another resize and decoding."""
    operations = model.preprocess.to_json()
    for operation in operations[1:]:
        ((name, arguments),) = operation.items()
        if name == "DecodeImage":
            arguments |= {"backend": "cv2", "scaled": scaled}
        if name == "ResizeImage":
            arguments["backend"] = backend
    preprocess = Preprocess.from_json(operations)
    return Embedder.of(model.runtime, preprocess, model.size, None, "", model.name)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def measure(model: Embedder, data: Path, sides: list[int], queries: int) -> list[dict[str, Any]]:
    """One row for each resize and side."""
    (paths, labels), (others, other_labels) = listed(data, "query.txt"), listed(data, "gallery.txt")
    chosen = np.random.default_rng(0).permutation(len(paths))[:queries]
    rows = []
    for backend in ("pil", "cv2"):
        gallery = unit(changed(model, backend, scaled=False).encode(others))

        def recall(vectors: np.ndarray, gallery: np.ndarray = gallery) -> float:
            nearest = (vectors @ gallery.T).argmax(axis=1)
            return round(float((other_labels[nearest] == labels[chosen]).mean()), 4)

        for side in sides:
            rng = np.random.default_rng(side)
            files = [enlarged(paths[index], side, rng) for index in chosen]
            full = unit(changed(model, backend, scaled=False).encode(files))
            part = unit(changed(model, backend, scaled=True).encode(files))
            cosines = (full * part).sum(axis=1)
            rows.append(
                {
                    "resize": backend,
                    "side": side,
                    "mean_cosine": round(float(cosines.mean()), 5),
                    "lowest_cosine": round(float(cosines.min()), 5),
                    "recall_full": recall(full),
                    "recall_scaled": recall(part),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/grocery"))
    parser.add_argument("--sides", type=int, nargs="+", default=[480, 960, 1920])
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    opened = (arguments.model / MANIFEST).is_file()
    model = Embedder(arguments.model) if opened else Embedder.from_checkpoint(arguments.model)
    rows = measure(model, arguments.data, arguments.sides, arguments.queries)
    if arguments.json:
        print(json.dumps({"rows": rows}))
        return
    print("resize  side  cosine: mean, lowest   recall@1: full, scaled")
    for row in rows:
        print(
            f"{row['resize']:6}{row['side']:6}{row['mean_cosine']:15.5f}{row['lowest_cosine']:9.5f}"
            f"{row['recall_full']:17.4f}{row['recall_scaled']:8.4f}"
        )


if __name__ == "__main__":
    main()

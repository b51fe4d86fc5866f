"""The few lines that use a model folder without Lookalike, written from its preprocessing."""

from __future__ import annotations

import numpy as np

from lookalike.core.errors import UserError
from lookalike.deploy.binary import ONE_ABOVE, Binarise
from lookalike.deploy.graph_input import InputKind
from lookalike.images import Preprocess
from lookalike.images.operations import (
    CenterCrop,
    CropImage,
    DecodeImage,
    Operation,
    PadSquare,
    Resize,
    ResizeImage,
)
from lookalike.images.operations.base import colour
from lookalike.images.split import Arithmetic

_SIGNS = {"multiply": "*", "subtract": "-", "divide": "/"}
_CV2 = {"nearest": "NEAREST", "bilinear": "LINEAR", "area": "AREA", "bicubic": "CUBIC", "lanczos": "LANCZOS4"}


def plain_code(
    preprocess: Preprocess, *, input: InputKind, binarize: Binarise | None, graph: str
) -> list[str] | None:
    """Lines of Python that make the feature of one picture with onnxruntime, OpenCV and NumPy.

    `input` is what the graph takes. None where the preprocessing has a step that these lines would not be
    few for.
    """
    try:
        pixels, arithmetic = preprocess.split()
    except UserError:
        return None
    before = pixels.operations[:1] if input == "uint8_nhwc_any_size" else pixels.operations
    steps = [_lines(operation) for operation in before]
    if any(lines is None for lines in steps):
        return None
    geometry = [line for lines in steps if lines is not None for line in lines]
    fed = _normalised(arithmetic) if input == "float32_nchw" else ["batch = image[None]"]
    packed = [] if binarize is None else [f"codes = np.packbits(features > {ONE_ABOVE[binarize]}, axis=1)"]
    uses_numpy = any("np." in line for line in [*geometry, *fed, *packed])
    uses_pillow = any("Image." in line for line in geometry)
    uses_opencv = any("cv2." in line for line in geometry)
    return [
        *(["import cv2"] if uses_opencv else []),
        *(["import numpy as np"] if uses_numpy else []),
        "import onnxruntime",
        *(["from PIL import Image, ImageOps"] if uses_pillow else []),
        "",
        f'session = onnxruntime.InferenceSession("{graph}")',
        *geometry,
        *fed,
        '(features,) = session.run(None, {"images": batch})',
        *packed,
    ]


def _lines(operation: Operation) -> list[str] | None:
    if isinstance(operation, DecodeImage):
        if operation.scaled:
            return None
        if operation.backend == "pil":
            return ['image = np.asarray(ImageOps.exif_transpose(Image.open("a.jpg")).convert("RGB"))']
        return ['image = cv2.cvtColor(cv2.imread("a.jpg"), cv2.COLOR_BGR2RGB)']
    if isinstance(operation, (ResizeImage, Resize)):
        return _resized(operation)
    if isinstance(operation, (CropImage, CenterCrop)):
        size = operation.output_size(None)
        assert size is not None
        width, height = size
        whole = isinstance(operation, CropImage)
        top = f"(image.shape[0] - {height}) // 2" if whole else f"round((image.shape[0] - {height}) / 2)"
        left = f"(image.shape[1] - {width}) // 2" if whole else f"round((image.shape[1] - {width}) / 2)"
        return [f"top, left = {top}, {left}", f"image = image[top : top + {height}, left : left + {width}]"]
    if isinstance(operation, PadSquare):
        value = tuple(colour(operation.fill, 3, "PadSquare: fill"))
        return [
            "height, width = image.shape[:2]",
            "top, left = max(width - height, 0) // 2, max(height - width, 0) // 2",
            "bottom, right = max(width - height, 0) - top, max(height - width, 0) - left",
            f"border = (cv2.BORDER_CONSTANT, None, {value})",
            "image = cv2.copyMakeBorder(image, top, bottom, left, right, *border)",
        ]
    return None


def _resized(operation: ResizeImage | Resize) -> list[str] | None:
    lines = []
    size = operation.output_size(None)
    wanted = str(size)
    if size is None:
        if isinstance(operation, Resize):
            return None
        lines = [
            f"ratio = {operation.resize_short} / min(image.shape[:2])",
            "size = round(image.shape[1] * ratio), round(image.shape[0] * ratio)",
        ]
        wanted = "size"
    how = operation.interpolation or "bilinear"
    if operation.backend == "pil":
        kind = f"Image.Resampling.{how.upper()}"
        return [*lines, f"image = np.asarray(Image.fromarray(image).resize({wanted}, {kind}))"]
    return [*lines, f"image = cv2.resize(image, {wanted}, interpolation=cv2.INTER_{_CV2[how]})"]


def _normalised(arithmetic: Arithmetic) -> list[str]:
    lines = [f"image = image{'[:, :, ::-1]' if arithmetic.reversed else ''}.astype(np.float32)"]
    lines += [
        f"image = image {_SIGNS[operation]} {_numbers(values)}" for operation, values in arithmetic.steps
    ]
    return [*lines, "batch = image.transpose(2, 0, 1)[None]"]


def _numbers(values: np.ndarray) -> str:
    """The shortest text that gives the same float32."""
    told = ", ".join(str(value) for value in values)
    return f"np.float32({told})" if values.size == 1 else f"np.float32([{told}])"

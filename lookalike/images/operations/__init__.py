"""Deterministic image operations by the names that recipes use. NumPy arrays in, NumPy arrays out."""

from lookalike.images.operations.base import RANDOM_OPERATIONS, Operation, operations
from lookalike.images.operations.crop import CenterCrop, CropImage, CropImageAtRatio
from lookalike.images.operations.decode import DecodeImage
from lookalike.images.operations.layout import ToCHWImage
from lookalike.images.operations.normalise import Normalize, NormalizeImage, ToTensor
from lookalike.images.operations.pad import Pad, PadSquare, Padv2
from lookalike.images.operations.resize import Resize, ResizeImage

__all__ = [
    "RANDOM_OPERATIONS",
    "CenterCrop",
    "CropImage",
    "CropImageAtRatio",
    "DecodeImage",
    "Normalize",
    "NormalizeImage",
    "Operation",
    "Pad",
    "PadSquare",
    "Padv2",
    "Resize",
    "ResizeImage",
    "ToCHWImage",
    "ToTensor",
    "operations",
]

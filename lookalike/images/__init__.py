"""Records of labelled images, decoding, deterministic operations, and the preprocessing of a model. NumPy,
OpenCV, Pillow only.
"""

from lookalike.images.checks import check_images, check_labels
from lookalike.images.decode import as_rgb, decode_image
from lookalike.images.formats import read_records
from lookalike.images.preprocess import Preprocess
from lookalike.images.records import IMAGE_SUFFIXES, Records, unify_classes, write_list

__all__ = [
    "IMAGE_SUFFIXES",
    "Preprocess",
    "Records",
    "as_rgb",
    "check_images",
    "check_labels",
    "decode_image",
    "read_records",
    "unify_classes",
    "write_list",
]

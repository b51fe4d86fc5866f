"""Records of labelled images, decoding, deterministic operations, and the preprocessing of a model. NumPy,
OpenCV, Pillow only.
"""

from lookalike.images import boxed_lists, cifar, mixture, pair_lists, person_folders  # register formats
from lookalike.images.checks import check_images, check_labels
from lookalike.images.dataset_operations import dataset_operations
from lookalike.images.decode import as_rgb, decode_image
from lookalike.images.formats import read_records
from lookalike.images.preprocess import Preprocess
from lookalike.images.records import IMAGE_SUFFIXES, Records, unify_classes, write_list

__all__ = [
    "IMAGE_SUFFIXES",
    "Preprocess",
    "Records",
    "as_rgb",
    "boxed_lists",
    "check_images",
    "check_labels",
    "cifar",
    "dataset_operations",
    "decode_image",
    "mixture",
    "pair_lists",
    "person_folders",
    "read_records",
    "unify_classes",
    "write_list",
]

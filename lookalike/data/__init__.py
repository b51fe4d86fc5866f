"""What training adds to images: datasets, random augmentation, samplers, loaders."""

from lookalike.data import augmentation, hybrid_mixing, sampling  # registers the components
from lookalike.data.batch_operations import batch_operations
from lookalike.data.dataset import ImageDataset, build_dataset, dataset_options
from lookalike.data.loader import Loader, LoaderSettings, build_loader, build_sampler, loader_settings
from lookalike.data.registries import augmentations, samplers
from lookalike.data.transforms import Transforms, build_transforms

__all__ = [
    "ImageDataset",
    "Loader",
    "LoaderSettings",
    "Transforms",
    "augmentation",
    "augmentations",
    "batch_operations",
    "build_dataset",
    "build_loader",
    "build_sampler",
    "build_transforms",
    "dataset_options",
    "hybrid_mixing",
    "loader_settings",
    "samplers",
    "sampling",
]

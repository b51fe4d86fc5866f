"""What training adds to images: datasets, random augmentation, samplers, loaders."""

from lookalike.data import augmentation, sampling  # registers the components
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
    "build_dataset",
    "build_loader",
    "build_sampler",
    "build_transforms",
    "dataset_options",
    "loader_settings",
    "samplers",
    "sampling",
]

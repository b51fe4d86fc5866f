"""Random operations on one image, by idea. Importing this package registers them all."""

from lookalike.data.augmentation import colour, crop, erasing, geometry, mixing

__all__ = ["colour", "crop", "erasing", "geometry", "mixing"]

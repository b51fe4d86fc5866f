"""Decoded pictures kept in memory, for sets that are read many times from a slow disk or decoded on few
cores.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from lookalike.core.errors import BrokenImage
from lookalike.core.log import logger
from lookalike.core.progress import track

_BLOCK = 64 << 20


class PictureCache:
    """The pictures of a list of files, decoded once.

    They lie in a few large torch tensors: processes that are forked see the same memory, and to those that
    are spawned PyTorch hands it over without a copy. Each rank of a distributed run keeps its own.
    """

    def __init__(self) -> None:
        self.blocks: list[torch.Tensor] = []
        self.places: dict[str, tuple[int, int, tuple[int, int, int]]] = {}
        self.broken: dict[str, str] = {}

    def load(self, paths: list[str], read: Callable[[str], np.ndarray]) -> None:
        """Decode all files with `read` and say how much memory they take; remember why one cannot be
        decoded.
        """
        distinct = list(dict.fromkeys(paths))
        filled = total = 0
        for path in track(distinct, "reading pictures into memory", unit="images"):
            try:
                image = read(path)
            except BrokenImage as error:
                self.broken[path] = error.reason
                continue
            if not self.blocks or filled + image.size > self.blocks[-1].numel():
                self.blocks.append(torch.empty(max(_BLOCK, image.size), dtype=torch.uint8))
                filled = 0
            self.blocks[-1][filled : filled + image.size] = torch.from_numpy(image.reshape(-1))
            self.places[path] = (len(self.blocks) - 1, filled, image.shape)
            filled += image.size
            total += image.size
        if self.blocks:  # give back what the last block does not need
            self.blocks[-1] = self.blocks[-1][:filled].clone()
        logger.info(
            "cache: %d decoded pictures kept in memory, %.0f MB in this process",
            len(self.places),
            total / 1e6,
        )

    def __contains__(self, path: str) -> bool:
        return path in self.places or path in self.broken

    def read(self, path: str) -> np.ndarray:
        """The picture of a file, (H, W, 3) uint8, a view that must not be written to. Raises BrokenImage."""
        if path in self.broken:
            raise BrokenImage(path, self.broken[path])
        block, start, shape = self.places[path]
        image = self.blocks[block][start : start + shape[0] * shape[1] * 3].numpy().reshape(shape)
        image.flags.writeable = False
        return image

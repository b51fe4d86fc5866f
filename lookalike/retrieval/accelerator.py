"""The ranking of `lookalike.retrieval.ranking` on an accelerator, for features that are tensors there.

Needs torch, and is therefore loaded only when such tensors are given. The same counts, the same rule for
    ties; only whole blocks are worked on at once where the processor goes row by row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lookalike.retrieval.blocks import FloatArray, IntArray, Similarities
from lookalike.retrieval.candidates import NOTHING
from lookalike.retrieval.pairs import PairBins
from lookalike.retrieval.ranking import Ranker, Ranking

_FEW = 16
"""Up to so many positives a block is compared with each, beyond that its rows are sorted."""


class DeviceSimilarities(Similarities):
    """Similarities whose products are made on a device: `of` gives a tensor there."""

    def __init__(self, query: npt.NDArray[Any], gallery: npt.NDArray[Any], device: torch.device) -> None:
        super().__init__(query, gallery, memory_budget=0)  # nothing is converted on the processor
        kind = torch.float64 if self.dtype == np.float64 else torch.float32
        self._device_query, self._device_gallery = (
            torch.from_numpy(np.ascontiguousarray(each)).to(device).to(kind) for each in (query, gallery)
        )
        self._columns = [torch.from_numpy(each).to(device) for each in (self._copies, self._originals)]

    def of(self, part: slice) -> FloatArray:
        """A new tensor (queries of the part, G), which the caller may overwrite."""
        block = self._device_query[part] @ self._device_gallery.T
        copies, originals = self._columns
        if len(copies):
            block[:, copies] = block[:, originals]
        return block  # type: ignore[return-value]  # a tensor where the processor has an array


class DeviceRanker(Ranker):
    """Ranks blocks that are tensors on a device."""

    def rank(self, block: Any, part: slice) -> tuple[IntArray, Ranking]:
        """See `Ranker.rank`."""
        found = [self._candidates.of(query) for query in range(part.start, part.stop)]
        rows, positives = _places([each for each, _ in found], block.device)
        removed = _places([each for _, each in found], block.device)
        if self._pairs is not None:
            _count_pairs(self._pairs, part, block, (rows, positives), removed)
        block[removed] = -torch.inf
        if self._top is not None:
            self._keep_best(block, part)
        similarities = block[rows, positives]
        block[rows, positives] = -torch.inf
        highest = block.amax(dim=1)
        index = (block == highest[:, None]).int().argmax(dim=1)  # of equals the first, which max leaves open
        index[highest == -torch.inf] = -1
        self.nearest.other[part], self.nearest.index[part] = highest.cpu().numpy(), index.cpu().numpy()

        counts = np.array([len(each) for each, _ in found])
        members = np.flatnonzero(counts)
        if not members.size:
            return NOTHING, Ranking(NOTHING, np.zeros(1, dtype=np.int64))
        starts = np.cumsum([0, *counts[members]], dtype=np.int64)
        # descending within each query: by similarity first, then, keeping that order, by query
        order = torch.sort(similarities, descending=True).indices
        order = order[torch.sort(rows[order], stable=True).indices]
        rows, similarities = rows[order], similarities[order]
        first_of_row = torch.from_numpy(np.cumsum([0, *counts[:-1]])).to(block.device)
        place = torch.arange(len(rows), device=block.device) - first_of_row[rows]
        thresholds = similarities.new_full((len(block), int(counts.max())), torch.inf)
        thresholds[rows, place] = similarities
        self.nearest.positive[members + part.start] = thresholds[members, 0].cpu().numpy()
        ranks = _not_below(block, thresholds)[rows, place] + place + 1
        return members + part.start, Ranking(ranks.cpu().numpy(), starts)

    def count(self, block: Any, part: slice, bins: Iterable[PairBins]) -> None:
        """See `Ranker.count`."""
        found = [self._candidates.of(query) for query in range(part.start, part.stop)]
        right, removed = (_places(list(each), block.device) for each in zip(*found, strict=True))
        for each in bins:
            _count_pairs(each, part, block, right, removed)

    def _keep_best(self, block: Tensor, part: slice) -> None:
        assert self._top is not None
        k = self._top.indices.shape[1]
        # a stable sort, since topk leaves open which of equal items it takes
        ordered = torch.sort(block, dim=1, descending=True, stable=True)
        similarities, indices = ordered.values[:, :k], ordered.indices[:, :k].clone()
        indices[similarities == -torch.inf] = -1
        self._top.indices[part] = indices.cpu().numpy()
        self._top.similarities[part] = similarities.cpu().numpy()


def _count_pairs(
    bins: PairBins, part: slice, block: Tensor, right: tuple[Tensor, Tensor], removed: tuple[Tensor, Tensor]
) -> None:
    """Add what `PairBins.add` adds for each row of the block of some queries."""
    of_positives, of_others = bins.by_group
    groups = torch.from_numpy(bins.groups[part]).to(block.device)

    def counts(values: Tensor, groups: Tensor) -> IntArray:
        places = (torch.floor(values / bins.width) - bins.first).clamp_(-1, bins.bins).long() + 1
        places += groups * of_positives.shape[1]
        found: IntArray = torch.bincount(places.flatten(), minlength=of_positives.size).cpu().numpy()
        return found.reshape(of_positives.shape)

    positives = counts(block[right], groups[right[0]])
    of_positives += positives
    of_others += counts(block, groups[:, None]) - positives - counts(block[removed], groups[removed[0]])


def _places(columns: list[IntArray], device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows and columns of a block: (N,), (N,)."""
    rows = np.repeat(np.arange(len(columns)), [len(each) for each in columns])
    return torch.from_numpy(rows).to(device), torch.from_numpy(np.concatenate(columns)).to(device)


def _not_below(block: Tensor, thresholds: Tensor) -> Tensor:
    """How many entries of each row of a block are at least as high as each of its thresholds: (B, P)."""
    if thresholds.shape[1] <= _FEW:
        return torch.stack([(block >= each[:, None]).sum(dim=1) for each in thresholds.T], dim=1)
    ordered = torch.sort(block, dim=1).values
    return block.shape[1] - torch.searchsorted(ordered, thresholds, right=False)

"""Features of earlier batches, to compare the batch with more than itself: cross-batch memory."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lookalike.core.errors import UserError
from lookalike.loss.base import Loss
from lookalike.loss.pairwise import unit_rows


class CrossBatchMemory(nn.Module):
    """The last `size` features with their labels, oldest overwritten first.

    Wang, Zhang, Huang, Scott, Cross-Batch Memory for Embedding Learning, 2020,
    https://arxiv.org/abs/1912.06798. Features, labels, the place of the next one and how many there are all
    are buffers, so a checkpoint holds them and a resumed run goes on exactly.

    With several processes each remembers the samples of all, in the order of their ranks: all memories are
    the same, and the one that the first process saves is that of every process. (The reference has a memory
    of its own in each process.)

    The reference starts at the front again as soon as a batch does not fit into the rest, and then puts that
    batch at the very end instead; it takes the memory for full when the last label in it is not class 0, and
    so for empty just after the start over where it is. `reference_behaviour=True` fills in that order, but
    knows what it holds.
    """

    features: Tensor
    labels: Tensor
    position: Tensor
    count: Tensor

    def __init__(self, size: int, dimension: int, reference_behaviour: bool = False) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(size, dimension))
        self.register_buffer("labels", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.reference_behaviour = reference_behaviour

    @torch.no_grad()
    def remember(self, features: Tensor, labels: Tensor) -> None:
        """Add features (N, D) and labels (N,), those of all processes.

        Raises UserError for features of another length than the memory's, and for more than it can hold.
        """
        size, dimension = self.features.shape
        if features.shape[1] != dimension:
            raise UserError(
                f"the memory of earlier batches is for features of {dimension} values, "
                f"got {features.shape[1]}: set 'embedding_size' or 'feat_dim' of the loss"
            )
        features, labels = of_all_processes(features.to(self.features)), of_all_processes(labels)
        added = len(labels)
        if added > size:
            raise UserError(f"a batch of {added} samples does not fit a memory of xbm_size {size}")
        position = int(self.position)
        if self.reference_behaviour:
            overflows = position + added > size
            start = size - added if overflows else position
            places = torch.arange(start, start + added, device=features.device)
            self.position.fill_(0 if overflows else position + added)
            self.count.fill_(size if overflows else max(int(self.count), position + added))
        else:
            places = (position + torch.arange(added, device=features.device)) % size
            self.position.fill_((position + added) % size)
            self.count.fill_(min(int(self.count) + added, size))
        self.features[places] = features
        self.labels[places] = labels.long()

    def recall(self) -> tuple[Tensor, Tensor]:
        """All remembered features (M, D) and labels (M,), in no particular order."""
        count = int(self.count)
        return self.features[:count], self.labels[:count]


class RememberingLoss(Loss):
    """L = compare(batch, batch) + xbm_weight * compare(batch, memory).

    The second term begins with batch start_iter + 1. From then on each batch is remembered before it is
    compared, so the memory holds the batch itself and is never empty. Gradients flow to the batch, not to the
    memory. At evaluation nothing is remembered, and the batch is compared with itself alone. A subclass
    writes `compare`.
    """

    iteration: Tensor

    def __init__(
        self,
        memory: CrossBatchMemory,
        weight: float,
        start_iter: int,
        normalize_feature: bool,
        feature_from: str,
    ) -> None:
        super().__init__(feature_from)
        self.memory = memory
        self.weight = weight
        self.start_iter = start_iter
        self.normalize_feature = normalize_feature
        self.register_buffer("iteration", torch.zeros((), dtype=torch.int64))

    @abstractmethod
    def compare(self, queries: Tensor, query_labels: Tensor, keys: Tensor, key_labels: Tensor) -> Tensor:
        """The loss of queries (Q, D) against keys (K, D), with their labels."""

    def value(self, values: Tensor, labels: Tensor) -> Tensor:
        features = unit_rows(values) if self.normalize_feature else values
        loss = self.compare(features, labels, features, labels)
        if not self.training:
            return loss
        self.iteration += 1
        if int(self.iteration) <= self.start_iter:
            return loss
        self.memory.remember(features, labels)
        keys, key_labels = self.memory.recall()
        return loss + self.weight * self.compare(features, labels, keys.to(features), key_labels)


def of_all_processes(values: Tensor) -> Tensor:
    """The rows of all processes in the order of their ranks, however many each has. No gradient flows."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return values
    counts: list[int] = [0] * dist.get_world_size()
    dist.all_gather_object(counts, len(values))
    padded = values.new_zeros(max(counts), *values.shape[1:])
    padded[: len(values)] = values
    gathered = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(gathered, padded)
    return torch.cat([rows[:count] for rows, count in zip(gathered, counts, strict=True)])

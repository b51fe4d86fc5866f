"""Losses that compare with earlier batches: what is remembered, for how long, and that the state holds it."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
import torch

from lookalike.core.errors import UserError
from lookalike.loss import losses, memory
from lookalike.loss.memory import CrossBatchMemory, RememberingLoss
from tests.loss.naive_pairs import contrastive, unit

BATCHES = [[0, 0, 1, 1], [2, 2, 0, 0], [1, 3, 3], [0, 0, 0, 0], [4, 4, 1, 1], [0, 1, 0, 1]]
"""Labels of batches of differing size; the class 0 of the reference's trouble is there often."""


def build(name: str = "ContrastiveLoss_XBM", **arguments: Any) -> RememberingLoss:
    length = "feat_dim" if name.startswith("Triplet") else "embedding_size"
    section = {"xbm_size": 7, length: 5, "start_iter": 1, "xbm_weight": 0.5, **arguments}
    loss = losses.build({name: section})
    assert isinstance(loss, RememberingLoss)
    return loss


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(len(labels), 5, generator=generator, dtype=torch.float64), torch.tensor(labels))
        for labels in BATCHES
    ]


def evaluate(loss: RememberingLoss, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    (value,) = loss({"features": features}, labels).values()
    return value


def test_memory_holds_the_last_samples() -> None:
    """Against a queue; the first batch comes before `start_iter`."""
    loss = build(margin=0.1).double()
    queue: deque[tuple[np.ndarray, int]] = deque(maxlen=7)
    for step, (features, labels) in enumerate(batches()):
        array, flat = features.numpy(), labels.numpy()
        expected = contrastive(array, flat, margin=0.1)
        if step >= 1:
            queue.extend(zip(unit(array), flat.tolist(), strict=True))
            keys, key_labels = np.stack([row for row, _ in queue]), np.array([label for _, label in queue])
            expected += 0.5 * contrastive(array, flat, margin=0.1, keys=keys, key_labels=key_labels)
        assert evaluate(loss, features, labels).item() == pytest.approx(expected, rel=1e-9)
    stored, stored_labels = loss.memory.recall()
    found = sorted(zip(stored[:, 0].tolist(), stored_labels.tolist(), strict=True))
    assert found == sorted((row[0], label) for row, label in queue)


def test_triplets_are_mined_in_the_memory() -> None:
    """A sample that is alone with its label in the batch finds its positive among those of earlier ones."""
    loss = build("TripletAngularMarginLoss_XBM", start_iter=0, xbm_weight=1.0, margin=0.0)
    first, second = torch.tensor([[1.0, 0, 0, 0, 0]]), torch.tensor([[0, 1.0, 0, 0, 0], [0.6, 0.8, 0, 0, 0]])
    evaluate(loss, first, torch.tensor([0]))
    # in the batch each is its own positive at 1, the other is 0.8 near: satisfied. In the memory the first
    # has a positive at 0 and a negative at 0.8, the second no other positive
    assert evaluate(loss, second, torch.tensor([0, 1])).item() == pytest.approx(0.4)


def test_no_gradient_flows_to_the_memory() -> None:
    loss = build(start_iter=0)
    one, other = torch.randn(2, 5, requires_grad=True), torch.randn(2, 5, requires_grad=True)
    evaluate(loss, one, torch.tensor([0, 1]))
    evaluate(loss, other, torch.tensor([0, 1])).backward()
    assert one.grad is None
    assert other.grad is not None
    assert other.grad.any()


def test_evaluation_remembers_nothing() -> None:
    loss = build(start_iter=0).eval()
    features, labels = batches()[0]
    value = evaluate(loss, features.float(), labels)
    assert int(loss.memory.count) == int(loss.iteration) == 0
    assert value.item() == pytest.approx(contrastive(features.numpy(), labels.numpy()), rel=1e-5)


@pytest.mark.parametrize("name", ["ContrastiveLoss_XBM", "TripletAngularMarginLoss_XBM"])
def test_state_holds_all_that_is_remembered(name: str) -> None:
    """A loss that is given the state of another goes on as that one, wherever it stood."""
    for stop in range(len(BATCHES)):
        whole = build(name)
        for features, labels in batches()[:stop]:
            evaluate(whole, features.float(), labels)
        resumed = build(name)
        resumed.load_state_dict(whole.state_dict())
        for features, labels in batches()[stop:]:
            values = [evaluate(loss, features.float(), labels) for loss in (whole, resumed)]
            assert torch.equal(*values)


def test_memory_of_another_length_is_one_sentence() -> None:
    small = CrossBatchMemory(4, 8)
    with pytest.raises(UserError, match="is for features of 8 values, got 5: set 'embedding_size' or"):
        small.remember(torch.randn(2, 5), torch.tensor([0, 1]))
    with pytest.raises(UserError, match="a batch of 5 samples does not fit a memory of xbm_size 4"):
        small.remember(torch.randn(5, 8), torch.arange(5))


def test_rows_of_processes_whose_batches_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 0 has two rows, rank 1 three: padded to be exchanged, cut and joined in the order of ranks.

    Two real processes with equal batches are in tests/distributed.
    """
    of_ranks = [torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([[5.0, 6], [7, 8], [9, 10]])]

    class Exchange:
        is_initialized = staticmethod(lambda: True)
        get_world_size = staticmethod(lambda: 2)

        @staticmethod
        def all_gather_object(counts: list[int], own: int) -> None:
            assert own == 2
            counts[:] = [2, 3]

        @staticmethod
        def all_gather(gathered: list[torch.Tensor], own: torch.Tensor) -> None:
            assert torch.equal(own, torch.cat([of_ranks[0], torch.zeros(1, 2)]))
            gathered[0].copy_(own)
            gathered[1].copy_(of_ranks[1])

    monkeypatch.setattr(memory, "dist", Exchange)
    assert torch.equal(memory.of_all_processes(of_ranks[0]), torch.cat(of_ranks))

"""The division of records into train, validation, query and gallery."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.core.errors import UserError
from lookalike.doctor.split import split


def labels_of(counts: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


def test_classes_are_disjoint_and_shares_as_documented() -> None:
    labels = labels_of([9] * 100)
    parts = split(labels, seed=3)
    classes = {name: set(labels[own].tolist()) for name, own in parts.parts().items()}
    assert parts.by_class
    assert {name: len(own) for name, own in classes.items()} == {
        "train": 70,
        "validation": 10,
        "query": 20,
        "gallery": 20,
    }
    assert not classes["train"] & (classes["validation"] | classes["query"])
    assert not classes["validation"] & classes["query"]
    assert classes["query"] == classes["gallery"]
    assert len(parts.query) == 60
    assert len(parts.gallery) == 120


def test_the_seed_decides() -> None:
    labels = labels_of([5] * 30)
    assert split(labels, 1).parts() == split(labels, 1).parts()
    assert split(labels, 1).parts() != split(labels, 2).parts()


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(1, 12), min_size=2, max_size=20), seed=st.integers(0, 5))
def test_every_picture_is_in_one_part_and_every_query_can_be_met(counts: list[int], seed: int) -> None:
    labels = labels_of(counts)
    try:
        parts = split(labels, seed)
    except UserError:
        assert sum(count >= 3 for count in counts) < 2 or len(set(labels.tolist())) < 2
        return
    everything = [index for own in parts.parts().values() for index in own]
    assert sorted(everything) == list(range(len(labels)))
    offered = set(labels[parts.gallery].tolist())
    assert all(int(labels[index]) in offered for index in parts.query)
    searched, counted = np.unique(labels[parts.validation], return_counts=True)
    assert (counted > 1).all()
    assert len(set(labels[parts.train].tolist())) >= 2
    if parts.by_class:
        assert not set(labels[parts.train].tolist()) & set(searched.tolist())


def test_few_classes_are_divided_by_picture() -> None:
    labels = labels_of([20, 20, 4, 2])
    parts = split(labels)
    assert not parts.by_class
    assert np.bincount(labels[parts.train], minlength=4).tolist() == [14, 14, 2, 2]
    assert np.bincount(labels[parts.validation], minlength=4).tolist() == [2, 2, 0, 0]
    assert np.bincount(labels[parts.query], minlength=4).tolist() == [1, 1, 1, 0]
    assert np.bincount(labels[parts.gallery], minlength=4).tolist() == [3, 3, 1, 0]


def test_classes_of_one_picture_train_or_stand_in_the_gallery() -> None:
    labels = labels_of([4] * 10 + [1] * 10)
    parts = split(labels)
    lone = set(range(10, 20))
    assert not lone & set(labels[parts.validation + parts.query].tolist())
    assert len(lone & set(labels[parts.gallery].tolist())) == 2
    assert len(lone & set(labels[parts.train].tolist())) == 8


@pytest.mark.parametrize(
    ("counts", "told"), [([9], "one class"), ([1, 1, 1], "too few"), ([2, 2], "too few")]
)
def test_too_little_is_refused(counts: list[int], told: str) -> None:
    with pytest.raises(UserError, match=told):
        split(labels_of(counts))

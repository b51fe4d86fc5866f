"""Samplers against counts over many epochs of the reference.

Its random streams cannot be repeated, so counts are compared as two samples of one distribution: the
difference of two independent counts over n batches has the variance 2 n v, v being that of one batch; 5
standard deviations are allowed. (About 500 counts are compared; chance alone would pass that bound once in
some 3,000 runs of the file, and the seed is fixed.) Only the batch sampler that shuffles by the epoch
number is compared index by index.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from lookalike.core.errors import UserError
from lookalike.data import build_sampler, samplers
from lookalike.images import Records
from tests.golden import golden

DEVIATIONS = 5.0


def _name(case: dict[str, Any]) -> str:
    return str(case["cls"]).rsplit(".", 1)[-1]


def _missing(case: dict[str, Any]) -> str | None:
    return None if _name(case) in samplers else f"sampler {_name(case)}"


@pytest.fixture(scope="module")
def store() -> Any:
    return golden.arrays("samplers")


@golden.parametrize("samplers", _missing)
def test_sampler(case: dict[str, Any], store: Any) -> None:
    entry = samplers.entry(_name(case))
    expected = golden.under(store, case["id"])
    special = {
        "DistributedBatchSampler": _check_batches,
        "RASampler": _check_repeated,
        "MultiScaleSampler": _check_scales,
        "MixSampler": _check_mixture,
    }.get(entry.name)
    if special is not None:
        special(case, expected)
        return
    section = {"name": entry.name, **case["args"]}
    labels = expected["in/labels"]
    if "error" in case:
        with pytest.raises(UserError):
            build_sampler(section, labels)
        return
    if "in/cameras" in expected:
        _check_domains(case, section, labels, expected["in/cameras"])
        return
    sampler = build_sampler(section, labels, seed=7, reference_behaviour=True)
    epochs = []
    for epoch in range(case["epochs"]):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
        assert len(epochs[-1]) == len(sampler)
    batches = [batch for epoch in epochs for batch in epoch]
    assert {str(len(b)) for b in batches} == set(case["batch_sizes"])
    assert {str(len(set(labels[b]))) for b in batches} == set(case["ids_per_batch"])
    images_each = case["args"].get("sample_per_id") or case["args"]["num_instances"]
    for batch in batches:
        rows = labels[batch].reshape(-1, images_each)
        assert (rows == rows[:, :1]).all(), "images of one identity stand together"
    _check_image_draws(batches, labels, images_each, expected["stat/image_draws"])
    if entry.name == "PKSampler":
        _check_identities(case, sampler, epochs, labels, expected)
    elif entry.name == "DistributedRandomIdentitySampler":
        _check_groups(case, epochs, expected)
    else:
        pytest.fail(f"no comparison is written for {entry.name}")


def _check_batches(case: dict[str, Any], expected: dict[str, np.ndarray]) -> None:
    arguments = dict(case["args"])
    world_size, rank = arguments.pop("num_replicas", 1), arguments.pop("rank", 0)
    sampler = build_sampler(
        {"name": _name(case), **arguments},
        np.zeros(case.get("n_samples", 53), np.int64),
        seed=99,
        rank=rank,
        world_size=world_size,
        reference_behaviour=True,
    )
    if arguments["shuffle"]:
        for epoch, stream in enumerate(expected["stat/epoch0_epoch1"]):
            sampler.set_epoch(epoch)
            assert [i for batch in sampler for i in batch] == stream.tolist()
        return
    batches = list(sampler)
    assert len(batches) == len(sampler) == case["len"]
    assert [len(b) for b in batches] == expected["stat/sizes"].tolist()
    assert [i for b in batches for i in b] == expected["stat/flat"].tolist()


def _check_repeated(case: dict[str, Any], expected: dict[str, np.ndarray]) -> None:
    sampler = build_sampler({"name": _name(case), **case["args"]}, np.zeros(case["n_samples"], np.int64))
    batches = list(sampler)
    assert len(batches) == len(sampler) == case["len"] == case["batches"]
    assert batches[0][: len(case["first"])] == case["first"]


def _check_scales(case: dict[str, Any], expected: dict[str, np.ndarray]) -> None:
    """Sizes are drawn, so that only what follows from them can be compared."""
    section = {"name": _name(case), **case["args"]}
    sampler: Any = build_sampler(section, np.zeros(case["n_samples"], np.int64), seed=7)
    pairs = sorted(map(tuple, case["whb_pairs"]))
    assert sorted(sampler.sizes) == pairs
    lengths = []
    for epoch in range(60):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        lengths.append(len(sampler))
        assert len(batches) == lengths[-1]
        assert all(len({entry[:2] for entry in batch}) == 1 for batch in batches)
        assert all((*batch[0][:2], len(batch)) in pairs for batch in batches)
        assert {index for batch in batches for _, _, index in batch} == set(range(case["n_samples"]))
    assert min(lengths) <= case["len"] <= max(lengths)
    if not case["args"].get("is_training", True):
        assert set(lengths) == {case["len"]}
        assert sum(map(len, batches)) == case["samples"][0]


def _check_mixture(case: dict[str, Any], expected: dict[str, np.ndarray]) -> None:
    """The sets of the case are not recorded; its length says that they have 277 images together."""
    lengths = [200, 77]
    labels = np.concatenate([np.arange(200), np.arange(77) // 7])
    parts: list[dict[str, Any]] = [
        {"name": "DistributedBatchSampler", "drop_last": False, "shuffle": True},
        {"name": "PKSampler", "sample_per_id": 2},
    ]
    arguments = {key: value for key, value in case["args"].items() if key not in ("ratios", "samplers")}
    configs = [{**part, "ratio": ratio} for part, ratio in zip(parts, case["args"]["ratios"], strict=True)]
    section = {"name": "MixSampler", **arguments, "sample_configs": configs}
    if "error" in case:
        with pytest.raises(UserError, match=r"batch_size \(5\) must be a multiple of sample_per_id \(2\)"):
            build_sampler(section, labels, lengths=lengths)
        return
    theirs = build_sampler(section, labels, lengths=lengths, reference_behaviour=True)
    batches = list(theirs)
    assert len(batches) == len(theirs) == case["batches"]
    assert Counter(str(len(batch)) for batch in batches) == case["batch_sizes"]
    first = [sum(index < lengths[0] for index in batch) for batch in batches]
    shares = Counter(str((count, len(batch) - count)) for count, batch in zip(first, batches, strict=True))
    assert shares == case["first_second_counts"]
    assert len(build_sampler(section, labels, lengths=lengths)) == arguments["iter_per_epoch"]


def _check_domains(
    case: dict[str, Any], section: dict[str, Any], labels: np.ndarray, cameras: np.ndarray
) -> None:
    """Identities a batch and images a domain; where they vary, about as often as in 60 batches there."""
    records = Records([""] * len(labels), labels, cameras)
    sampler = build_sampler(section, records, seed=7)
    batches: list[list[int]] = []
    for epoch in range(40):
        sampler.set_epoch(epoch)
        own = list(sampler)
        assert len(own) == len(sampler)
        batches += own
    assert {str(len(batch)) for batch in batches} == set(case["batch_sizes"])
    counts = Counter(len(set(labels[batch].tolist())) for batch in batches)
    theirs = {int(number): times for number, times in case["ids_per_batch"].items()}
    mean = sum(number * times for number, times in theirs.items()) / sum(theirs.values())
    spread = np.std([number for number, times in theirs.items() for _ in range(times)])
    ours = sum(number * times for number, times in counts.items()) / len(batches)
    assert abs(ours - mean) <= DEVIATIONS * spread * np.sqrt(1 / 60 + 1 / len(batches))
    layouts = Counter(
        str(tuple((camera, int((cameras[batch] == camera).sum())) for camera in (0, 1, 2)))
        for batch in batches
    )
    assert set(case["domain_layouts"]) <= set(layouts)
    if len(case["domain_layouts"]) == 1:
        assert set(layouts) == set(case["domain_layouts"])


def _check_identities(
    case: dict[str, Any],
    sampler: Any,
    epochs: list[list[list[int]]],
    labels: np.ndarray,
    expected: dict[str, np.ndarray],
) -> None:
    assert len(sampler) == case["len"]
    assert Counter(str(len(e)) for e in epochs) == case["batches_per_epoch"]
    order = expected["stat/label_order"]
    assert sampler.label_order.tolist() == order.tolist()
    golden.assert_close(sampler.probability, expected["stat/prob"], 1e-12, 0)
    batches = [batch for epoch in epochs for batch in epoch]
    drawn = Counter(label for batch in batches for label in set(labels[batch].tolist()))
    ours = np.array([drawn[label] for label in order.tolist()])
    theirs = expected["stat/ids_drawn"]
    share = (ours + theirs) / 2 / len(batches)
    bound = DEVIATIONS * np.sqrt(2 * len(batches) * share * (1 - share)) + 1
    assert (np.abs(ours - theirs) <= bound).all()
    _check_mean(_coverage(epochs, len(labels)), float(expected["stat/coverage_per_epoch_mean"]))


def _check_groups(
    case: dict[str, Any], epochs: list[list[list[int]]], expected: dict[str, np.ndarray]
) -> None:
    lengths = np.array([len(epoch) for epoch in epochs], dtype=np.float64)
    _check_mean(lengths, case["batches_mean"])
    assert abs(lengths.min() - case["batches_min"]) <= 1
    assert abs(lengths.max() - case["batches_max"]) <= 1
    _check_mean(_coverage(epochs, case["n_samples"]), case["coverage_mean"])
    repeated = sum(max(Counter(i for b in epoch for i in b).values()) > 1 for epoch in epochs)
    assert repeated == case["epochs_with_repeated_image"]


def _check_mean(ours: np.ndarray, theirs: float) -> None:
    assert abs(ours.mean() - theirs) <= DEVIATIONS * ours.std() * np.sqrt(2 / len(ours)) + 1e-9


def _coverage(epochs: list[list[list[int]]], images: int) -> np.ndarray:
    return np.array([len({i for batch in epoch for i in batch}) / images for epoch in epochs])


def _check_image_draws(
    batches: list[list[int]], labels: np.ndarray, images_each: int, theirs: np.ndarray
) -> None:
    """An image comes X times into a batch. With its identity drawn, E X² <= E X (1 + K / n) for K draws out
    of n.
    """
    ours = np.bincount(np.concatenate(batches), minlength=len(labels))
    scale = len(batches) / (theirs.sum() / images_each / (len(batches[0]) // images_each))
    counts = np.array([np.count_nonzero(labels == label) for label in labels])
    mean = (ours + theirs * scale) / 2
    bound = DEVIATIONS * np.sqrt(2 * mean * (1 + images_each / counts)) + 1
    assert (np.abs(ours - theirs * scale) <= bound).all()

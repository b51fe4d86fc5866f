"""Samplers: composition of batches, sharding over processes, determinism, messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lookalike.core.component import Place, Section
from lookalike.core.errors import UserError
from lookalike.data import build_sampler
from lookalike.images import Records

LABELS = np.repeat([30, 10, 20, 40, 50, 60], [7, 5, 4, 9, 2, 1])[np.random.default_rng(0).permutation(28)]
PLAIN = {"name": "DistributedBatchSampler", "batch_size": 3, "shuffle": True}
IDENTITIES = {"name": "PKSampler", "batch_size": 6, "sample_per_id": 3, "drop_last": False}
GROUPS = {"name": "DistributedRandomIdentitySampler", "batch_size": 4, "num_instances": 2}
ITERATIONS = {**GROUPS, "max_iters": 15}
CAMERAS = np.arange(28) % 3
FILLED = {"name": "NaiveIdentityBatchSampler", "batch_size": 4, "num_instances": 2}
DOMAINS = {"name": "DomainShuffleBatchSampler", "batch_size": 12, "num_instances": 2}
REPEATED = {"name": "RASampler", "batch_size": 3, "shuffle": True}
MIXED = {
    "name": "MixSampler",
    "batch_size": 6,
    "iter_per_epoch": 9,
    "sample_configs": [{**PLAIN, "ratio": 0.5}, {**IDENTITIES, "ratio": 0.5, "sample_per_id": 1}],
}
SCALES = {"name": "MultiScaleSampler", "scales": [32, [64, 32]], "first_bs": 4}


@pytest.mark.parametrize("section", [PLAIN, IDENTITIES, GROUPS, ITERATIONS, FILLED, DOMAINS, REPEATED, MIXED])
@pytest.mark.parametrize("world_size", [1, 3])
def test_every_sampler(section: dict[str, Any], world_size: int) -> None:
    def batches(seed: int, epoch: int, rank: int = 0) -> list[list[int]]:
        records = Records([""] * 28, LABELS, CAMERAS)
        sampler = build_sampler(
            section, records, seed=seed, rank=rank, world_size=world_size, lengths=[16, 12]
        )
        sampler.set_epoch(epoch)
        found = list(sampler)
        assert len(found) == len(sampler)
        assert found == list(sampler), "an epoch can be repeated"
        assert all(isinstance(i, int) and 0 <= i < len(LABELS) for batch in found for i in batch)
        assert sampler.batch_size == section["batch_size"]
        return found

    assert batches(1, 0) == batches(1, 0)
    assert batches(1, 0) != batches(1, 1)
    assert batches(1, 0) != batches(2, 0)
    lengths = {len(batches(1, 2, rank)) for rank in range(world_size)}
    assert len(lengths) == 1, "processes that gave different numbers of batches would wait for each other"
    if world_size > 1 and section is not REPEATED:  # there, it is the point that they see the same images
        assert batches(1, 0, 0) != batches(1, 0, 1)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("images", "world_size"), [(28, 1), (28, 3), (27, 3), (2, 5)])
def test_processes_share_out_the_images(shuffle: bool, images: int, world_size: int) -> None:
    shares = []
    for rank in range(world_size):
        sampler = build_sampler(
            {**PLAIN, "shuffle": shuffle}, np.zeros(images), seed=4, rank=rank, world_size=world_size
        )
        shares.append([i for batch in sampler for i in batch])
    every = sorted(i for share in shares for i in share)
    assert set(every) == set(range(images))
    padded = -(-images // world_size) * world_size
    assert every == sorted(list(range(images)) * (padded // images) + list(range(padded % images)))


def test_batch_sampler_is_another_name() -> None:
    a = build_sampler({"name": "BatchSampler", "batch_size": 3}, LABELS)
    assert next(iter(a)) == [0, 1, 2]


@pytest.mark.parametrize("method", ["sample_avg_prob", "id_avg_prob"])
def test_batches_of_identities(method: str) -> None:
    sampler = build_sampler({**IDENTITIES, "sample_method": method}, LABELS, seed=1)
    assert len(sampler) == 5
    counts = {label: np.count_nonzero(label == LABELS) for label in set(LABELS.tolist())}
    for epoch in range(20):
        sampler.set_epoch(epoch)
        for batch in sampler:
            groups = LABELS[batch].reshape(2, 3)
            assert (groups == groups[:, :1]).all()
            assert groups[0, 0] != groups[1, 0]
            for group in np.array(batch).reshape(2, 3):
                if counts[LABELS[group[0]]] >= 3:
                    assert len(set(group.tolist())) == 3


def test_id_list_counts_positions_of_first_appearance() -> None:
    labels = np.array([9, 9, 4, 4, 7, 7, 1, 1])
    section = {"name": "PKSampler", "batch_size": 2, "sample_per_id": 2, "sample_method": "id_avg_prob"}
    sampler: Any = build_sampler({**section, "id_list": [1, 2], "ratio": [3]}, labels)
    assert sampler.label_order.tolist() == [9, 4, 7, 1]
    np.testing.assert_allclose(sampler.probability, np.array([1, 3, 3, 1]) / 8)


def test_groups_use_an_image_once_where_there_are_enough() -> None:
    sampler: Any = build_sampler(GROUPS, LABELS, seed=3)
    for epoch in range(20):
        sampler.set_epoch(epoch)
        drawn = np.bincount([i for batch in sampler for i in batch], minlength=len(LABELS))
        many = LABELS != 60
        assert drawn[many].max() == 1
        for batch in sampler:
            groups = LABELS[batch].reshape(2, 2)
            assert (groups[:, 0] == groups[:, 1]).all()
            assert groups[0, 0] != groups[1, 0]


def test_processes_share_out_the_groups() -> None:
    alone = build_sampler(GROUPS, LABELS, seed=3)
    shares = [list(build_sampler(GROUPS, LABELS, seed=3, rank=r, world_size=2)) for r in range(2)]
    whole = list(alone)
    together = [batch for pair in zip(*shares, strict=True) for batch in pair]
    assert together == whole[: len(whole) // 2 * 2]


def test_an_epoch_of_groups_takes_linear_time() -> None:
    labels = np.repeat(np.arange(20_000), 4)
    sampler = build_sampler({**GROUPS, "batch_size": 128}, labels, seed=0)
    batches = list(sampler)
    assert len(batches) > 550
    assert len({i for b in batches for i in b}) == len(batches) * 128


@pytest.mark.parametrize("world_size", [1, 3])
def test_sizes_are_those_of_every_process(world_size: int) -> None:
    def batches(epoch: int, rank: int) -> list[Any]:
        sampler = build_sampler(SCALES, LABELS, seed=5, rank=rank, world_size=world_size)
        sampler.set_epoch(epoch)
        return list(sampler)

    first = [batches(0, rank) for rank in range(world_size)]
    sizes = {tuple((*batch[0][:2], len(batch)) for batch in batches) for batches in first}
    assert len(sizes) == 1
    assert set(next(iter(sizes))) <= {(32, 32, 4), (64, 32, 2)}
    assert {index for each in first for batch in each for _, _, index in batch} == set(range(28))
    assert first[0] == batches(0, 0)
    assert first[0] != batches(1, 0)


def test_groups_that_are_filled_up_show_every_image() -> None:
    sampler = build_sampler(FILLED, LABELS, seed=3)
    drawn: set[int] = set()
    for epoch in range(20):
        sampler.set_epoch(epoch)
        for batch in sampler:
            rows = LABELS[batch].reshape(2, 2)
            assert (rows[:, 0] == rows[:, 1]).all()
            assert rows[0, 0] != rows[1, 0]
            drawn.update(batch)
    assert drawn == set(range(28))


def test_domains_share_a_batch_alike() -> None:
    sampler = build_sampler(DOMAINS, Records([""] * 28, LABELS, CAMERAS), seed=3)
    drawn: set[int] = set()
    for epoch in range(10):
        sampler.set_epoch(epoch)
        for batch in sampler:
            assert np.bincount(CAMERAS[batch]).tolist() == [4, 4, 4]
            rows = np.stack([LABELS[batch], CAMERAS[batch]]).reshape(2, 6, 2)
            assert (rows[..., 0] == rows[..., 1]).all(), "one identity under one camera each"
            drawn.update(batch)
    assert drawn == set(range(28))


def test_repeated_images_are_dealt_out_to_the_processes() -> None:
    section = {"name": "RASampler", "batch_size": 4, "num_repeats": 2, "selected_round": 4}
    shares = [list(build_sampler(section, np.zeros(30), rank=r, world_size=2)) for r in range(2)]
    # 28 of 60 places, each image at both processes in the same step
    assert shares[0] == shares[1] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13]]
    assert len(list(build_sampler(section | {"selected_round": 256}, np.zeros(30)))) == 8


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {**IDENTITIES, "batch_size": 7},
            r"batch_size \(7\) must be a multiple of sample_per_id \(3\), such as 6",
        ),
        ({**GROUPS, "batch_size": 5}, r"must be a multiple of num_instances \(2\)"),
        (
            {**IDENTITIES, "batch_size": 30},
            "needs 10 identities, and the set has 6: set batch_size to 18 or less",
        ),
        (
            {**IDENTITIES, "id_list": [0, 9], "ratio": [2]},
            r"\[0, 9\] is no range of positions among 6 identities",
        ),
        ({**IDENTITIES, "id_list": [0, 1, 2], "ratio": [2]}, "pairs"),
        ({**IDENTITIES, "id_list": [0, 1]}, "pairs"),
        ({**IDENTITIES, "sample_method": "other"}, "sample_method: must be"),
        ({**PLAIN, "batch_size": 0}, "batch_size must be at least 1"),
        ({**PLAIN, "batch_size": 64, "drop_last": True}, "drop_last leaves no batch"),
        ({**IDENTITIES, "batch_size": 6, "sample_per_id": 3, "drop_last": True}, None),
        ({**PLAIN, "name": "PKSample"}, "did you mean 'PKSampler'"),
        ({**PLAIN, "batchsize": 2}, "did you mean 'batch_size'"),
        ({**ITERATIONS, "max_iters": 0}, "max_iters must be at least 1"),
        (DOMAINS, "takes cameras for domains, and the set has none"),
        (MIXED, "use that data set"),
        ({**REPEATED, "num_repeats": 0}, "num_repeats must be at least 1"),
        ({**SCALES, "scales": [16]}, r"at least divided_factor \(32\)"),
        ({**SCALES, "scales": [[32, 32, 32]]}, r"the side of a square or \[width, height\]"),
    ],
)
def test_messages(section: dict[str, Any], message: str | None) -> None:
    if message is None:
        build_sampler(section, LABELS)
        return
    with pytest.raises(UserError, match=message):
        build_sampler(section, LABELS)


def test_messages_begin_with_the_place() -> None:
    with pytest.raises(UserError, match=r"^sampler: batch_size must be"):
        build_sampler({**PLAIN, "batch_size": 0}, LABELS)


@pytest.mark.parametrize(
    ("section", "asked", "harmless"),
    [
        (IDENTITIES, {"shuffle": False}, {"shuffle": True}),
        (GROUPS, {"shuffle": False, "drop_last": False}, {"shuffle": True, "drop_last": True}),
    ],
)
def test_what_has_no_effect_is_told_once(
    section: dict[str, Any],
    asked: dict[str, bool],
    harmless: dict[str, bool],
    caplog: pytest.LogCaptureFixture,
) -> None:
    build_sampler({**section, **harmless}, LABELS)
    assert not caplog.records
    for _ in range(2):
        build_sampler({**section, **asked}, LABELS)
    assert [record.message.partition(":")[0] for record in caplog.records] == ["sampler"] * len(asked)
    for record, key in zip(caplog.records, asked, strict=True):
        assert f"'{key}' has no effect: " in record.message


def test_a_wrong_argument_names_its_line_once() -> None:
    section = Section({**IDENTITIES, "batch_size": "many"}, Place("DataLoader.Train.sampler", "r.yaml", 89))
    section.lines = {"batch_size": 91}
    with pytest.raises(UserError) as caught:
        build_sampler(section, LABELS)
    assert str(caught.value) == (
        "r.yaml:91: DataLoader.Train.sampler.batch_size: must be a whole number, got 'many'"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 3}, "has no identities of two cameras: set batch_size to 4 or more"),
        ({"camera_to_domain": False}, "camera_to_domain must be True"),
    ],
)
def test_messages_of_domains(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_sampler({**DOMAINS, **change}, Records([""] * 28, LABELS, CAMERAS))


@pytest.mark.parametrize(("asked", "given", "cameras"), [(16, 12, 3), (60, 18, 3), (4, 4, 2)])
def test_batches_of_domains_may_be_smaller_or_of_fewer(
    asked: int, given: int, cameras: int, caplog: pytest.LogCaptureFixture
) -> None:
    sampler = build_sampler({**DOMAINS, "batch_size": asked}, Records([""] * 28, LABELS, CAMERAS))
    batches = list(sampler)
    assert sampler.batch_size == given
    assert {len(batch) for batch in batches} == {given}
    assert {len(set(CAMERAS[batch])) for batch in batches} == {cameras}
    assert set(CAMERAS[[index for batch in batches for index in batch]]) == {0, 1, 2}
    assert (f"a batch has {given} images, not {asked}" in caplog.text) == (given != asked)


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        ([{**PLAIN, "ratio": 1}], "has 1 entries for 2 data sets"),
        (
            [{**PLAIN, "ratio": 0.1}, {**PLAIN, "ratio": 0.9}],
            r"sample_configs\[0\]: its share of a batch is 0",
        ),
        ([PLAIN, PLAIN], r"sample_configs\[0\] needs a ratio"),
    ],
)
def test_messages_of_mixtures(configs: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_sampler({**MIXED, "sample_configs": configs}, LABELS, lengths=[16, 12])

"""The loader: the same batches for any number of workers, resuming, sharding, broken images, recipe
sections.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lookalike.core.errors import LookalikeError, UserError
from lookalike.data import Loader, build_loader
from tests.data.pictures import NORMALISE, dataset_section, loader_section, write_images

LABELS = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
PK = {"name": "PKSampler", "batch_size": 6, "sample_per_id": 3, "drop_last": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images")
    write_images(path, LABELS)
    return path


def same(left: list[Any], right: list[Any]) -> bool:
    return len(left) == len(right) and all(
        a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
        for a, b in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("sampler", [None, PK], ids=["plain", "identities"])
def test_workers_epochs_and_resuming(folder: Path, sampler: dict[str, Any] | None) -> None:
    alone = build_loader(loader_section(folder, 0, sampler), seed=3)
    helped = build_loader(loader_section(folder, 2, sampler), seed=3)
    state = torch.get_rng_state()
    epochs = []
    for epoch in range(3):
        alone.set_epoch(epoch)
        helped.set_epoch(epoch)
        epochs.append(list(alone))
        assert len(epochs[-1]) == len(alone)
        assert same(epochs[-1], list(helped)), "workers that live on see the new epoch"
        assert alone.batches_done == helped.batches_done == len(alone)
    assert torch.equal(torch.get_rng_state(), state), "the process's own generator stays as it is"
    assert not same(epochs[0], epochs[1])
    for loader in (alone, helped):
        next(iter(loader))  # an iteration that is given up
        loader.set_epoch(1, skip_batches=2)
        assert same(list(loader), epochs[1][2:]), "resumed in the middle of an epoch"
        assert loader.batches_done == len(loader)
        loader.set_epoch(2)
        assert same(list(loader), epochs[2])
    batch = epochs[0][0]
    assert batch["image"].dtype == torch.float32
    assert batch["image"].shape[1:] == (3, 16, 16)
    assert batch["label"].dtype == batch["index"].dtype == torch.int64
    assert batch["label"].tolist() == [LABELS[i] for i in batch["index"]]


def test_repeated_images_of_a_batch_differ(folder: Path) -> None:
    loader = build_loader(loader_section(folder, 0, PK), seed=3)
    found = 0
    for batch in loader:
        indices = batch["index"].tolist()
        for a in range(6):
            for b in range(a):
                if indices[a] == indices[b]:
                    found += 1
                    assert not torch.equal(batch["image"][a], batch["image"][b])
    assert found


def test_an_evaluation_takes_every_image_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    section = loader_section(folder, ops=[NORMALISE])
    section["sampler"] = {**section["sampler"], "batch_size": 3, "drop_last": True}
    seen = []
    for rank in range(3):
        loader = build_loader(section, rank=rank, world_size=3, training=False)
        seen += [batch["index"].tolist() for batch in loader]
    assert "'drop_last' has no effect in an evaluation" in caplog.text
    assert seen[0] == [0, 1, 2]
    assert sorted({i for batch in seen for i in batch}) == list(range(20))
    assert sum(map(len, seen)) == 21
    with pytest.raises(
        UserError, match="takes every image once: use DistributedBatchSampler in place of PKS"
    ):
        build_loader(loader_section(folder, sampler=PK), training=False)


def break_images(folder: Path, *indices: int) -> None:
    for index in indices:
        (folder / f"{index:03}.png").write_bytes(b"GIF89a")


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_images_are_left_out_and_listed(
    tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    write_images(tmp_path, LABELS)
    break_images(tmp_path, 1, 4, 5, 6, 7)
    section = loader_section(tmp_path, workers, max_broken_share=0.5)
    section["sampler"]["shuffle"] = False
    loader = build_loader(section)
    batches = [batch["index"].tolist() for batch in loader]
    assert batches == [[0, 2, 3], [8, 9, 10, 11], [12, 13, 14, 15], [16, 17, 18, 19]], "one batch lost all"
    assert loader.batches_done == 5
    assert {Path(p).name for p in loader.broken} == {"001.png", "004.png", "005.png", "006.png", "007.png"}
    assert all(loader.broken.values())
    path = str(tmp_path / "004.png")
    assert loader.broken_at[path] == f"{tmp_path / 'list.txt'}:5"
    told = f"{tmp_path / 'list.txt'}:5: broken image left out: {path}: {loader.broken[path]}"
    assert [record.getMessage() for record in caplog.records].count(told) == 1
    list(loader)
    assert len(loader.broken) == 5


def test_too_many_broken_images(tmp_path: Path) -> None:
    write_images(tmp_path, LABELS)
    break_images(tmp_path, 1, 4)
    section = loader_section(tmp_path, max_broken_share=0.05)
    section["sampler"]["shuffle"] = False
    loader = build_loader(section)
    batches = iter(loader)
    next(batches)
    with pytest.raises(
        UserError, match=r"2 of the 20 images of .*list.txt are broken, more than max_broken_share"
    ) as error:
        next(batches)
    assert f"list.txt:2: {tmp_path / '001.png'}: " in str(error.value)
    assert f"list.txt:5: {tmp_path / '004.png'}: " in str(error.value)
    loader = build_loader(loader_section(tmp_path))
    with pytest.raises(UserError, match=r"max_broken_share \(0.01\)"):
        list(loader)


def test_what_a_cache_could_not_read_is_told_before_the_first_batch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_images(tmp_path, LABELS)
    break_images(tmp_path, 18, 19)
    section = loader_section(tmp_path, max_broken_share=0.05, cache="ram")
    section["sampler"]["shuffle"] = False
    with pytest.raises(UserError, match=r"2 of the 20 images of .*list\.txt are broken, more than"):
        next(iter(build_loader(section)))
    section["dataset"]["max_broken_share"] = 0.5
    caplog.clear()
    batches = iter(loader := build_loader(section))
    next(batches)
    assert [Path(path).name for path in loader.broken] == ["018.png", "019.png"]
    assert len([text for text in caplog.messages if "broken image left out" in text]) == 2
    list(batches)
    assert len([text for text in caplog.messages if "broken image left out" in text]) == 2


def test_other_processes_are_not_left_waiting(tmp_path: Path) -> None:
    write_images(tmp_path, LABELS)
    break_images(tmp_path, 0, 1)
    sampler = {"name": "DistributedBatchSampler", "batch_size": 2}
    loader = build_loader(loader_section(tmp_path, 0, sampler, max_broken_share=1), rank=0, world_size=2)
    with pytest.raises(LookalikeError, match="all images of a batch are broken"):
        list(loader)


@pytest.mark.parametrize("workers", [0, 2])
def test_misuse_in_a_worker_is_one_sentence(folder: Path, workers: int) -> None:
    crop = loader_section(folder, workers, ops=[{"RandCropImageV2": {"size": [64, 64]}}])
    with pytest.raises(UserError, match=r"^[^\n]*\.png: RandCropImageV2 cuts 64x64[^\n]*$"):
        list(build_loader(crop))


def test_images_of_different_sizes(tmp_path: Path) -> None:
    import cv2
    import numpy as np

    write_images(tmp_path, [0, 1])
    cv2.imwrite(str(tmp_path / "001.png"), np.zeros((5, 7, 3), np.uint8))
    with pytest.raises(UserError, match=r"different sizes \(5x7, 20x24\): end transform_ops with"):
        list(build_loader(loader_section(tmp_path, ops=[])))


def test_cache_and_rotated_classes_with_workers(folder: Path) -> None:
    plain = build_loader(loader_section(folder, 0, rotated_classes=True), seed=1)
    cached = build_loader(loader_section(folder, 2, rotated_classes=True, cache="ram"), seed=1)
    assert len(plain) == 20
    assert plain.records.num_classes == 32
    assert same(list(plain), list(cached))


def test_other_forms_of_the_section(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    section = loader_section(folder)
    usual = list(build_loader(section, seed=2))
    section["batch_sampler"] = section.pop("sampler")
    section["loader"] = {"num_workers": 0, "use_shared_memory": False}
    assert same(usual, list(build_loader(section, seed=2)))
    assert "'use_shared_memory' has no effect" in caplog.text
    del section["loader"]
    assert same(usual, list(build_loader(section, seed=2)))


def test_messages(folder: Path) -> None:
    section = loader_section(folder)
    with pytest.raises(UserError, match="needs 'sampler'"):
        build_loader({"dataset": section["dataset"]})
    with pytest.raises(UserError, match="needs 'dataset'"):
        build_loader({"sampler": section["sampler"]})
    with pytest.raises(UserError, match="unknown key 'samplr', did you mean 'sampler'"):
        build_loader({**section, "samplr": {}})
    with pytest.raises(UserError, match="unknown argument 'num_worker', did you mean 'num_workers'"):
        build_loader({**section, "loader": {"num_worker": 1}})
    with pytest.raises(UserError, match="num_workers and timeout of at least 0"):
        build_loader({**section, "loader": {"num_workers": -1}})


@pytest.mark.slow
def test_spawned_workers(folder: Path) -> None:
    section = loader_section(folder, cache="ram")
    usual = list(build_loader(section, seed=2))
    section["loader"] = {"num_workers": 1, "start_method": "spawn"}
    loader: Loader = build_loader(section, seed=2)
    assert same(usual, list(loader))


def test_dataset_section_is_a_dataset(folder: Path) -> None:
    """The section of a dataset holds nothing but what the format and the dataset take."""
    assert len(build_loader({"dataset": dataset_section(folder), "sampler": PK}).dataset) == 20

"""CIFAR-10 and CIFAR-100 in their binary versions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from lookalike.core.errors import UserError
from lookalike.images.formats import Backend, formats
from lookalike.images.packed import PIXELS
from lookalike.images.records import Records

Count = Annotated[int, Field(ge=1)]
Mode = Literal["train", "test"]

_DOWNLOAD = {"download": "nothing is downloaded: unpack the binary version and name its folder in data_file"}
_CIFAR10 = {"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "test": ["test_batch.bin"]}
_CIFAR100 = {"train": ["train.bin"], "test": ["test.bin"]}


@formats.register("Cifar10", swallows=_DOWNLOAD)
def cifar_10(
    data_file: str | None = None,
    mode: Mode = "train",
    sample_per_label: Count | None = None,
    expand_labels: Count = 1,
    seed: int = 0,
    backend: Backend = "cv2",
) -> Records:
    """CIFAR-10: `data_file` is the folder of the unpacked binary version (cifar-10-binary.tar.gz).

    sample_per_label: only so many images of each class, drawn with `seed`; expand_labels: that list so many
    times over, as semi-supervised training wants it. The reference downloads and unpickles the Python
    version, which is not done here, since a pickle can run any code.
    """
    records = _read(data_file, "cifar-10-batches-bin", _CIFAR10[mode], label_bytes=1, classes=10)
    return _sampled(records, sample_per_label, expand_labels, seed)


@formats.register("Cifar100", swallows=_DOWNLOAD)
def cifar_100(
    data_file: str | None = None,
    mode: Mode = "train",
    sample_per_label: Count | None = None,
    expand_labels: Count = 1,
    seed: int = 0,
    backend: Backend = "cv2",
) -> Records:
    """CIFAR-100 with its 100 fine classes: as Cifar10, from cifar-100-binary.tar.gz."""
    records = _read(data_file, "cifar-100-binary", _CIFAR100[mode], label_bytes=2, classes=100)
    return _sampled(records, sample_per_label, expand_labels, seed)


def _read(data_file: str | None, inside: str, files: list[str], label_bytes: int, classes: int) -> Records:
    if not data_file:
        raise UserError(
            f"data_file is needed: the folder with {files[0]}, unpacked from the binary version of "
            f"https://www.cs.toronto.edu/~kriz/cifar.html (CIFAR-{classes})"
        )
    folder = Path(data_file)
    if folder.is_file():
        raise UserError(f"data_file {folder} is a file: unpack it and name the folder with {files[0]}")
    places = [folder, folder / inside]
    found = next((place for place in places if (place / files[0]).is_file()), None)
    if found is None:
        looked = " and ".join(map(str, places))
        raise UserError(f"there is no {files[0]} in {looked}: data_file is the unpacked binary version")
    step = label_bytes + PIXELS
    paths: list[str] = []
    labels: list[np.ndarray] = []
    for file in files:
        try:
            data = np.memmap(found / file, np.uint8, mode="r")
        except (OSError, ValueError) as error:
            raise UserError(f"{found / file} cannot be read: {error}") from None
        if data.size % step:
            raise UserError(f"{found / file}: {data.size} bytes are not whole pictures of {step} bytes each")
        rows = data.reshape(-1, step)
        own = rows[:, label_bytes - 1].astype(np.int64)  # of CIFAR-100's two labels the fine one comes second
        if own.max() >= classes:
            raise UserError(f"{found / file}: label {own.max()} where there are {classes} classes")
        labels.append(own)
        paths += [f"{found / file}#{number * step + label_bytes}" for number in range(len(rows))]
    return Records(paths, np.concatenate(labels), origin=str(found))


def _sampled(records: Records, each: int | None, times: int, seed: int) -> Records:
    if each is None:
        return records
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    for label in np.unique(records.labels):
        own = np.flatnonzero(records.labels == label)
        if len(own) < each:
            raise UserError(f"{records.origin}: class {label} has {len(own)} images, not {each}")
        chosen += rng.choice(own, each, replace=False).tolist()
    return records.subset(chosen * times)

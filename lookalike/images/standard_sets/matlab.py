"""Sets that are annotated in MATLAB files: Cars-196 and Oxford flowers."""

from __future__ import annotations

from typing import Any

import numpy as np

from lookalike.core.errors import UserError, missing_extra
from lookalike.images.standard_sets.download import Download
from lookalike.images.standard_sets.listing import Listing, Row


def cars_196(download: Download) -> dict[str, Listing]:
    """cars_annos.mat beside car_ims, or the two parts cars_train and cars_test with their own annotations.

    Classes 1 to 98 train, 99 to 196 are the test: the split of metric learning. The third column is the
    number of the image.
    """
    if (file := download.look_for("cars_annos.mat")) is not None:
        paths, labels = _annotations(download, file, "relative_im_path")
        paths = [download.beside(file, path) for path in paths]
    else:
        paths, labels = [], []
        for folder, suffix in (("cars_train", ""), ("cars_test", "_withlabels")):
            names, own = _annotations(download, download.find(f"{folder}_annos{suffix}.mat"), "fname")
            images = download.find(f"{folder}/{folder}", folder)  # one archive holds the folder twice
            paths += [f"{images}/{name}" for name in names]
            labels += own
    rows = [
        Row(path, label, number) for number, (path, label) in enumerate(zip(paths, labels, strict=True), 1)
    ]
    return {
        "train_list.txt": Listing([row for row in rows if row.label <= 98]),
        "test_list.txt": Listing([row for row in rows if row.label > 98]),
    }


def oxford_flowers_102(download: Download) -> dict[str, Listing]:
    """jpg/image_00001.jpg …, imagelabels.mat (class of each, from 1) and setid.mat (trnid, valid, tstid)."""
    images = download.find("jpg")
    labels = _variable(download, download.find("imagelabels.mat"), "labels").tolist()
    split = download.find("setid.mat")
    made = {}
    for part, key in (("train", "trnid"), ("val", "valid"), ("test", "tstid")):
        numbers = [int(number) for number in np.atleast_1d(_variable(download, split, key)).tolist()]
        if not all(1 <= number <= len(labels) for number in numbers):
            raise UserError(f"{download.root / split}: {key} names images that imagelabels.mat has not")
        rows = [Row(f"{images}/image_{number:05d}.jpg", int(labels[number - 1]) - 1) for number in numbers]
        made[f"{part}_list.txt"] = Listing(rows)
    return made


def _annotations(download: Download, file: str, path_field: str) -> tuple[list[str], list[int]]:
    """Paths and classes of the array of structures `annotations`."""
    annotations = _variable(download, file, "annotations")
    for name in (path_field, "class"):
        if name not in (annotations.dtype.names or ()):
            raise UserError(f"{download.root / file}: the annotations have no field '{name}'")
    return [str(path) for path in annotations[path_field]], [int(label) for label in annotations["class"]]


def _variable(download: Download, file: str, name: str) -> Any:
    """A variable of a MATLAB file, as an array. Such a file holds data only: nothing in it is run."""
    path = download.root / file
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ModuleNotFoundError:
        raise missing_extra("scipy", "data", f"reading {path}") from None
    try:
        content = loadmat(str(path), squeeze_me=True, variable_names=[name])
    except (MatReadError, OSError, ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise UserError(f"{path} cannot be read as a MATLAB file: {error}") from None
    if name not in content:
        raise UserError(f"{path}: there is no variable '{name}' in it")
    return np.atleast_1d(content[name])

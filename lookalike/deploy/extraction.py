"""The vectors of a list of pictures, embedded once and kept for the next time when asked."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.core.errors import BrokenImage, UserError
from lookalike.core.files import NoSpace, atomic_file
from lookalike.core.log import logger
from lookalike.deploy.embedder import Embedder


@dataclass(frozen=True)
class Extraction:
    """Vectors of those pictures that could be read, their positions in the list, and why others could not."""

    vectors: NDArray[Any]
    kept: list[int]
    broken: dict[int, str]


def extract(
    model: Embedder, paths: Sequence[str], *, batch_size: int = 32, cache: str | Path | None = None
) -> Extraction:
    """Embed pictures, with a progress bar; broken ones are told and left out.

    cache: a folder that keeps the result under a name made of the model (its fingerprint and preprocessing)
        and of the pictures (path, size and time of change of each, in their order). Where it is there,
        nothing is embedded; another model, precision of its runtime, or changed picture makes another name.

    Raises UserError, before anything is embedded, where nothing can be written in that folder.
    """
    if cache is None:
        return _embed(model, paths, batch_size)
    model.verify()  # the name stands for the files of the model as they are
    file = Path(cache) / f"{_name(model, paths)}.npz"
    kept = _read(file)
    if kept is not None:
        logger.info(f"{len(kept.kept)} vectors are taken from {file}")
        return kept
    _try_to_write(file.parent)
    found = _embed(model, paths, batch_size)
    try:
        _write(file, found)
    except (OSError, NoSpace) as error:  # the vectors are there all the same
        why = getattr(error, "strerror", None) or error
        logger.warning(f"{file} cannot be written, so nothing is kept: {why}")
    return found


def _embed(model: Embedder, paths: Sequence[str], batch_size: int) -> Extraction:
    broken: dict[int, str] = {}

    def told(position: int, error: BrokenImage) -> None:
        broken[position] = error.reason
        logger.warning(f"left out: {error}")

    vectors = model.encode(list(paths), batch_size=batch_size, progress=True, on_broken=told)
    return Extraction(vectors, [i for i in range(len(paths)) if i not in broken], broken)


def _name(model: Embedder, paths: Sequence[str]) -> str:
    precision = getattr(model.runtime, "precision", "fp32")
    told = (model.fingerprint, model.preprocess.canonical(), model.binarize, precision)
    digest = hashlib.sha256(repr(told).encode())
    for path in paths:
        try:
            stat = Path(path).stat()
            state = (stat.st_size, stat.st_mtime_ns)
        except OSError:
            state = (-1, -1)
        digest.update(repr((path, state)).encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def _try_to_write(folder: Path) -> None:
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{folder}: vectors cannot be kept there ({error.strerror or error}); name another folder"
        ) from None


def _write(file: Path, found: Extraction) -> None:
    with atomic_file(file) as out:
        np.savez(
            out,
            vectors=found.vectors,
            kept=np.array(found.kept, np.int64),
            broken=np.array(list(found.broken), np.int64),
            reasons=np.array(list(found.broken.values()), dtype=str),
        )


def _read(file: Path) -> Extraction | None:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            broken = dict(zip(arrays["broken"].tolist(), arrays["reasons"].tolist(), strict=True))
            return Extraction(arrays["vectors"], arrays["kept"].tolist(), broken)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        logger.warning(f"{file} is damaged and made anew: {error}")
        return None

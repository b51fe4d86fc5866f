"""The Embedder: pictures in, vectors out."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lookalike.core.errors import BrokenImage, UserError
from lookalike.core.progress import track
from lookalike.deploy.model_folder import ModelFolder
from lookalike.deploy.runtime import Floats, OnnxRuntime, Runtime
from lookalike.deploy.thresholds import Thresholds
from lookalike.images import Preprocess

Binarise = Literal["round", "sign"]


class Embedder:
    """Turns pictures into vectors with a model folder.

        model = Embedder("inference")
        vectors = model.encode(["a.jpg", pil_image, array])     # (3, 512) float32

    A picture is a path, bytes of a file, a Pillow image or an RGB array (H, W, 3) of uint8.
    """

    folder: ModelFolder | None = None
    """The model folder, where the vectors come from one."""
    _unverified: ModelFolder | None = None

    def __init__(self, folder: str | Path, *, threads: int | None = None) -> None:
        opened = ModelFolder.open(folder)
        self._set(
            OnnxRuntime(opened.graph_file, threads), opened.preprocessing(), opened.size, opened.binarize,
            opened.fingerprint, str(folder),
        )  # fmt: skip
        self.folder = self._unverified = opened

    @classmethod
    def from_pretrained(
        cls, repository: str, *, revision: str | None = None, token: str | None = None, **options: Any
    ) -> Embedder:
        """An Embedder over a model folder on the Hugging Face Hub: `Embedder.from_pretrained("org/name")`.

        revision: branch, tag or commit. options: those of `Embedder`. It is fetched once and then read from
        the cache of the Hub; see `lookalike.deploy.hub.pull_from_hub` for what is checked and raised.
        """
        from lookalike.deploy.hub import pull_from_hub

        return cls(pull_from_hub(repository, revision=revision, token=token), **options)

    @classmethod
    def from_checkpoint(
        cls, checkpoint: str | Path, *, layer: str | Sequence[str] | None = None, device: str = "cpu"
    ) -> Embedder:
        """An Embedder over a training checkpoint (`output/RecModel/best_model`); this needs
        `lookalike[train]`.

        `layer` names any module of the model, such as `backbone.blocks.5`: its output, averaged over the
        picture where it is a map, is the vector then. Of several layers the vectors are joined, in their
        order.
        """
        # by name, so that nobody who uses a model folder needs torch
        loaded = importlib.import_module("lookalike.deploy.checkpoint_runtime")
        return loaded.embedder_of_checkpoint(checkpoint, layer=layer, device=device)

    @classmethod
    def of(
        cls,
        runtime: Runtime,
        preprocess: Preprocess,
        size: int,
        binarize: Binarise | None,
        fingerprint: str,
        name: str,
    ) -> Embedder:
        """An Embedder over any runtime."""
        made = cls.__new__(cls)
        made._set(runtime, preprocess, size, binarize, fingerprint, name)
        return made

    def verify(self) -> None:
        """Raise UserError where the files of the model folder are not those of its fingerprint.

        They are read once; without a model folder there is nothing to compare.
        """
        if self._unverified is not None:
            self._unverified.verify()
            self._unverified = None

    def thresholds(self) -> Thresholds | None:
        """What `lookalike calibrate` found for this model; None where it was not used.

        Raises UserError where the file is damaged, or was made with another model.
        """
        return None if self.folder is None else self.folder.thresholds()

    def _set(
        self,
        runtime: Runtime,
        preprocess: Preprocess,
        size: int,
        binarize: Binarise | None,
        fingerprint: str,
        name: str,
    ) -> None:
        self.runtime, self.preprocess, self.size = runtime, preprocess, size
        self.binarize, self.fingerprint, self.name = binarize, fingerprint, name

    def encode(
        self,
        pictures: Iterable[Any],
        *,
        batch_size: int = 32,
        workers: int = 2,
        progress: bool = False,
        on_broken: Callable[[int, BrokenImage], None] | None = None,
    ) -> NDArray[Any]:
        """Vectors of pictures, (N, size) float32; of a binary model (N, size / 8) uint8, eight bits a byte.

        A broken picture raises BrokenImage; with `on_broken` it is told there, by its position, and left out
        of the result. Raises UserError where a vector is not finite.
        """
        listed = [pictures] if _is_one(pictures) else list(pictures)
        parts: list[NDArray[Any]] = []
        batches = self._batches(listed, batch_size, workers, on_broken)
        shown = (
            track(batches, "embed", total=-(-len(listed) // batch_size), unit="batches")
            if progress
            else batches
        )
        for batch in shown:
            if len(batch):
                parts.append(self._finish(self.runtime(batch)))
        width = -(-self.size // 8) if self.binarize else self.size
        if not parts:
            return np.zeros((0, width), np.uint8 if self.binarize else np.float32)
        return np.concatenate(parts)

    def _batches(
        self,
        pictures: Sequence[Any],
        batch_size: int,
        workers: int,
        on_broken: Callable[[int, BrokenImage], None] | None,
    ) -> Iterator[Floats]:
        def read(picture: Any) -> Floats | BrokenImage:
            try:
                return np.asarray(self.preprocess(picture), dtype=np.float32)
            except BrokenImage as error:
                return error

        with ThreadPoolExecutor(max_workers=max(workers, 1)) as pool:
            waiting: list[Any] = []

            def submit(start: int) -> None:
                # the next batch is read while this one is computed, and no more than that is held
                for picture in pictures[start : start + batch_size]:
                    waiting.append(pool.submit(read, picture))

            submit(0)
            for start in range(0, len(pictures), batch_size):
                current, waiting[:] = list(waiting), []
                submit(start + batch_size)
                good: list[Floats] = []
                for offset, future in enumerate(current):
                    result = future.result()
                    if not isinstance(result, BrokenImage):
                        good.append(result)
                    elif on_broken is None:
                        raise result
                    else:
                        on_broken(start + offset, result)
                yield self._stacked(good) if good else np.zeros((0,), np.float32)

    def _stacked(self, pictures: list[Floats]) -> Floats:
        shapes = {each.shape for each in pictures}
        if len(shapes) > 1:
            told = " and ".join("x".join(map(str, shape)) for shape in sorted(shapes)[:2])
            raise UserError(
                f"{self.name}: its preprocessing gives pictures of different sizes ({told}), "
                "which do not make a batch; "
                "it needs a resize or a crop to a fixed size"
            )
        return np.stack(pictures)

    def _finish(self, features: Floats) -> NDArray[Any]:
        if not np.isfinite(features).all():
            raise UserError(
                f"{self.name}: the model gives values that are not finite; was its training sound?"
            )
        if self.binarize is None:
            return features
        threshold = 0.5 if self.binarize == "round" else 0.0
        return np.packbits(features > threshold, axis=1)


def _is_one(pictures: Any) -> bool:
    """Whether this is one picture rather than several; an array of four dimensions is several."""
    if isinstance(pictures, np.ndarray):
        return pictures.ndim < 4
    # a Pillow image is known by its methods: Pillow need not be imported for that
    return isinstance(pictures, (str, Path, bytes)) or hasattr(pictures, "getexif")

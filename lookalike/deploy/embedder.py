"""The Embedder: pictures in, vectors out."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Generator, Iterable, Sequence, Sized
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from lookalike.core.errors import UserError
from lookalike.core.progress import track
from lookalike.deploy.binary import ONE_ABOVE, Binarise
from lookalike.deploy.broken import OnBroken, Skipped, told_of
from lookalike.deploy.graph_input import before_graph
from lookalike.deploy.model_folder import ModelFolder
from lookalike.deploy.picture_forms import Source, as_picture, each_source, is_one
from lookalike.deploy.pipeline import Pipeline, Positions, check_counts, computed_ahead, default_workers
from lookalike.deploy.runtimes.runtime import Batch, BeginsAhead, Floats, Runtime, open_runtime
from lookalike.deploy.thresholds import Thresholds
from lookalike.images import Preprocess
from lookalike.images.preprocess import placed
from lookalike.images.split import Pixels


class Embedder:
    """Turns pictures into vectors with a model folder.

        model = Embedder("inference")
        vectors = model.encode(["a.jpg", pil_image, array])     # (3, 512) float32

    A picture is a path or `file://` URL, bytes of a file, a Pillow image, an array (H, W, 3) of RGB in uint8
    (or (H, W) grey, (H, W, 4) RGBA; uint16 as well), or a torch tensor (C, H, W) of uint8 or of floats
    between 0 and 1. Transparency is laid on white.

    backend: what runs the model: `onnx`, `openvino`, `torch`, or `auto`, the fastest that is installed.
    device: `cpu`, `cuda`, `cuda:1`. threads: how many compute a batch, by default as many as
    `OMP_NUM_THREADS` says, or as there are cores.
    precision, compile: with PyTorch, `fp16` or `bf16` computes layers in half precision, and `torch.compile`
    takes a minute at the first batch for a higher rate from then on.
    """

    folder: ModelFolder | None = None
    """The model folder, where the vectors come from one."""
    geometry: Pixels | None = None
    """The part of the preprocessing that comes before a graph which takes pixels."""
    _unverified: ModelFolder | None = None

    def __init__(
        self,
        folder: str | Path,
        backend: str = "auto",
        device: str = "cpu",
        threads: int | None = None,
        precision: str = "fp32",
        compile: bool = False,
    ) -> None:
        opened = ModelFolder.open(folder)
        runtime = open_runtime(opened, backend, threads, device, precision, compile)
        self._set(
            runtime, opened.preprocessing(), opened.size, opened.binarize, opened.fingerprint, str(folder)
        )
        on_pixels = opened.input == "float32_nchw" and getattr(runtime, "takes_pixels", False)
        before = before_graph(self.preprocess, "uint8_nhwc" if on_pixels else opened.input)
        self.geometry = before if isinstance(before, Pixels) else None
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
        cls, checkpoint: str | Path, *, layer: str | Sequence[str] | None = None, **options: Any
    ) -> Embedder:
        """An Embedder over a training checkpoint (`output/RecModel/best_model`); this needs
        `lookalike[train]`.

        `layer` names any module of the model, such as `backbone.blocks.5`: its output, averaged over the
        picture where it is a map, is the vector then. Of several layers the vectors are joined, in their
        order. options: device, precision and compile, as for a model folder.
        """
        # by name, so that nobody who uses a model folder needs torch
        loaded = importlib.import_module("lookalike.deploy.checkpoint_runtime")
        return loaded.embedder_of_checkpoint(checkpoint, layer=layer, **options)

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

    def with_preprocess(self, preprocess: Preprocess) -> Embedder:
        """A second Embedder over the same runtime, which is given what this preprocessing makes of pictures.

        It has a fingerprint of its own, since these are other vectors, and no thresholds, which were found
        without it. Raises UserError where the graph or the runtime does a part of the preprocessing itself.
        """
        if preprocess == self.preprocess:
            return self
        if self.geometry is not None:
            by_runtime = self.folder is not None and self.folder.input == "float32_nchw"
            raise UserError(
                f"{self.name}: a part of its preprocessing is "
                + (
                    "computed on the GPU by this backend, so that no other can be used: take backend 'onnx'"
                    if by_runtime
                    else "in its graph, so that no other can be used: export the model with it"
                )
            )
        made = copy.copy(self)
        made.preprocess = preprocess
        made.fingerprint = f"{self.fingerprint}, preprocessing {preprocess.fingerprint()}"
        return made

    def __repr__(self) -> str:
        unit = "bits" if self.binarize else "numbers"
        return f"<Embedder of {self.name}: {self.size} {unit}, {type(self.runtime).__name__}>"

    def verify(self) -> None:
        """Raise UserError where the files of the model folder are not those of its fingerprint.

        They are read once; without a model folder there is nothing to compare.
        """
        if self._unverified is not None:
            self._unverified.verify()
            self._unverified = None

    def thresholds(self) -> Thresholds | None:
        """What `lookalike calibrate` found for this model; None where it was not used.

        Raises UserError where they are damaged, or were found with another model.
        """
        if self.folder is None or self.fingerprint != self.folder.fingerprint:
            return None
        return self.folder.found_thresholds()

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
        pictures: Iterable[Source],
        *,
        batch_size: int = 32,
        workers: int | None = None,
        progress: bool = False,
        on_broken: OnBroken = "raise",
    ) -> NDArray[Any]:
        """Vectors of pictures, (N, size) float32; of a binary model (N, size / 8) uint8, eight bits a byte.

        pictures: one, several, or an iterator of any length, of which only the vectors are held.
        workers: threads that read pictures, by default as many as OMP_NUM_THREADS says, or as there are
            cores.
        on_broken: `raise` is BrokenImage for the first broken picture; `skip` leaves it out of the result
            with a warning; a function is called with its position and the BrokenImage, and it is left out.

            broken = {}
            vectors = model.encode(paths, on_broken=broken.__setitem__)     # without those at broken.keys()

        Raises UserError for what is no picture, and where a vector is not finite.
        """
        total = 1 if is_one(pictures) else len(pictures) if isinstance(pictures, Sized) else None
        shown = pictures
        if progress:
            shown = track(each_source(pictures), "embed", total=total, unit="pictures")
        parts = [
            vectors for _, vectors in self.stream(shown, batch_size, workers=workers, on_broken=on_broken)
        ]
        width = -(-self.size // 8) if self.binarize else self.size
        if not parts:
            return np.zeros((0, width), np.uint8 if self.binarize else np.float32)
        return np.concatenate(parts)

    def stream(
        self,
        sources: Iterable[Source],
        batch_size: int = 32,
        workers: int | None = None,
        on_broken: OnBroken = "raise",
    ) -> Generator[tuple[Positions, NDArray[Any]], None, None]:
        """Positions of pictures and their vectors, batch by batch and in order, in bounded memory.

        Sources are as for `encode`; they are taken a few batches ahead, and an array among them must not be
        written to before its vector is there. A callable without arguments gives its picture in the thread
        that reads it, and a BrokenImage, OSError or ValueError that it raises counts as a broken picture. A
        batch is `batch_size` consecutive pictures without the broken ones. What the sources themselves raise
        comes behind the vectors of those before it. Closing the generator ends its threads.
        """
        workers = default_workers() if workers is None else workers
        check_counts(batch_size, workers)
        told = told_of(on_broken)
        if isinstance(self.runtime, BeginsAhead) and self._takes_as_it_is(sources):
            return computed_ahead(batch_size, sources, partial(self._begun, self.runtime))
        geometry = self.geometry

        def read(source: Source, out: NDArray[Any] | None) -> NDArray[Any]:
            picture = as_picture(source)
            if geometry is None:
                return self.preprocess(picture, out)
            return placed(geometry(picture), out, np.uint8)

        pipeline = Pipeline(
            read,
            self._vectors,
            self._shape(),
            np.float32 if geometry is None else np.uint8,
            batch_size,
            workers,
            getattr(self.runtime, "reentrant", False),
        )
        parts = pipeline.run(sources, told)
        return told.counted(parts) if isinstance(told, Skipped) else parts

    def _shape(self) -> tuple[int, ...] | None:
        """Of a picture as the runtime takes it, None where that depends on the picture."""
        if self.geometry is None:
            return self.preprocess.image_shape
        shape = self.geometry.image_shape
        return shape and (*shape[1:], shape[0])

    def _takes_as_it_is(self, sources: Any) -> TypeGuard[NDArray[Any]]:
        """Whether this is an array (N, H, W, 3) of pixels as the runtime takes them."""
        if self.geometry is None:
            return False
        if not isinstance(sources, np.ndarray) or sources.ndim != 4 or sources.dtype != np.uint8:
            return False
        if len(sources) == 0 or sources.shape[1:] != self._shape():
            return False
        # geometry depends on the size of a picture alone: where it leaves one as it is, it does so with all
        probe = np.random.default_rng(0).integers(0, 256, sources.shape[1:], dtype=np.uint8)
        return np.array_equal(self.geometry(probe), probe)

    def _begun(self, runtime: BeginsAhead, batch: Batch) -> Callable[[], NDArray[Any]]:
        result = runtime.begin(np.ascontiguousarray(batch))
        return lambda: self._finish(result())

    def _vectors(self, batch: Batch) -> NDArray[Any]:
        return self._finish(self.runtime(batch))

    def _finish(self, features: Floats) -> NDArray[Any]:
        if not np.isfinite(features).all():
            half = getattr(self.runtime, "precision", "fp32") == "fp16"
            why = "fp16 overflows above 65,504: use bf16 or fp32" if half else "was its training sound?"
            raise UserError(f"{self.name}: the model gives values that are not finite; {why}")
        if self.binarize is None:
            return features
        return np.packbits(features > ONE_ABOVE[self.binarize], axis=1)

"""The gallery: enrolled pictures that answer "what is this?"."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lookalike.core.errors import UserError
from lookalike.core.files import NoSpace, as_path, atomic_folder
from lookalike.core.log import logger, warn_once
from lookalike.core.numbers import as_count
from lookalike.deploy import Embedder, Thresholds
from lookalike.deploy.broken import OnBroken
from lookalike.deploy.thresholds import Bounds, Verdict, judged
from lookalike.gallery.index import Index
from lookalike.gallery.store import Store

STORE, INDEX = "gallery.sqlite", "index.faiss"


@dataclass(frozen=True)
class Answer:
    """One enrolled picture that is near: its label, how near (1 is the same), and which picture it is.

    verdict: whether that is near enough for `same`, only for `unsure`, or `unknown`; None where the model
    was not calibrated.
    """

    label: str
    score: float
    path: str
    id: int
    verdict: Verdict | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Conflict:
    """A picture that was to be enrolled under `label`, and stays under another: `enrolled_as`."""

    path: str
    enrolled_as: str
    label: str


@dataclass(frozen=True)
class Added:
    """What `add` did: how many were enrolled, which were enrolled before (or named twice), which are broken
    (path, reason), and which of those that were enrolled before were given another label now."""

    added: int
    known: list[str]
    broken: list[tuple[str, str]]
    conflicts: list[Conflict]


class Gallery:
    """Pictures with labels and vectors, made with one model folder.

        gallery = Gallery.create("products.gallery", Embedder("inference"))
        gallery.add(["a.jpg", "b.jpg"], ["apple", "pear"])
        gallery.search("x.jpg", k=5)

    A gallery is a folder: `gallery.sqlite` holds everything, `index.faiss` is derived from it. The
    fingerprint of the model is kept, and searching with another model is an error.
    """

    def __init__(self, folder: Path, embedder: Embedder, store: Store, about: dict[str, str]) -> None:
        self.folder, self.embedder, self.store, self.about = folder, embedder, store, about
        self._index: Index | None = None

    @cached_property
    def thresholds(self) -> Thresholds | None:
        """Those of the model folder (`lookalike calibrate`), read once; None where it was not calibrated.

        Raises UserError where they are damaged or of another model.
        """
        return self.embedder.thresholds()

    @classmethod
    def create(cls, folder: str | Path, model: Embedder | str | Path) -> Gallery:
        """Make an empty gallery.

        Raises UserError when the folder exists, or the model folder is not as it was exported.
        """
        folder = as_path(folder, "a gallery")
        embedder = _embedder(model)
        if folder.exists():
            raise UserError(
                f"{folder} exists already; add to it ('gallery add', or Gallery.open in Python), or choose "
                "another name"
            )
        if embedder.binarize and embedder.size % 8:
            raise UserError(f"{embedder.name} gives {embedder.size} bits; a gallery needs a multiple of 8")
        embedder.verify()
        about = {
            "kind": "binary" if embedder.binarize else "real",
            "size": str(embedder.size),
            "fingerprint": embedder.fingerprint,
            "model": str(Path(embedder.name).resolve()),
        }
        with atomic_folder(folder) as part:
            Store.create(part / STORE, about)
        return cls.open(folder, embedder)

    @classmethod
    def open(cls, folder: str | Path, model: Embedder | str | Path | None = None) -> Gallery:
        """Open a gallery with its model: the folder it was made with unless `model` names where that is now.

        Raises UserError when the model is not the one that the gallery was made with.
        """
        folder = as_path(folder, "a gallery")
        store, about = Store.open(folder / STORE)
        if model is None:
            model = about["model"]
            if not Path(model).exists():
                raise UserError(
                    f"{folder}: its model folder {model} is gone; name where it is now with --model"
                )
        embedder = _embedder(model)
        if embedder.fingerprint != about["fingerprint"]:
            raise UserError(
                f"{folder} was made with another model than {embedder.name} (fingerprints "
                f"{about['fingerprint'][:12]} and {embedder.fingerprint[:12]}): its vectors cannot be "
                "compared; make the gallery again with this model"
            )
        embedder.verify()  # a fingerprint says something only of the files that it was made of
        return cls(folder, embedder, store, about)

    def add(
        self,
        pictures: Sequence[Any],
        labels: Sequence[str | int],
        *,
        progress: bool = False,
        batch_size: int = 32,
        warn: bool = True,
    ) -> Added:
        """Enrol pictures under labels. Pictures whose path is enrolled already are left out, also where their
        label is another now, and so are broken ones.

        warn: log how many are broken, and how many have another label now, with the first of each.

        Raises UserError when the two lists differ in length, or one is no list.
        """
        if any(isinstance(each, str) or not hasattr(each, "__len__") for each in (pictures, labels)):
            raise UserError("pictures and labels are two lists: gallery.add([picture], [label])")
        if len(pictures) != len(labels):
            raise UserError(f"{len(pictures)} pictures but {len(labels)} labels")
        names = [_name(picture) for picture in pictures]
        enrolled = set(self.store.known_paths([name for name in names if name]))
        new, left_out = [], []
        for position, name in enumerate(names):
            if name in enrolled:
                left_out.append(position)
            else:
                new.append(position)
                enrolled.update([name] if name else [])
        broken: dict[int, str] = {}
        vectors = self.embedder.encode(
            [pictures[i] for i in new],
            batch_size=batch_size,
            progress=progress,
            on_broken=lambda position, error: broken.__setitem__(position, error.reason),
        )
        kept = [i for position, i in enumerate(new) if position not in broken]
        added = (
            self.store.add([names[i] for i in kept], [str(labels[i]) for i in kept], vectors) if kept else []
        )
        # those that another process enrolled meanwhile
        left_out += [kept[position] for position in sorted(set(range(len(kept))) - set(added))]
        known = [names[position] for position in left_out]
        stays = self.store.known_paths(known)
        conflicts = [
            Conflict(names[i], stays[names[i]], str(labels[i]))
            for i in left_out
            if stays.get(names[i], str(labels[i])) != str(labels[i])
        ]
        told = [(names[new[position]], reason) for position, reason in broken.items()]
        if warn:
            _warn(told, conflicts)
        return Added(len(added), known, told, conflicts)

    def search(
        self, picture: Any, k: int = 5, *, threshold: float | None = None, min_score: float | None = None
    ) -> list[Answer]:
        """The k nearest enrolled pictures, nearest first.

        threshold: `same` from this similarity on, else `unknown`, whatever was calibrated.
        min_score: leave out those that are less alike than that.
        """
        return self.search_many([picture], k, threshold=threshold, min_score=min_score)[0]

    def search_many(
        self,
        pictures: Sequence[Any],
        k: int = 5,
        *,
        threshold: float | None = None,
        min_score: float | None = None,
        progress: bool = False,
        on_broken: OnBroken = "raise",
    ) -> list[list[Answer]]:
        """`search` for several pictures at once.

        on_broken: as in `Embedder.encode`.
        """
        vectors = self.embedder.encode(pictures, progress=progress, on_broken=on_broken)
        if not len(vectors):
            return []
        return self.search_vectors(vectors, k, threshold=threshold, min_score=min_score)

    def search_vectors(
        self,
        vectors: NDArray[Any],
        k: int = 5,
        *,
        threshold: float | None = None,
        min_score: float | None = None,
    ) -> list[list[Answer]]:
        """`search` for vectors that `Embedder.encode` gave."""
        k = as_count(k, "k")
        index = self.index()
        if index.faiss.ntotal == 0:
            raise UserError(f"{self.folder} is empty; enrol pictures with 'gallery add'")
        scores, ids = index.search(vectors, k)
        described = self.store.describe(sorted(set(ids.ravel().tolist())))
        found = [
            [
                Answer(described[i][1], float(score), described[i][0], int(i))
                for i, score in zip(row_ids.tolist(), row_scores.tolist(), strict=True)
                if i in described and (min_score is None or score >= min_score)
            ]
            for row_ids, row_scores in zip(ids, scores, strict=True)
        ]
        if threshold is None and self.thresholds is not None:
            warning = self.thresholds.growth_warning(index.faiss.ntotal)
            if warning:
                warn_once(warning)
        return [self._judged(answers, threshold) for answers in found]

    def _judged(self, answers: list[Answer], threshold: float | None) -> list[Answer]:
        """The answers to one query with their verdicts."""
        if threshold is not None:
            bounds = Bounds(threshold, threshold)
            verdicts = judged([(each.label, each.score) for each in answers], lambda _: bounds)
        elif self.thresholds is not None:
            verdicts = judged([(each.label, each.score) for each in answers], self.thresholds.of)
        else:
            return answers
        return [replace(each, verdict=verdict) for each, verdict in zip(answers, verdicts, strict=True)]

    def index(self) -> Index:
        """The search index; made from the store when there is none, or when it is older than the store."""
        version = self.store.version()
        if self._index is None or self._index.version != version:
            self._index = self._saved_index(version) or self._new_index()
        return self._index

    def _saved_index(self, version: str) -> Index | None:
        """The saved index, None where there is none, it is damaged, or it is of other pictures than the
        store's.
        """
        file = self.folder / INDEX
        try:
            index = Index.load(file, self.about["kind"], int(self.about["size"]))
        except FileNotFoundError:
            return None
        except (RuntimeError, OSError, MemoryError):
            logger.warning(f"{file} is damaged and is made again")
            return None
        return index if index.version == version else None

    def _new_index(self) -> Index:
        ids, vectors = self.store.vectors()
        index = Index(self.about["kind"], int(self.about["size"]), ids, vectors)
        try:
            index.save(self.folder / INDEX)
        except (OSError, NoSpace) as error:  # it can be searched all the same, and is made again next time
            why = getattr(error, "strerror", None) or error
            warn_once(f"{self.folder / INDEX} cannot be written ({why}); it is made anew at each start")
        return index

    def info(self) -> dict[str, Any]:
        """What the gallery holds."""
        counts = self.store.counts()
        return {
            "gallery": str(self.folder),
            "pictures": sum(counts.values()),
            "labels": len(counts),
            "size": int(self.about["size"]),
            "kind": self.about["kind"],
            "model": self.about["model"],
            "fingerprint": self.about["fingerprint"],
            "counts": counts,
        }


def _warn(broken: Sequence[tuple[str, str]], conflicts: Sequence[Conflict]) -> None:
    if broken:
        path, reason = broken[0]
        logger.warning(
            f"pictures left out because they are broken: {len(broken)}, the first: "
            f"{path or 'one without a path'}: {reason}"
        )
    if conflicts:
        first = conflicts[0]
        logger.warning(
            f"pictures that stay enrolled under another label: {len(conflicts)}, the first: {first.path} "
            f"stays '{first.enrolled_as}'; '{first.label}' was not taken"
        )


def _embedder(model: Embedder | str | Path) -> Embedder:
    """The Embedder over a model folder, or over a training checkpoint."""
    if isinstance(model, Embedder):
        return model
    folder = as_path(model, "a model folder")
    return Embedder.from_checkpoint(folder) if (folder / "recipe.yaml").is_file() else Embedder(folder)


def _name(picture: Any) -> str:
    """The file of a picture from the root on, so that it is known whatever folder a person stands in.

    "" for pixels.
    """
    return os.path.abspath(picture) if isinstance(picture, (str, Path)) else ""  # noqa: PTH100 (links stay)

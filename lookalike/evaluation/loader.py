"""What an evaluation asks of a loader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol


class LeftOut(NamedTuple):
    """A broken image: its path, what is wrong with it, and `file:line` of the list that names it.

    `where` is empty for an image of a folder.
    """

    path: str
    reason: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.path}: {self.reason}" if self.where else f"{self.path}: {self.reason}"


class EvaluationLoader(Protocol):
    """Batches with `image` (N, C, H, W), `label` (N,), `index` (N,) and, where there are any, `camera` (N,).

    `index` is the row of the dataset. Where the loader has `records` with `paths`, images are known by their
    file; where it has `broken`, that maps the path of each image it had to leave out to the reason, and
    `broken_at` to where the image is named.
    """

    def __iter__(self) -> Iterator[dict[str, Any]]: ...

    def __len__(self) -> int: ...


def broken_images(loader: EvaluationLoader) -> list[LeftOut]:
    """The images that the loader left out."""
    reasons: dict[str, str] = getattr(loader, "broken", None) or {}
    places: dict[str, str] = getattr(loader, "broken_at", None) or {}
    named = {path: place for path, place in places.items() if place != path}
    return [LeftOut(path, reason, named.get(path, "")) for path, reason in reasons.items()]


def image_paths(loader: EvaluationLoader) -> list[str] | None:
    """The file of each row of the dataset, None where the loader does not know."""
    paths = getattr(getattr(loader, "records", None), "paths", None)
    return None if paths is None else [str(path) for path in paths]


def class_names(loader: EvaluationLoader) -> Mapping[int, str] | None:
    """The name of each label, None where labels have no names."""
    names: Mapping[int, str] | None = getattr(getattr(loader, "records", None), "class_names", None)
    return names

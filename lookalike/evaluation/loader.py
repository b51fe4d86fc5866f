"""What an evaluation asks of a loader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol


class EvaluationLoader(Protocol):
    """Batches with `image` (N, C, H, W), `label` (N,), `index` (N,) and, where there are any, `camera` (N,).

    `index` is the row of the dataset. Where the loader has `records` with `paths`, images are known by their
    file; where it has `broken`, that maps the path of each image it had to leave out to the reason.
    """

    def __iter__(self) -> Iterator[dict[str, Any]]: ...

    def __len__(self) -> int: ...


def broken_images(loader: EvaluationLoader) -> list[tuple[str, str]]:
    """(path, reason) of the images that the loader left out."""
    return list(dict(getattr(loader, "broken", None) or {}).items())


def image_paths(loader: EvaluationLoader) -> list[str] | None:
    """The file of each row of the dataset, None where the loader does not know."""
    paths = getattr(getattr(loader, "records", None), "paths", None)
    return None if paths is None else [str(path) for path in paths]

"""A look at the pictures of a set: their sizes and colours, and which of them are broken."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from lookalike.core.errors import BrokenImage
from lookalike.core.progress import track
from lookalike.images import Records, check_images, decode_image

LOOKED_AT = 5000
"""Pictures that are decoded; of a larger set these are spread evenly, and of the others the file is looked
for.
"""


@dataclass(frozen=True)
class Survey:
    """What pictures look like. Sizes are pixels, `mean` and `deviation` are per channel (R, G, B) in 0..1."""

    looked_at: int
    width: int
    height: int
    smallest: tuple[int, int]
    largest: tuple[int, int]
    grey_share: float
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    broken: list[tuple[int, str]] = field(default_factory=list)

    @property
    def side(self) -> int:
        """The longer side of the median picture."""
        return max(self.width, self.height)


@dataclass(frozen=True)
class _Look:
    width: int
    height: int
    grey: bool
    mean: np.ndarray
    square: np.ndarray


def survey(records: Records, workers: int = 8) -> Survey:
    """Look at the pictures of a set. Raises nothing for broken ones: they are listed."""
    count = len(records)
    chosen = np.unique(np.linspace(0, count - 1, min(count, LOOKED_AT)).round().astype(np.int64))
    with ThreadPoolExecutor(max(1, workers)) as pool:
        seen = pool.map(lambda index: _look(records.paths[index]), chosen.tolist())
        looks = list(track(seen, "looking at pictures", len(chosen), "pictures"))
    broken = [
        (index, look) for index, look in zip(chosen.tolist(), looks, strict=True) if isinstance(look, str)
    ]
    others = np.setdiff1d(np.arange(count), chosen)
    if len(others):
        missing = check_images(records.subset(others), decode=False)
        broken += [(int(others[position]), reason) for position, reason in missing]
    good = [look for look in looks if isinstance(look, _Look)]
    if not good:
        return Survey(len(chosen), 0, 0, (0, 0), (0, 0), 0.0, (0.5,) * 3, (0.25,) * 3, sorted(broken))
    sizes = np.array([(look.width, look.height) for look in good])
    areas = sizes.prod(axis=1)
    mean = np.mean([look.mean for look in good], axis=0)
    square = np.mean([look.square for look in good], axis=0)
    deviation = np.sqrt(np.maximum(square - mean**2, 1e-4))
    return Survey(
        looked_at=len(chosen),
        width=int(np.median(sizes[:, 0])),
        height=int(np.median(sizes[:, 1])),
        smallest=_size(sizes[areas.argmin()]),
        largest=_size(sizes[areas.argmax()]),
        grey_share=float(np.mean([look.grey for look in good])),
        mean=_colour(mean),
        deviation=_colour(deviation),
        broken=sorted(broken),
    )


def _look(path: str) -> _Look | str:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not UTF-8, so that no list can hold it"
    try:
        image = decode_image(path)
    except BrokenImage as error:
        return error.reason
    step = max(1, max(image.shape[:2]) // 128)
    pixels = image[::step, ::step].reshape(-1, 3).astype(np.float32) / 255
    grey = bool(np.abs(pixels - pixels.mean(axis=1, keepdims=True)).max() < 0.02)
    return _Look(image.shape[1], image.shape[0], grey, pixels.mean(axis=0), np.square(pixels).mean(axis=0))


def _size(pair: np.ndarray) -> tuple[int, int]:
    return int(pair[0]), int(pair[1])


def _colour(values: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (round(float(value), 3) for value in values)
    return red, green, blue

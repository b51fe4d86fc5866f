"""Parts of an image hidden: a square, patches of a grid, a mesh."""

from __future__ import annotations

import cv2
import numpy as np

from lookalike.core.errors import UserError
from lookalike.core.numbers import Number
from lookalike.data.augmentation.arguments import is_channel_first, probability
from lookalike.data.registries import augmentations


def _channels_last(image: np.ndarray) -> np.ndarray:
    """A view with the channels last."""
    return image.transpose(1, 2, 0) if is_channel_first(image) else image


@augmentations.register("Cutout")
class Cutout:
    """Fill `n_holes` squares of side `length` around points of the image, cut at its border.

    https://arxiv.org/abs/1708.04552. fill_value: one value a channel; None (or `none`) draws a colour of
    0..255 for each hole. Takes either layout. In the reference a fill value other than None crashes, and
    squares have one row and column more; `reference_behaviour` repeats the latter.
    """

    takes = None

    def __init__(
        self,
        n_holes: int = 1,
        length: int = 112,
        fill_value: list[Number] | str | None = [0, 0, 0],  # noqa: B006  (read only)
        reference_behaviour: bool = False,
    ) -> None:
        if n_holes < 1 or length < 1:
            raise UserError(f"Cutout needs n_holes and length of at least 1, got {n_holes} and {length}")
        if isinstance(fill_value, str) and fill_value != "none":
            raise UserError(f"fill_value must be a list of numbers, or none, got '{fill_value}'")
        self.n_holes, self.length = n_holes, length
        self.fill_value = None if isinstance(fill_value, str) else fill_value
        self.reference_behaviour = reference_behaviour

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        holed: np.ndarray = image.copy()
        view = _channels_last(holed)
        height, width, channels = view.shape
        if self.fill_value is not None and len(self.fill_value) != channels:
            raise UserError(
                f"Cutout: fill_value has {len(self.fill_value)} values, the image {channels} channels"
            )
        before = self.length // 2
        after = before + 1 if self.reference_behaviour else self.length - before
        for _ in range(self.n_holes):
            y, x = int(rng.integers(height)), int(rng.integers(width))
            colour = rng.integers(256, size=channels) if self.fill_value is None else self.fill_value
            view[max(y - before, 0) : y + after, max(x - before, 0) : x + after] = colour
        return holed


@augmentations.register("HideAndSeek")
class HideAndSeek:
    """Blacken each patch of a grid with probability 1/2; its side is 16, 32, 44, 56 or no grid at all.

    https://arxiv.org/abs/1811.02545. The five cases are equally likely. Takes either layout. The reference
    takes every image for one with channels first and swaps its two sides, as we do with
    `reference_behaviour`; it also writes into the image it was given.
    """

    takes = None
    sides = (0, 16, 32, 44, 56)

    def __init__(self, reference_behaviour: bool = False) -> None:
        self.reference_behaviour = reference_behaviour

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        side = self.sides[int(rng.integers(len(self.sides)))]
        if not side:
            return image
        hidden: np.ndarray = image.copy()
        if self.reference_behaviour:
            view = hidden.transpose(1, 2, 0)
            rows, columns = view.shape[1], view.shape[0]
        else:
            view = _channels_last(hidden)
            rows, columns = view.shape[:2]
        for top in range(0, rows, side):
            for left in range(0, columns, side):
                if rng.random() < 0.5:
                    view[top : min(top + side, rows), left : min(left + side, columns)] = 0
        return hidden


@augmentations.register("GridMask")
class GridMask:
    """With probability `prob` blacken a mesh of bars, turned by a random angle. https://arxiv.org/abs/2001.04086

    The period d is drawn from `d1` to `d2` - 1; a share `ratio` of each period, in both directions, is bar.
    The mesh is shifted at random and turned by 0 … `rotate` - 1 degrees. mode 1 blackens what is not bar.
    Takes either layout.

    The paper lets the probability grow from 0 over the training; here it is the same throughout. The
    reference ties it to an epoch that nothing ever counts, so that it never acts; with
    `reference_behaviour` neither do we.
    """

    takes = None

    def __init__(
        self,
        d1: int = 96,
        d2: int = 224,
        rotate: int = 1,
        ratio: Number = 0.5,
        mode: int = 0,
        prob: Number = 1.0,
        reference_behaviour: bool = False,
    ) -> None:
        if not 1 <= d1 < d2:
            raise UserError(f"GridMask needs 1 <= d1 < d2, got {d1} and {d2}")
        if rotate < 1 or not 0 <= ratio <= 1 or mode not in (0, 1):
            raise UserError("GridMask needs rotate of at least 1, ratio in 0..1 and mode 0 or 1")
        self.d1, self.d2, self.rotate, self.ratio = d1, d2, rotate, ratio
        self.mode, self.prob = mode, 0.0 if reference_behaviour else probability(prob)

    def mask(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        """The drawn mesh, (height, width): 0 where it hides, 1 elsewhere."""
        tall, wide = int(1.5 * height), int(1.5 * width)  # so that no corner is bare after the rotation
        period = int(rng.integers(self.d1, self.d2))
        bar = int(period * self.ratio + 0.5)
        rows = (np.arange(tall) - int(rng.integers(period))) % period >= bar
        columns = (np.arange(wide) - int(rng.integers(period))) % period >= bar
        mesh = np.outer(rows, columns).astype(np.uint8)
        angle = int(rng.integers(self.rotate))
        matrix = cv2.getRotationMatrix2D(((wide - 1) / 2, (tall - 1) / 2), angle, 1.0)
        turned = cv2.warpAffine(mesh, matrix, (wide, tall), flags=cv2.INTER_NEAREST)
        top, left = (tall - height) // 2, (wide - width) // 2
        cut = turned[top : top + height, left : left + width]
        return 1 - cut if self.mode == 1 else cut

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.prob:
            return image
        hidden: np.ndarray = image.copy()
        view = _channels_last(hidden)
        view *= self.mask(view.shape[0], view.shape[1], rng)[:, :, None].astype(view.dtype)
        return hidden

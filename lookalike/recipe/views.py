"""Test-time views: a picture as it is, mirrored, and in other sizes, whose mean feature is scored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lookalike.core.errors import UserError


@dataclass(frozen=True)
class Views:
    """Which views of a picture are encoded: in each of the scales, and mirrored as well with `flip`.

    The first of them, not mirrored, is the one that a loss sees. Raises UserError for scales that
    `checked_scales` refuses.
    """

    flip: bool = False
    scales: Sequence[float] = (1.0,)

    def __post_init__(self) -> None:
        try:
            checked_scales(self.scales)
        except ValueError as error:
            raise UserError(f"test-time views: {error}") from None
        object.__setattr__(self, "scales", tuple(map(float, self.scales)))  # frozen, hence not by assignment

    @property
    def several(self) -> bool:
        """Whether there is more than one view."""
        return self.flip or len(self.scales) > 1

    @property
    def plain(self) -> bool:
        """Whether there is one view, the picture as it is."""
        return not self.several and not self.resizes

    @property
    def resizes(self) -> bool:
        """Whether some view has another size than the picture."""
        return any(scale != 1 for scale in self.scales)

    @property
    def cost(self) -> float:
        """How often the work of one picture is done: (2 if mirrored) · Σ scale²."""
        return (1 + self.flip) * math.fsum(scale**2 for scale in self.scales)

    def size(self, scale: float, height: int, width: int) -> tuple[int, int]:
        """round(scale · height), round(scale · width), halves to even. Raises UserError where a side is 0."""
        sides = round(scale * height), round(scale * width)
        if 0 in sides:
            raise UserError(
                f"Global.test_time_scales: {scale:g} leaves nothing of pictures of {height}x{width}"
            )
        return sides

    def __str__(self) -> str:
        scales = ", ".join(map(repr, self.scales))  # all digits: it is part of a fingerprint
        return f"scales {scales}{', each mirrored as well' if self.flip else ''}"


def checked_scales(scales: Sequence[float]) -> Sequence[float]:
    """The scales as they are.

    Raises ValueError for none, for one that is not finite and above 0, and for one that stands there twice.
    """
    if not scales:
        raise ValueError("at least one scale is needed; 1.0 is the picture as it is")
    for number, scale in enumerate(scales):
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError("scales must be finite and above 0")
        if scale in scales[:number]:
            raise ValueError(f"the scale {scale:g} stands there twice, and would count twice")
    return scales

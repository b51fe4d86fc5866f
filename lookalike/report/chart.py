"""Axes, ticks and labels of a small SVG chart that stays legible on a phone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lookalike.report.page import escaped

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 460, 300, 52, 20, 34, 48

Point = tuple[float, float]


@dataclass(frozen=True)
class Chart:
    """A rectangle of data. `log`: the x axis is logarithmic."""

    x: tuple[float, float]
    y: tuple[float, float]
    log: bool = False

    def place(self, x: float, y: float) -> Point:
        """Where a point of the data is on the drawing."""
        scale: Callable[[float], float] = math.log if self.log else float
        low, high = scale(self.x[0]), scale(self.x[1])
        across = (scale(x) - low) / ((high - low) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP)

    def axes(
        self,
        names: tuple[str, str],
        x_ticks: Sequence[float],
        y_ticks: Sequence[float],
        y_format: Callable[[float], str],
        x_format: Callable[[float], str] = "{:g}".format,
    ) -> str:
        """Grid lines with their numbers, and the name of each axis."""
        parts = []
        for value in y_ticks:
            _, y = self.place(self.x[0], value)
            parts.append(f"<line class='grid' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y:.1f}' y2='{y:.1f}'/>")
            parts.append(
                f"<text x='{LEFT - 7}' y='{y + 4:.1f}' text-anchor='end'>{escaped(y_format(value))}</text>"
            )
        for value in x_ticks:
            x, _ = self.place(value, self.y[0])
            base = HEIGHT - BOTTOM
            parts.append(f"<line class='tick' x1='{x:.1f}' x2='{x:.1f}' y1='{base}' y2='{base + 5}'/>")
            parts.append(
                f"<text x='{x:.1f}' y='{base + 19}' text-anchor='middle'>{escaped(x_format(value))}</text>"
            )
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(f"<text x='{middle}' y='{HEIGHT - 8}' text-anchor='middle'>{escaped(names[0])}</text>")
        parts.append(f"<text x='4' y='{TOP - 18}'>{escaped(names[1])}</text>")
        return "".join(parts)

    def line(self, points: Sequence[Point], marked: Sequence[int] = ()) -> str:
        """A line through points; dots on those at the positions `marked`."""
        placed = [self.place(*point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        dots = "".join(
            f"<circle class='dot' cx='{placed[i][0]:.1f}' cy='{placed[i][1]:.1f}' r='4'/>" for i in marked
        )
        return f"<polyline class='line' points='{path}'/>{dots}"

    def note(self, x: float, y: float, text: str, anchor: str = "start", shift: Point = (0, 0)) -> str:
        """A short text at a point."""
        across, down = self.place(x, y)
        return (
            f"<text class='told' x='{across + shift[0]:.1f}' y='{down + shift[1]:.1f}' "
            f"text-anchor='{anchor}'>{escaped(text)}</text>"
        )


def drawing(title: str, told: str, body: str, below: str = "") -> str:
    """A card with a chart: its title, what it shows for those who cannot see it, and what stands below."""
    return (
        f"<div class='card chart'><h3>{escaped(title)}</h3>"
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{escaped(told)}'>{body}</svg>"
        f"{below}</div>"
    )


def nice_step(span: float, parts: int) -> float:
    """A step of 1, 2 or 5 times a power of ten that divides a span into about so many parts, at most."""
    rough = span / parts if span > 0 else 1.0
    unit = 10.0 ** math.floor(math.log10(rough))
    return next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough * (1 - 1e-9))


def ticks(low: float, high: float, parts: int = 5) -> list[float]:
    """Round numbers within a span."""
    step = nice_step(high - low, parts)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [float(round((first + i) * step, 10)) for i in np.arange(max(count, 0))]


def percent(value: float) -> str:
    """`87 %` of 0.87, `91.3 %` of 0.9129, `0.01 %` of 0.0001."""
    told = f"{100 * value:.1f}".removesuffix(".0") if value >= 0.01 else f"{100 * value:.2g}"
    return f"{told} %"

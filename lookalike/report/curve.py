"""Curves of a run as SVG."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 860, 260, 46, 30, 14, 90


def curve(lines: Mapping[str, Sequence[tuple[float, float]]], below: str, unit: str = "") -> str:
    """Lines of (x, y) on common axes, each with its name at its end. `below` names the x axis.

    Raises ValueError when no line has a point.
    """
    points = [point for line in lines.values() for point in line]
    if not points:
        raise ValueError("there is nothing to draw")
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    y_high = _round_up(max(y for _, y in points))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / ((x_high - x_low) or 1)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y / y_high * (HEIGHT - BOTTOM - TOP)

    parts = [f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' width='100%'>"]
    for step in range(5):
        value = y_high * step / 4
        _, y = place(x_low, value)
        parts.append(
            f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y:.1f}' y2='{y:.1f}' stroke='var(--line)'/>"
        )
        parts.append(
            f"<text x='{LEFT - 8}' y='{y + 4:.1f}' text-anchor='end'>{value:g}{html.escape(unit)}</text>"
        )
    for x in sorted({x_low, x_high}):
        parts.append(f"<text x='{place(x, 0)[0]:.1f}' y='{HEIGHT - 10}' text-anchor='middle'>{x:g}</text>")
    parts.append(
        f"<text x='{(LEFT + WIDTH - RIGHT) / 2}' y='{HEIGHT - 10}' text-anchor='middle'>"
        f"{html.escape(below)}</text>"
    )
    for (name, line), colour in zip(lines.items(), ("--main", "--right", "--wrong", "--soft"), strict=False):
        if not line:
            continue
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in (place(x, y) for x, y in line))
        parts.append(f"<polyline points='{path}' fill='none' stroke='var({colour})' stroke-width='2.5'/>")
        end_x, end_y = place(*line[-1])
        parts.append(
            f"<text x='{end_x + 8:.1f}' y='{end_y + 4:.1f}' style='fill:var({colour})'>"
            f"{html.escape(name)}</text>"
        )
    return f"<div class='card'>{''.join(parts)}</svg></div>"


def _round_up(value: float) -> float:
    step = 10.0
    while step > 1e-6:
        for factor in (1, 0.5, 0.25):
            if value / (step * factor) >= 4:
                unit = step * factor
                return -(-value // unit) * unit
        step /= 10
    return max(value, 1e-6)

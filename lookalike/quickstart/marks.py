"""Pictures of brand marks, drawn from an icon font: every mark in many colours, views and qualities.

The marks come from Font Awesome Free (package `fontawesomefree`; font under the SIL OFL 1.1, brand names and
marks belong to their owners). Pillow draws them, so no system library is needed.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lookalike.core.errors import missing_extra
from lookalike.core.progress import track
from lookalike.images import Records, write_list

Picture = NDArray[np.uint8]
GLYPH = 128
SAME = 0.88
"""Two marks whose silhouettes correlate above this are one brand in two designs; only the first is kept."""


@dataclass(frozen=True)
class Mark:
    """A brand's name and its silhouette, (GLYPH, GLYPH) of 0 to 255."""

    name: str
    silhouette: Picture


def brand_marks() -> list[Mark]:
    """All brand marks of the installed icon font that differ from each other, in the order of their names.

    Raises UserError when the package is not installed.
    """
    found = importlib.util.find_spec("fontawesomefree")
    if found is None or not found.submodule_search_locations:
        raise missing_extra("fontawesomefree", "quickstart", "the quickstart's brand marks")
    folder = Path(next(iter(found.submodule_search_locations))) / "static" / "fontawesomefree"
    icons = json.loads((folder / "metadata" / "icons.json").read_text(encoding="utf-8"))
    font = ImageFont.truetype(str(folder / "webfonts" / "fa-brands-400.ttf"), GLYPH)
    marks: list[Mark] = []
    seen: list[NDArray[np.float32]] = []
    for name, icon in sorted(icons.items()):
        if "brands" not in icon["styles"] or "square" in name:  # the mark of another brand in a square
            continue
        silhouette = _silhouette(font, chr(int(icon["unicode"], 16)))
        if silhouette is None:
            continue
        small = cv2.resize(silhouette, (24, 24), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
        small = (small - small.mean()) / max(float(small.std()), 1e-6)
        if seen and float((np.stack(seen) @ small).max()) / small.size > SAME:
            continue
        seen.append(small)
        marks.append(Mark(str(icon.get("label") or name), silhouette))
    return marks


def _silhouette(font: ImageFont.FreeTypeFont, character: str) -> Picture | None:
    left, top, right, bottom = font.getbbox(character)
    width, height = int(right - left), int(bottom - top)
    if width < 8 or height < 8:
        return None
    side = max(width, height)
    canvas = Image.new("L", (side, side), 0)
    ImageDraw.Draw(canvas).text(
        ((side - width) / 2 - left, (side - height) / 2 - top), character, fill=255, font=font
    )
    return np.asarray(canvas.resize((GLYPH, GLYPH), Image.Resampling.LANCZOS), dtype=np.uint8)


def draw(mark: Mark, generator: np.random.Generator, side: int) -> Picture:
    """One picture (side, side, 3) of a mark: random colours, perspective, background, blur and noise."""
    background = _background(generator, side)
    level = background.mean(axis=(0, 1))
    colour = generator.integers(0, 256, 3).astype(np.float32)
    while np.abs(colour - level).max() < 90:  # a mark that nobody could see teaches nothing
        colour = generator.integers(0, 256, 3).astype(np.float32)
    view = _perspective(generator, side)
    silhouette = cv2.warpPerspective(mark.silhouette, view, (side, side), flags=cv2.INTER_AREA)
    alpha = silhouette.astype(np.float32) / 255
    picture: Any = background * (1 - alpha[..., None]) + colour * alpha[..., None]
    if generator.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), float(generator.uniform(0.4, 1.3)))
    picture += generator.normal(0, generator.uniform(2, 14), picture.shape)
    drawn: Picture = np.clip(picture, 0, 255).astype(np.uint8)
    return drawn


def _perspective(generator: np.random.Generator, side: int) -> NDArray[np.float64]:
    """A view of the glyph's square.

    Turned up to 20 degrees, 55 to 90 % of the picture, corners moved by up to 9 %.
    """
    size = generator.uniform(0.55, 0.9) * side
    angle = np.deg2rad(generator.uniform(-20, 20))
    corners: Any = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float64) * size / 2
    corners = corners + generator.uniform(-0.09, 0.09, (4, 2)) * size
    turn: Any = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    free = (side - size) / 2
    corners = corners @ turn.T + side / 2 + generator.uniform(-free, free, 2) * 0.8
    source = np.array([[0, 0], [GLYPH, 0], [GLYPH, GLYPH], [0, GLYPH]], np.float32)
    return np.asarray(cv2.getPerspectiveTransform(source, corners.astype(np.float32)), dtype=np.float64)


def _background(generator: np.random.Generator, side: int) -> NDArray[np.float32]:
    """One colour, a fade between two, or blotches."""
    one, other = generator.integers(0, 256, (2, 3)).astype(np.float32)
    other = one + (other - one) * 0.5
    kind = generator.integers(3)
    if kind == 0:
        return np.broadcast_to(one, (side, side, 3)).astype(np.float32)
    if kind == 1:
        axis = np.linspace(0, 1, side, dtype=np.float32)
        mix = np.add.outer(axis * generator.random(), axis * generator.random())[..., None]
    else:
        cells = generator.random((4, 4)).astype(np.float32)
        mix = cv2.resize(cells, (side, side), interpolation=cv2.INTER_CUBIC)[..., None]
    blended: NDArray[np.float32] = (one + (other - one) * mix).astype(np.float32)
    return blended


@dataclass(frozen=True)
class Drawn:
    """What was drawn: brands to train on, brands never trained on, and how many pictures."""

    train_brands: int
    test_brands: int
    pictures: int


def draw_pictures(
    folder: Path,
    *,
    side: int = 64,
    per_train: int = 20,
    per_query: int = 3,
    per_gallery: int = 5,
    test_share: float = 0.25,
    seed: int = 0,
    brands: int | None = None,
) -> Drawn:
    """Draw all pictures into a folder with `train.txt`, `query.txt`, `gallery.txt`, and the names of the
    brands in `brands.txt`.

    A share of the brands, chosen by the seed, is only in query and gallery.
    """
    generator = np.random.default_rng(seed)
    marks = brand_marks()[:brands]
    order = generator.permutation(len(marks))
    test = set(order[: round(test_share * len(marks))].tolist())
    lists: dict[str, tuple[list[str], list[int]]] = {part: ([], []) for part in ("train", "query", "gallery")}
    for label, mark in enumerate(track(marks, "draw", total=len(marks), unit="brands")):
        (folder / f"{label:03d}").mkdir(parents=True, exist_ok=True)
        parts = {"query": per_query, "gallery": per_gallery} if label in test else {"train": per_train}
        number = 0
        for part, count in parts.items():
            for _ in range(count):
                name = f"{label:03d}/{number:02d}.jpg"
                bgr = draw(mark, generator, side)[..., ::-1]
                cv2.imwrite(str(folder / name), bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])
                lists[part][0].append(name)
                lists[part][1].append(label)
                number += 1
    for part, (paths, labels) in lists.items():
        write_list(folder / f"{part}.txt", Records(paths, np.array(labels, np.int64)), " ")
    (folder / "brands.txt").write_text(
        "".join(f"{i} {mark.name}\n" for i, mark in enumerate(marks)), encoding="utf-8"
    )
    return Drawn(len(marks) - len(test), len(test), sum(len(paths) for paths, _ in lists.values()))

"""Small pictures inside a page."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

import cv2

from lookalike.core.errors import UserError
from lookalike.evaluation.feature_set import FeatureSet
from lookalike.images import decode_image
from lookalike.report.page import escaped

SIDE = 144
"""Pixels of the longer side of a thumbnail, enough for 72 points on a fine screen."""
QUALITY = 72


@dataclass
class Thumbnails:
    """Pictures of the rows that a report shows; each file is read once.

    missing: why a file could not be shown, by its path.
    """

    missing: dict[str, str] = field(default_factory=dict)
    _sources: dict[str, str] = field(default_factory=dict)

    def figure(self, of: FeatureSet, row: int, caption: str, kind: str = "") -> str:
        """The picture of a row with a caption of HTML; a placeholder where it cannot be read."""
        name = escaped(of.name_of(row))
        if of.paths is None:
            picture = f"<span class='gone' title='{name}'>{name}</span>"
        elif source := self._source(of.paths[row]):
            short = escaped(of.paths[row].replace("\\", "/").rsplit("/", 1)[-1])
            picture = f"<img src='{source}' alt='{short}' title='{name}' loading='lazy'>"
        else:
            picture = f"<span class='gone' title='{name}'>picture missing</span>"
        return f"<figure class='{kind}'>{picture}<figcaption>{caption}</figcaption></figure>"

    def note(self) -> str:
        """What could not be shown, as a paragraph; empty where everything is there."""
        if not self.missing:
            return ""
        path, reason = next(iter(self.missing.items()))
        count = len(self.missing)
        many = "One picture" if count == 1 else f"{count} pictures"
        return (
            f"<p class='note'><strong>{many} could not be shown</strong> (the figures do not need them), "
            f"the first: <code>{escaped(path)}</code>: {escaped(reason)}.</p>"
        )

    def _source(self, path: str) -> str:
        if path not in self._sources:
            self._sources[path] = self._read(path)
        return self._sources[path]

    def _read(self, path: str) -> str:
        try:
            pixels = decode_image(path)
        except UserError as error:  # BrokenImage, and an address inside a file that is none
            self.missing[path] = getattr(error, "reason", "") or str(error)
            return ""
        height, width = pixels.shape[:2]
        scale = min(1.0, SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        done, data = cv2.imencode(
            ".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
        )
        assert done, "8-bit RGB can always be written as JPEG"
        return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def judged(label: str, similarity: float, right: bool) -> str:
    """The caption of an answer: a mark, the class, how alike; the mark is a word for those who listen."""
    mark, word = ("✓", "right") if right else ("✗", "wrong")
    return (
        f"<span class='mark' aria-hidden='true'>{mark}</span><span class='unseen'>{word}: </span>"
        f"{escaped(label)} <span class='soft'>{similarity:.2f}</span>"
    )

"""What is known of one published set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lookalike.images.standard_sets.download import Download
from lookalike.images.standard_sets.listing import Listing


@dataclass(frozen=True)
class StandardSet:
    """Facts of a set, and how its download is read.

    name: as `prepare` takes it. terms: what its makers allow. folder: where the shipped recipes look for it.
    needs: what of the download must be there. expected: images and classes of each list, as published.
    dataset: the format that reads the lists. links: a folder that a recipe reads, for a download whose
    folder of that name lies deeper. unsure: what about the layout was not checked on the real download.
    """

    name: str
    title: str
    homepage: str
    terms: str
    folder: str
    needs: str
    read: Callable[[Download], dict[str, Listing]]
    expected: Mapping[str, tuple[int, int]]
    dataset: str = "VeriWild"
    recipes: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    unpacks: bool = True
    unsure: str = field(default="")

    @property
    def source(self) -> str:
        """Where to get it and what must be there, for a message."""
        return f"get {self.title} from {self.homepage} ({self.needs})"

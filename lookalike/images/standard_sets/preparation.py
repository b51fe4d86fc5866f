"""From an official download to the list files that recipes read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from lookalike.core.errors import UserError
from lookalike.core.progress import track
from lookalike.images.standard_sets.archives import archives_of, unpack
from lookalike.images.standard_sets.catalogue import standard_set
from lookalike.images.standard_sets.download import Download
from lookalike.images.standard_sets.listing import Listing, write_lines
from lookalike.images.standard_sets.logo_boxes import cut
from lookalike.images.standard_sets.standard_set import StandardSet

_NAMES = "class_names.txt"


@dataclass(frozen=True)
class PreparedList:
    """One list file: how many images and classes it has, and how many are published (None: not known)."""

    file: str
    image_root: str
    images: int
    classes: int
    expected_images: int | None
    expected_classes: int | None
    missing: int = 0

    @property
    def as_published(self) -> bool:
        return (self.images, self.classes) == (self.expected_images, self.expected_classes)

    def line(self) -> str:
        """The counts in words."""
        told = f"{self.file}: {self.images} images of {self.classes} classes"
        if self.as_published:
            told += ", as published"
        elif self.expected_images is not None:
            told += f", published are {self.expected_images} of {self.expected_classes}"
        return told + (f"; {self.missing} images that are not there were left out" if self.missing else "")


@dataclass(frozen=True)
class Prepared:
    """What `prepare` did, or in a rehearsal would do."""

    of: StandardSet
    root: Path
    lists: list[PreparedList]
    unpacked: list[str]
    rehearsed: bool

    @property
    def as_published(self) -> bool:
        return bool(self.lists) and all(each.as_published for each in self.lists)

    def to_dict(self) -> dict[str, object]:
        return {
            "name": self.of.name,
            "root": str(self.root),
            "dataset": self.of.dataset,
            "recipes": list(self.of.recipes),
            "lists": [{**asdict(each), "as_published": each.as_published} for each in self.lists],
            "as_published": self.as_published,
            "unpacked": self.unpacked,
            "dry_run": self.rehearsed,
        }

    def text(self) -> str:
        would = "would be " if self.rehearsed else ""
        lines = [f"{file}: {would}unpacked" for file in self.unpacked]
        lines += [each.line() for each in self.lists]
        if not self.lists:
            lines.append("its lists can be told once that is unpacked: run again without --dry-run")
        elif not self.as_published and self.of.unsure:
            lines.append(f"note: {self.of.unsure}")
        if self.lists and not self.rehearsed:
            if self.of.recipes and self.root.resolve() == Path(self.of.folder).resolve():
                lines.append(f"now: lookalike check -c {self.of.recipes[0]}")
            else:
                roots = ", ".join(dict.fromkeys(each.image_root for each in self.lists))
                lines.append(f"recipes read them with {self.of.dataset} and image_root: {roots}")
        return "\n".join(lines)


def prepare(
    name: str,
    root: str | Path | None = None,
    *,
    dry_run: bool = False,
    allow_missing: bool = False,
    force: bool = False,
) -> Prepared:
    """Write the list files of a published set whose official download lies in `root`.

    root: by default where the shipped recipe looks for the set. Archives there are unpacked beside
    themselves; nothing else of the download is touched. allow_missing: leave images out that are not there.
    force: write over lists that say something else. dry_run: write nothing.

    Counts that differ from the published ones are told, not an error. Raises UserError, which says where to
    get the set and what is missing, for a download that is not there or is not whole.
    """
    of = standard_set(name)
    folder = Path(of.folder if root is None else root)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder, and nothing is downloaded: {of.source}")
    unpacked = list(_unpacked(folder, dry_run)) if of.unpacks else []
    if dry_run and unpacked:
        return Prepared(of, folder, [], unpacked, dry_run)
    download = Download(folder, of.source)
    made = of.read(download)
    prepared, whole = [], {}
    for file, listing in made.items():
        if not listing.rows:
            raise UserError(f"{folder}: no image for {file}, is the download whole? ({of.source})")
        whole[file] = _without_missing(folder, file, listing, allow_missing)
        left, expected = whole[file], of.expected.get(file)
        prepared.append(
            PreparedList(
                str(folder / file),
                str(folder / listing.image_root),
                len(left.rows),
                left.classes,
                expected[0] if expected else None,
                expected[1] if expected else None,
                len(listing.rows) - len(left.rows),
            )
        )
    if not dry_run:
        _write(of, download, whole, force)
    return Prepared(of, folder, prepared, unpacked, dry_run)


def _unpacked(folder: Path, dry_run: bool) -> Iterator[str]:
    made: set[Path] = set()
    for archive in archives_of(folder):
        target = unpack(archive, dry_run, made)
        if target is not None:
            made.add(target)
            yield str(archive)


def _without_missing(folder: Path, file: str, listing: Listing, allow_missing: bool) -> Listing:
    """The listing less its images that are not there; unless that is allowed, there must be none."""
    if listing.crops is not None:
        pictures = [crop.picture for crop in listing.crops]
    else:
        pictures = [folder / listing.image_root / row.path for row in listing.rows]
    looking = track(pictures, f"looking for the images of {file}", len(pictures), "images")
    there = [picture.is_file() for picture in looking]
    if all(there):
        return listing
    first, missing = pictures[there.index(False)], there.count(False)
    if not any(there):
        raise UserError(f"none of the {len(there)} images of {file} is there, the first is {first}")
    if not allow_missing:
        raise UserError(
            f"{missing} of the {len(there)} images of {file} are not there, the first is {first}; "
            "--allow-missing leaves them out"
        )
    rows = [row for row, is_there in zip(listing.rows, there, strict=True) if is_there]
    crops = listing.crops and [crop for crop, is_there in zip(listing.crops, there, strict=True) if is_there]
    return replace(listing, rows=rows, crops=crops, published=False)


def _write(of: StandardSet, download: Download, made: dict[str, Listing], force: bool) -> None:
    """Crops first, then the lists that name them, and a table of class names where classes have names."""
    root = download.root
    made = {f: each for f, each in made.items() if not (each.published and root / f in download.found)}
    for file, listing in made.items():
        if root / file in download.found:
            raise UserError(f"{root / file} belongs to the download, which is never changed")
        if listing.crops is not None:
            wanted = [
                (crop, root / listing.image_root / row.path)
                for crop, row in zip(listing.crops, listing.rows, strict=True)
            ]
            todo = [(crop, target) for crop, target in wanted if force or not target.is_file()]
            for crop, target in track(todo, f"cutting images of {file}", len(todo), "images"):
                cut(crop, target)
    for name in of.links:
        _link(root, name, download)
    for file, listing in made.items():
        write_lines(root / file, listing.lines, force)
    for file, text in _names(made):
        write_lines(root / file, partial(text.splitlines, keepends=True), force)


def _names(made: dict[str, Listing]) -> Iterator[tuple[str, str]]:
    """One table `label<TAB>name` where all lists number the same names alike, else one for each list."""
    tables = {
        file: "".join(f"{label}\t{name}\n" for label, name in listing.class_names.items())
        for file, listing in made.items()
        if listing.class_names is not None
    }
    if len(set(tables.values())) == 1:
        first = next(iter(tables))
        yield str(Path(first).parent / _NAMES), tables[first]
    else:
        for file, text in tables.items():
            yield str(Path(file).with_name(f"{Path(file).stem}_{_NAMES}")), text


def _link(root: Path, name: str, download: Download) -> None:
    """Let a folder that recipes read be found right below the root where the archive put it deeper."""
    place = root / name
    if not place.exists():
        place.symlink_to(download.find(name), target_is_directory=True)

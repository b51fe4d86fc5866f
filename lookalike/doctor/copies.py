"""Pictures that are the same file twice, found by size and then by content."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from lookalike.core.progress import track


def same_content(paths: Sequence[str]) -> list[list[int]]:
    """Groups of at least two positions whose files have the same bytes, in order; missing files are left out.

    Only files whose size occurs again are read.
    """
    sizes: dict[int, list[int]] = defaultdict(list)
    for position, path in enumerate(paths):
        try:
            sizes[Path(path).stat().st_size].append(position)
        except OSError:
            continue
    candidates = [position for group in sizes.values() if len(group) > 1 for position in group]
    contents: dict[bytes, list[int]] = defaultdict(list)
    for position in track(candidates, "comparing files", len(candidates), "files"):
        try:
            digest = hashlib.blake2b(Path(paths[position]).read_bytes(), digest_size=16).digest()
        except OSError:
            continue
        contents[digest].append(position)
    return sorted(sorted(group) for group in contents.values() if len(group) > 1)


def shared_content(one: Sequence[str], other: Iterable[str]) -> list[tuple[int, int]]:
    """Pairs (position in `one`, position in `other`) of files with the same bytes, the first of each content.

    Where the file stands in `other` under another path as well, that one is told.
    """
    listed = [*one, *other]
    pairs = []
    for group in same_content(listed):
        first = [position for position in group if position < len(one)]
        second = [position - len(one) for position in group if position >= len(one)]
        if first and second:
            other_name = (position for position in second if listed[len(one) + position] != one[first[0]])
            pairs.append((first[0], next(other_name, second[0])))
    return pairs

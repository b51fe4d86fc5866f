"""Recognise pictures with a model folder and a folder of labelled pictures, in Python.

    python examples/recognise.py inference my_pictures photo.jpg

`my_pictures` has one folder per thing. The gallery is written beside it, as `my_pictures.gallery`, and used
again the next time.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lookalike import Embedder, Gallery


def main(model_folder: str, pictures: str, *queries: str) -> None:
    model = Embedder(model_folder)
    folder = Path(f"{pictures.rstrip('/')}.gallery")
    gallery = Gallery.open(folder, model) if folder.exists() else Gallery.create(folder, model)
    paths = [path for path in sorted(Path(pictures).glob("*/*")) if path.is_file()]
    added = gallery.add(paths, [path.parent.name for path in paths], progress=True)
    print(f"{added.added} pictures enrolled, {len(added.known)} were there, {len(added.broken)} are broken")
    for query in queries:
        for answer in gallery.search(query, k=3):
            print(f"{query}: {answer.label} ({answer.score:.2f}), like {answer.path}")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])

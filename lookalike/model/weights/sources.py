"""Finding a file of weights: a path with or without its suffix, a folder, an address, a published name."""

from __future__ import annotations

from pathlib import Path

from lookalike.core.errors import UserError
from lookalike.model.weights.downloads import download, is_url
from lookalike.model.weights.urls import PUBLISHER, published_url

SUFFIXES = (".safetensors", ".pdparams", ".pth", ".pt", ".bin")


def find_weights(source: str | Path) -> Path:
    """The file behind a path (the suffix may be missing), a checkpoint folder, an address, `PaddleClas/NAME`.

    Raises UserError when there is no such file.
    """
    path = Path(source).expanduser()
    if (address := address_of(source)) is not None:
        return download(address)
    if path.is_dir():
        for name in ("model.safetensors", "model.pdparams"):
            if (path / name).is_file():
                return path / name
        raise UserError(f"{path}: the folder holds no model.safetensors")
    if path.is_file():
        return path
    if (found := _with_suffix(path)) is not None:
        return found
    raise UserError(f"{path}: there are no weights (nor with {', '.join(SUFFIXES)} behind it)")


def address_of(source: str | Path) -> str | None:
    """Where weights have to be fetched from; None for those on this machine.

    A file or folder of the name wins over the published weights `PaddleClas/NAME`. Raises UserError for a
    name that is not published.
    """
    text = str(source)
    if is_url(text):
        return text
    path = Path(source).expanduser()
    if not text.startswith(PUBLISHER) or path.exists() or _with_suffix(path) is not None:
        return None
    return published_url(text.removeprefix(PUBLISHER))


def _with_suffix(path: Path) -> Path | None:
    candidates = (path.with_name(path.name + suffix) for suffix in SUFFIXES)
    return next((found for found in candidates if found.is_file()), None)

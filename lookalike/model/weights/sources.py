"""Finding a file of weights: a path with or without its suffix, a checkpoint folder, an address."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from lookalike.core.errors import LookalikeError, UserError
from lookalike.core.files import atomic_file, sha256
from lookalike.core.log import logger
from lookalike.core.progress import track

SUFFIXES = (".safetensors", ".pdparams", ".pth", ".pt", ".bin")
_BLOCK = 1 << 20


def is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def cache_folder() -> Path:
    """Where downloads are kept: `~/.cache/lookalike`, or below XDG_CACHE_HOME."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lookalike"


def find_weights(source: str | Path) -> Path:
    """The file behind a path, a path without its suffix, a checkpoint folder or an address.

    Raises UserError when there is no such file.
    """
    if is_url(str(source)):
        return download(str(source))
    path = Path(source).expanduser()
    if path.is_dir():
        for name in ("model.safetensors", "model.pdparams"):
            if (path / name).is_file():
                return path / name
        raise UserError(f"{path}: the folder holds no model.safetensors")
    if path.is_file():
        return path
    for suffix in SUFFIXES:
        if (found := path.with_name(path.name + suffix)).is_file():
            return found
    raise UserError(f"{path}: there are no weights (nor with {', '.join(SUFFIXES)} behind it)")


def download(url: str, folder: Path | None = None) -> Path:
    """Fetch a file once and keep it. `#sha256=…` behind the address is checked.

    Raises UserError when the address is wrong, LookalikeError when it cannot be reached.
    """
    address, _, fragment = url.partition("#")
    wanted = urllib.parse.parse_qs(fragment).get("sha256", [""])[0].lower()
    name = Path(urllib.parse.urlparse(address).path).name or "weights"
    kept = (folder or cache_folder()) / f"{hashlib.sha256(address.encode()).hexdigest()[:12]}-{name}"
    if not kept.is_file():
        logger.info("fetching %s", address)
        try:
            with urllib.request.urlopen(address, timeout=30) as answer, atomic_file(kept) as file:
                length = int(answer.headers.get("Content-Length") or 0)
                total = (length + _BLOCK - 1) // _BLOCK if length else None
                size = 0
                for block in track(_blocks(answer), name, total, "MB"):
                    file.write(block)
                    size += len(block)
                if length and size != length:
                    raise LookalikeError(f"{address}: the connection broke after {size} of {length} bytes")
        except urllib.error.HTTPError as error:
            raise UserError(f"{address}: the server answers {error.code} {error.reason}") from error
        except (urllib.error.URLError, TimeoutError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise LookalikeError(
                f"{address} cannot be reached ({reason}): fetch the file elsewhere and give its path"
            ) from error
    if wanted and (found := sha256(kept)) != wanted:
        kept.unlink()
        raise UserError(f"{address}: the file has sha256 {found}, not {wanted}")
    return kept


def _blocks(answer: object) -> Iterator[bytes]:
    while block := answer.read(_BLOCK):  # type: ignore[attr-defined]
        yield block

"""Fetching a file once: whole or absent, checked, resumed where a connection broke, one process at a time.

Files are kept in `core.machine.cache_folder()`. Beside each lies a record (`NAME.json`) with its address,
size and sha256, so that a file that changes later, here or at its address, is noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lookalike.core.errors import LookalikeError, UserError
from lookalike.core.files import sha256, write_json
from lookalike.core.log import logger
from lookalike.core.machine import cache_folder
from lookalike.core.progress import track
from lookalike.model.weights.pdparams import read_pdparams

_BLOCK = 1 << 20
_TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""


def is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def cached_path(url: str, folder: Path | None = None) -> Path:
    """The file that keeps what lies at an address, fetched or not."""
    address = url.partition("#")[0]
    name = Path(urllib.parse.urlparse(address).path).name or "weights"
    return (folder or cache_folder()) / f"{hashlib.sha256(address.encode()).hexdigest()[:12]}-{name}"


def download(url: str, folder: Path | None = None) -> Path:
    """Fetch a file once and keep it. `#sha256=…` or `#md5=…` behind the address is checked.

    A `.pdparams` or `.safetensors` is kept only if it can be read as one. Several processes that want the
    same file wait for the one that fetches it.

    Raises UserError when the address is wrong, when the file is not what it should be, or when a kept file
    was changed; LookalikeError when the address cannot be reached or the connection breaks.
    """
    address, _, fragment = url.partition("#")
    wanted = {
        kind: digests[-1].lower()
        for kind, digests in urllib.parse.parse_qs(fragment).items()
        if kind in ("sha256", "md5")
    }
    kept = cached_path(address, folder)
    with _locked(kept):
        if kept.is_file():
            _check_kept(address, kept, wanted)
        else:
            _fetch(address, kept, wanted)
    return kept


@contextlib.contextmanager
def _locked(kept: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(kept.parent / f".{kept.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.info("another process fetches %s: waiting for it", kept.name)
            lock.acquire()
    except OSError as error:
        raise UserError(
            f"{kept.parent}: downloads cannot be kept there ({error.strerror or error}); LOOKALIKE_CACHE "
            "names another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _check_kept(address: str, kept: Path, wanted: dict[str, str]) -> None:
    found = sha256(kept)
    recorded = _recorded(kept)
    if recorded and recorded["sha256"] != found:
        raise UserError(
            f"{kept}: is another file than was fetched (sha256 {found}, was {recorded['sha256']}): remove it "
            "to fetch it again"
        )
    _check_digests(address, kept, wanted)
    if not recorded:
        _record(address, kept, found)


def _check_digests(address: str, path: Path, wanted: dict[str, str]) -> None:
    """Raises UserError, with the file gone, when it has another hash than the address says."""
    for kind, digest in wanted.items():
        found = sha256(path) if kind == "sha256" else _md5(path)
        if found != digest:
            path.unlink()
            raise UserError(f"{address}: the file has {kind} {found}, not {digest}")


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _fetch(address: str, kept: Path, wanted: dict[str, str]) -> None:
    part, tag_file = kept.parent / f".{kept.name}.part", kept.parent / f".{kept.name}.tag"
    try:
        _receive(address, part, tag_file, kept.name)
    except urllib.error.HTTPError as error:
        raise UserError(f"{address}: the server answers {error.code} {error.reason}") from error
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise LookalikeError(
            f"{address} cannot be reached ({reason}): try again later, or fetch the file elsewhere and give "
            f"its path or put it at {kept}"
        ) from error
    tag_file.unlink(missing_ok=True)
    _check_digests(address, part, wanted)
    _check_form(address, part, kept.suffix)
    found, before = sha256(part), _recorded(kept)
    if before and before["sha256"] != found:
        logger.warning(
            "%s: holds another file than when it was fetched before (sha256 %s, was %s)",
            address,
            found,
            before["sha256"],
        )
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    part.replace(kept)
    _record(address, kept, found)


def _receive(address: str, part: Path, tag_file: Path, name: str) -> None:
    """Fill the part. An earlier one is gone on with if the server's file is the same."""
    start = part.stat().st_size if part.is_file() and tag_file.is_file() else 0
    request = urllib.request.Request(address)
    if start:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", tag_file.read_text(encoding="utf-8"))
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise
        part.unlink()  # the part is no piece of the file
        answer = urllib.request.urlopen(address, timeout=_TIMEOUT)
    with answer:
        start = _start(answer, start)
        length = int(answer.headers.get("Content-Length") or 0)
        total = start + length if length else None
        tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if tag and not tag.startswith("W/"):
            tag_file.write_text(tag, encoding="utf-8")
        else:
            tag_file.unlink(missing_ok=True)
        logger.info("fetching %s%s", address, f" from byte {start} on" if start else "")
        blocks = (total - start + _BLOCK - 1) // _BLOCK if total else None
        with open(part, "ab" if start else "wb") as file:
            for block in track(_blocks(answer), name, blocks, "MB"):
                file.write(block)
            size = file.tell()
    if total and size != total:
        again = "the next try goes on from there" if tag_file.is_file() else "try again"
        raise LookalikeError(f"{address}: the connection broke after {size} of {total} bytes; {again}")


def _start(answer: Any, asked: int) -> int:
    """The byte with which an answer begins."""
    if answer.status != 206:
        return 0
    said = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range") or "")
    if said is None or int(said[1]) != asked:
        raise http.client.HTTPException(f"asked for the bytes from {asked} on, got something else")
    return asked


def _blocks(answer: Any) -> Iterator[bytes]:
    with contextlib.suppress(http.client.IncompleteRead):  # told by the size
        while block := answer.read(_BLOCK):
            yield block


def _check_form(address: str, part: Path, suffix: str) -> None:
    """Raises UserError, with the file gone, for weights that cannot be read."""
    try:
        if suffix in (".pdparams", ".pdema"):
            read_pdparams(part)
        elif suffix == ".safetensors":
            from safetensors import SafetensorError, safe_open

            try:
                with safe_open(part, "np"):
                    pass
            except (SafetensorError, OSError) as error:
                raise UserError(f"{part}: is not a safetensors file, or is broken ({error})") from error
    except UserError as error:
        part.unlink()
        raise UserError(str(error).replace(str(part), address)) from error


def _recorded(kept: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(_record_file(kept).read_text(encoding="utf-8"))
        return record if isinstance(record, dict) and "sha256" in record else None
    except (OSError, ValueError):
        return None


def _record(address: str, kept: Path, digest: str) -> None:
    write_json(_record_file(kept), {"address": address, "sha256": digest, "bytes": kept.stat().st_size})


def _record_file(kept: Path) -> Path:
    return kept.with_name(f"{kept.name}.json")

"""From a file to pixels: always RGB, 8 bit, three channels, upright.

Plain JPEG and PNG files, nearly all there are, go straight through OpenCV, and give exactly its pixels.
Everything else is looked at: 16 bit is scaled to 8, transparency is laid on white, CMYK is converted, of an
animation the first frame is taken. One decoder serves training, evaluation, export and search, so that what
was measured is what is deployed.

Where the preprocessing says so (`DecodeImage: {scaled: true}`), a plain JPEG that is much larger than what it
is resized to is decoded at 1/2, 1/4 or 1/8 of its size, see `reduction`.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lookalike.core.errors import BrokenImage, UserError
from lookalike.images.decode_limits import VARIABLE, max_pixels, refuse_huge
from lookalike.images.foreign_files import foreign
from lookalike.images.headers import read_header
from lookalike.images.packed import packed_address, read_packed

Size = tuple[int, int]
"""Width and height in pixels."""

Wanted = Callable[[Size], Size]
"""The size to which a picture of a given size will be resized."""

IN_MEMORY = "image bytes"
"""What a broken picture without a file is called."""

_PIL_ERRORS = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError)
_JPEG = b"\xff\xd8\xff"
_BITS_PER_SAMPLE, _ORIENTATION = 258, 274  # tags of TIFF, which EXIF shares
_COLOR_RGB: int | None = getattr(cv2, "IMREAD_COLOR_RGB", None)  # OpenCV 4.11 and newer
_GREY_PART = {
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}  # with a flag of colour added, OpenCV gives the same part of the picture in colour


def decode_image(
    source: str | Path | bytes, *, backend: Literal["cv2", "pil"] = "cv2", wanted: Wanted | None = None
) -> np.ndarray:
    """Decode a file, or the bytes of one, to an RGB image: (height, width, 3) uint8.

    The EXIF orientation is applied. `backend: pil` decodes with Pillow throughout; JPEG decoders may differ
    by a level or two. `FILE.bin#BYTE` is a picture inside a file (see `packed`). Raises BrokenImage, with the
    reason, for a file that is missing, empty, truncated, no image or far too large.

    wanted: what size is needed of a picture of some size; a plain JPEG that is much larger is decoded at a
        part of its size (`reduction`), any other picture in full. By default everything is decoded in full.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        name, data = IN_MEMORY, bytes(source)
    else:
        name = os.fspath(source)
        if packed := packed_address(name):
            return read_packed(*packed)
        data = _read(source)
    if not data:
        raise BrokenImage(name, "the file is empty")
    header = read_header(data)
    if header is not None:
        refuse_huge(name, header.width, header.height)
        if backend == "cv2":
            jpeg = data.startswith(_JPEG)
            part = reduction((header.width, header.height), wanted) if wanted and jpeg else 1
            image = _plain(data, part) if header.plain else _deep(data) if header.deep else None
            if image is not None:
                return image
    return _unusual(name, data)


def reduction(size: Size, wanted: Wanted) -> int:
    """8, 4, 2 or 1: the part of its size at which a JPEG of this size is decoded.

    It is the smallest that still leaves as many pixels as are wanted in both directions, so that the picture
    is never enlarged where it would have been shrunk. The file may say that it is to be turned, so this holds
    for the turned picture as well. libjpeg computes such a part from the coefficients of each 8x8 block,
    which averages over what it leaves out, at a fraction of the time.
    """
    width, height = size
    for part in (8, 4, 2):
        if all(
            side // part >= needed
            for turned in ((width, height), (height, width))
            for side, needed in zip(turned, wanted(turned), strict=True)
        ):
            return part
    return 1


def as_rgb(image: Any) -> np.ndarray:
    """An image that is in memory already, as RGB (height, width, 3) uint8.

    Takes arrays (H,W), (H,W,1), (H,W,3) RGB or (H,W,4) RGBA of uint8 or uint16, and Pillow images (turned
    upright by their EXIF orientation). Transparency is laid on white. Raises UserError for anything else.
    """
    if isinstance(image, Image.Image):
        try:
            return _from_pillow(image)
        except _PIL_ERRORS as error:
            raise BrokenImage(getattr(image, "filename", "") or "Pillow image", f"damaged: {error}") from None
    if not isinstance(image, np.ndarray):
        raise UserError(
            f"an image must be a path, bytes, an RGB array or a Pillow image, got {type(image).__name__}"
        )
    if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size:
        return image
    if image.dtype not in (np.uint8, np.uint16) or not image.size:
        raise UserError(f"an image array must hold uint8 pixels, got {image.dtype} of shape {image.shape}")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4):
        raise UserError(f"an image array must have the shape (height, width, 3), got {image.shape}")
    return _flatten(image)


def _read(path: str | Path) -> bytes:
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode):  # to open a pipe waits for whoever writes into it
            what = "is a folder" if stat.S_ISDIR(mode) else "is no regular file"
            raise BrokenImage(os.fspath(path), what)
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise BrokenImage(os.fspath(path), "the file does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise BrokenImage(
            os.fspath(path), f"cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None


def _imdecode(data: bytes, flags: int) -> np.ndarray | None:
    try:
        image: np.ndarray | None = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error:
        return None
    return image


def _plain(data: bytes, part: int) -> np.ndarray | None:
    flags = _GREY_PART.get(part, 0)
    if _COLOR_RGB is not None:
        return _imdecode(data, flags | _COLOR_RGB)
    image = _imdecode(data, flags | cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def _deep(data: bytes) -> np.ndarray | None:
    image = _imdecode(data, cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype not in (np.uint8, np.uint16):
        return None
    if image.ndim == 2:
        image = image[:, :, None]
    elif image.shape[2] == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    elif image.shape[2] == 4:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)
    return _flatten(image) if image.shape[2] in (1, 3, 4) else None


def _flatten(image: np.ndarray) -> np.ndarray:
    """Grey, RGB or RGBA of 8 or 16 bit to RGB of 8 bit, on white."""
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 is 255: rounded value / 257
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    if image.shape[2] == 3:
        return np.ascontiguousarray(image)
    colour, alpha = image[:, :, :3], image[:, :, 3]
    if alpha.min() == 255:
        return np.ascontiguousarray(colour)
    # round((c·a + 255·(255 - a)) / 255) in 16 bit: with t = x + 128, (t + t // 256) // 256 is x / 255 rounded
    laid: np.ndarray = np.uint16(255 * 255 + 128) - (255 - colour).astype(np.uint16) * alpha[:, :, None]
    laid += laid >> 8
    laid >>= 8
    return laid.astype(np.uint8)


def _unusual(name: str, data: bytes) -> np.ndarray:
    """Through Pillow, and where Pillow has no reader for the pixels (16-bit colour TIFF, …), through
    OpenCV.
    """
    if Image.MAX_IMAGE_PIXELS and max_pixels() > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels()  # a limit that was raised on purpose holds here too
    try:
        with Image.open(io.BytesIO(data)) as image:
            refuse_huge(name, *image.size)
            decoded = _deep(data) if _sixteen_bit_colour(image, data) else None
            return _from_pillow(image) if decoded is None else _turn(decoded, image.getexif())
    except BrokenImage:
        raise
    except Image.DecompressionBombError:  # before its size is known here
        raise BrokenImage(
            name, f"more than the {max_pixels():,} pixels that a picture may have ({VARIABLE} raises that)"
        ) from None
    except UnidentifiedImageError:
        pass
    except _PIL_ERRORS as error:
        raise BrokenImage(name, f"damaged: {error}") from None
    decoded = _deep(data)
    if decoded is None:
        what = foreign(data)
        raise BrokenImage(name, "cannot be decoded as an image" + (f": {what}" if what else ""))
    return decoded


def _from_pillow(image: Image.Image) -> np.ndarray:
    if getattr(image, "is_animated", False):
        image.seek(0)
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _flatten(_sixteen_bit(np.asarray(image))[:, :, None])
    if image.has_transparency_data:
        return _flatten(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))


def _sixteen_bit_colour(image: Image.Image, data: bytes) -> bool:
    """Whether Pillow would cut the lower 8 bit of each colour off instead of rounding."""
    if image.format == "PNG":
        return data[24] == 16
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, ())
    return len(bits) > 1 and max(bits) == 16


def _turn(pixels: np.ndarray, exif: Image.Exif) -> np.ndarray:
    if exif.get(_ORIENTATION, 1) == 1:
        return pixels
    image = Image.fromarray(pixels)
    image.getexif()[_ORIENTATION] = exif[_ORIENTATION]
    return np.array(ImageOps.exif_transpose(image))


def _sixteen_bit(values: np.ndarray) -> np.ndarray:
    """Grey of 16 or 32 bit or float to 16 bit. Float pixels run to 1, 255 or 65535; what goes beyond is
    cut off.
    """
    if values.dtype.kind == "f":
        highest = np.nanmax(values)
        values = values * (65535.0 if highest <= 1.0 else 257.0 if highest <= 255.0 else 1.0)
    limited: np.ndarray = np.clip(np.nan_to_num(values), 0, 65535)
    return limited.astype(np.uint16)

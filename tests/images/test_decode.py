"""Decoding: every kind of file gives upright RGB of 8 bit, or says why not."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, features

from lookalike.core.errors import BrokenImage, UserError
from lookalike.images import as_rgb, decode_image
from lookalike.images.headers import read_header


def encoded(picture: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    image.save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def bgr(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize(
    "options", [{"quality": 75}, {"quality": 95, "progressive": True}, {"subsampling": 0}]
)
def test_plain_jpeg_has_the_pixels_of_opencv(picture: np.ndarray, options: dict[str, object]) -> None:
    data = encoded(picture, "JPEG", **options)
    header = read_header(data)
    assert header is not None
    assert header.plain
    assert (header.width, header.height) == (36, 24)
    image = decode_image(data)
    np.testing.assert_array_equal(image, bgr(data)[..., ::-1])
    assert image.flags.c_contiguous
    assert image.dtype == np.uint8


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_files_give_the_picture(picture: np.ndarray, kind: str) -> None:
    np.testing.assert_array_equal(decode_image(encoded(picture, kind)), picture)


@pytest.mark.parametrize("backend", ["cv2", "pil"])
def test_webp_and_backends(picture: np.ndarray, backend: str) -> None:
    data = encoded(picture, "WEBP", lossless=True)
    np.testing.assert_array_equal(decode_image(data, backend=backend), picture)  # type: ignore[arg-type]
    png = encoded(picture, "PNG")
    np.testing.assert_array_equal(decode_image(png, backend=backend), picture)  # type: ignore[arg-type]


def test_names_with_spaces_and_other_scripts(tmp_path: Path, picture: np.ndarray) -> None:
    path = tmp_path / "mit Leerzeichen, 图像 é.png"
    path.write_bytes(encoded(picture, "PNG"))
    np.testing.assert_array_equal(decode_image(path), picture)
    np.testing.assert_array_equal(decode_image(str(path)), picture)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF"])
def test_grey_gets_three_channels(picture: np.ndarray, kind: str) -> None:
    image = decode_image(encoded(picture[..., 0], kind, **({"quality": 100} if kind == "JPEG" else {})))
    assert image.shape == (24, 36, 3)
    np.testing.assert_array_equal(image[..., 0], image[..., 2])
    np.testing.assert_allclose(image[..., 0].astype(int), picture[..., 0].astype(int), atol=4)


def test_sixteen_bit_is_scaled_and_rounded(picture: np.ndarray) -> None:
    deep = (picture.astype(np.uint32) * 257 + np.where(picture < 255, 127, 0)).astype(np.uint16)
    for suffix in (".png", ".tiff"):
        done, colour = cv2.imencode(suffix, deep[..., ::-1])
        assert done
        np.testing.assert_array_equal(decode_image(colour.tobytes()), picture)
        done, grey = cv2.imencode(suffix, deep[..., 1])
        assert done
        np.testing.assert_array_equal(decode_image(grey.tobytes()), np.repeat(picture[..., 1:2], 3, axis=2))


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255.0
    return np.floor(colour * share + 255.0 * (1.0 - share) + 0.5).astype(int)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_transparency_is_laid_on_white(picture: np.ndarray, kind: str) -> None:
    alpha = np.linspace(0, 255, 24 * 36).astype(np.uint8).reshape(24, 36)
    rgba = np.dstack([picture, alpha])
    data = encoded(rgba, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(decode_image(data), on_white(picture, alpha))


def test_transparency_of_other_kinds(picture: np.ndarray) -> None:
    alpha = np.full((24, 36), 100, np.uint8)
    grey = Image.merge("LA", [Image.fromarray(picture[..., 0]), Image.fromarray(alpha)])
    expected = on_white(np.repeat(picture[..., :1], 3, axis=2), alpha)
    np.testing.assert_array_equal(decode_image(encoded(grey, "PNG")), expected)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((0, 0), 0)
    data = encoded(palette, "PNG", transparency=1)
    image = decode_image(data)
    assert image[0, 0].tolist() == [10, 20, 30]
    assert image[2, 2].tolist() == [255, 255, 255]
    assert decode_image(encoded(palette, "GIF", transparency=1))[2, 2].tolist() == [255, 255, 255]
    keyed = encoded(Image.new("L", (4, 4), 9), "PNG", transparency=9)
    assert decode_image(keyed)[1, 1].tolist() == [255, 255, 255]


def test_cmyk(picture: np.ndarray) -> None:
    data = encoded(Image.fromarray(picture).convert("CMYK"), "JPEG", quality=100, subsampling=0)
    image = decode_image(data)
    assert image.shape == (24, 36, 3)
    np.testing.assert_allclose(image.astype(int), picture.astype(int), atol=6)


def test_cmyk_of_adobe_is_inverted_in_the_file(picture: np.ndarray) -> None:
    """Photoshop stores 255 - ink, or luma and chroma of that; both kinds have its marker."""
    colour = cv2.resize(picture[:4, :4], (32, 32), interpolation=cv2.INTER_NEAREST)
    ink, options = 255 - colour, {"quality": 100, "subsampling": 0}
    black = np.zeros((32, 32, 1), np.uint8)
    plain = encoded(Image.fromarray(np.concatenate([ink, black], axis=2), "CMYK"), "JPEG", **options)
    marker = plain.index(b"Adobe")
    assert plain[marker + 11] == 0  # the transform: none
    np.testing.assert_allclose(decode_image(plain).astype(int), colour, atol=4)
    # Pillow inverts what it writes, so 255 - YCC gives a file whose YCC is that of the colours themselves
    luma = np.asarray(Image.fromarray(colour).convert("YCbCr"))
    four = Image.fromarray(np.concatenate([luma, black], axis=2), "CMYK")
    turned = bytearray(encoded(four, "JPEG", **options))
    turned[turned.index(b"Adobe") + 11] = 2  # YCCK
    np.testing.assert_allclose(decode_image(bytes(turned)).astype(int), colour, atol=6)


def test_palettes_of_every_depth(picture: np.ndarray) -> None:
    for colours in (2, 4, 16, 256):
        image = Image.fromarray(picture).quantize(colours)
        expected = np.asarray(image.convert("RGB"))
        for kind in ("PNG", "GIF", "TIFF", "BMP"):
            np.testing.assert_array_equal(decode_image(encoded(image, kind)), expected)


def test_one_bit_and_signed_and_float_pictures() -> None:
    bits = Image.new("1", (8, 6), 1)
    bits.putpixel((2, 1), 0)
    for kind in ("PNG", "TIFF", "BMP"):
        image = decode_image(encoded(bits, kind))
        assert image[0, 0].tolist() == [255] * 3
        assert image[1, 2].tolist() == [0] * 3
    levels = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)
    for values in (levels, levels * 255):
        image = decode_image(encoded(Image.fromarray(values), "TIFF"))
        np.testing.assert_allclose(image[..., 0], levels * 255, atol=1)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow cannot write AVIF")
def test_avif(picture: np.ndarray) -> None:
    smooth = cv2.GaussianBlur(cv2.resize(picture, (64, 48)), (0, 0), 4)
    image = decode_image(encoded(smooth, "AVIF", quality=100, subsampling="4:4:4"))
    np.testing.assert_allclose(image.astype(int), smooth, atol=4)
    turned = encoded(np.rot90(smooth).copy(), "AVIF", quality=100, subsampling="4:4:4", exif=exif(6))
    np.testing.assert_allclose(decode_image(turned).astype(int), smooth, atol=4)
    clear = np.dstack([smooth, np.zeros((48, 64), np.uint8)])
    np.testing.assert_allclose(decode_image(encoded(clear, "AVIF", quality=100)), 255, atol=1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(picture: np.ndarray, kind: str, orientation: int) -> None:
    """The file holds the picture as a turned camera stores it; decoding must turn it back."""
    stored = {
        1: picture, 2: picture[:, ::-1], 3: picture[::-1, ::-1], 4: picture[::-1],
        5: picture.transpose(1, 0, 2), 6: np.rot90(picture),
        7: np.rot90(picture[:, ::-1], -1), 8: np.rot90(picture, -1),
    }[orientation]  # fmt: skip
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    data = encoded(np.ascontiguousarray(stored), kind, exif=exif(orientation), **options)
    image = decode_image(data)
    assert image.shape == picture.shape
    np.testing.assert_allclose(image.astype(int), picture.astype(int), atol=8 if kind == "JPEG" else 0)


def test_rotated_png_with_transparency(picture: np.ndarray) -> None:
    rgba = np.dstack([np.rot90(picture), np.full((36, 24), 255, np.uint8)])
    np.testing.assert_array_equal(decode_image(encoded(rgba, "PNG", exif=exif(6))), picture)


def test_rotated_sixteen_bit_png(picture: np.ndarray) -> None:
    done, file = cv2.imencode(".png", np.rot90(picture)[..., ::-1].astype(np.uint16) * 257)
    assert done
    data, tags = file.tobytes(), exif(6).tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(tags)) + b"eXIf" + tags + struct.pack(">I", zlib.crc32(b"eXIf" + tags))
    np.testing.assert_array_equal(decode_image(data[:33] + chunk + data[33:]), picture)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue", "green")]
    options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert decode_image(data)[3, 4].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_broken(tmp_path: Path, kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(noise, kind)
    path = tmp_path / "cut.img"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BrokenImage) as caught:
        decode_image(path)
    assert caught.value.path == str(path)
    assert caught.value.reason


def test_bytes_after_the_image_do_no_harm(picture: np.ndarray) -> None:
    for kind in ("JPEG", "PNG"):
        data = encoded(picture, kind)
        np.testing.assert_array_equal(decode_image(data + b"trailing bytes of a camera"), decode_image(data))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"this is text", "cannot be decoded as an image: it is a text file"),
        (b"", "the file is empty"),
        (b"\xff\xd8\xff", "damaged|cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n", "damaged|cannot be decoded"),
        (b"<html>not found</html>", "cannot be decoded as an image: it is a web page"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "it is a web page"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it is a HEIC picture.* convert it to JPEG or PNG"),
        (b'<?xml version="1.0"?>\n<svg xmlns=""/>', "it is an SVG drawing"),
        (b"%PDF-1.7\n", "it is a PDF document"),
        (b"\xff\x0a\xfa\x1f", "it is a JPEG XL picture"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (bytes(range(64)), "cannot be decoded as an image$"),
    ],
)
def test_files_that_are_no_images(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "page.jpg"
    path.write_bytes(content)
    with pytest.raises(BrokenImage, match=reason):
        decode_image(path)
    with pytest.raises(BrokenImage, match="image bytes"):
        decode_image(content)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(BrokenImage, match="does not exist"):
        decode_image(tmp_path / "none.jpg")
    with pytest.raises(BrokenImage, match="is a folder"):
        decode_image(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")  # to open it would wait for ever
    with pytest.raises(BrokenImage, match="is no regular file"):
        decode_image(tmp_path / "pipe.jpg")
    with pytest.raises(BrokenImage, match="cannot be read"):
        decode_image("a\0b.jpg")


def test_an_image_that_claims_gigabytes_is_refused() -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    bomb += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    with pytest.raises(BrokenImage, match="60000x60000 pixels are more than"):
        decode_image(bomb)
    gif = bytearray(encoded(Image.new("L", (4, 4)), "GIF"))
    gif[6:10] = struct.pack("<HH", 60_000, 60_000)
    with pytest.raises(BrokenImage, match="pixels"):
        decode_image(bytes(gif))


def test_the_limit_of_pixels_can_be_raised(monkeypatch: pytest.MonkeyPatch, picture: np.ndarray) -> None:
    for kind in ("PNG", "GIF"):
        data = encoded(picture, kind)
        monkeypatch.setenv("LOOKALIKE_MAX_PIXELS", "863")
        with pytest.raises(
            BrokenImage, match=r"36x24 pixels are more than the 863 .*LOOKALIKE_MAX_PIXELS=864"
        ):
            decode_image(data)
        monkeypatch.setenv("LOOKALIKE_MAX_PIXELS", "864")
        assert decode_image(data).shape == picture.shape
    # Pillow has a limit of its own, which must not be in the way of one that was raised
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode_image(encoded(picture, "GIF")).shape == picture.shape
    monkeypatch.setenv("LOOKALIKE_MAX_PIXELS", "lots")
    with pytest.raises(UserError, match="LOOKALIKE_MAX_PIXELS must be a number of pixels"):
        decode_image(data)


def test_broken_image_survives_a_process_boundary() -> None:
    error = pickle.loads(pickle.dumps(BrokenImage("a.jpg", "cut")))
    assert (error.path, error.reason) == ("a.jpg", "cut")


def test_images_in_memory(picture: np.ndarray) -> None:
    assert as_rgb(picture) is picture
    np.testing.assert_array_equal(as_rgb(Image.fromarray(picture)), picture)
    np.testing.assert_array_equal(as_rgb(picture[..., 0]), np.repeat(picture[..., :1], 3, axis=2))
    alpha = np.full((24, 36, 1), 51, np.uint8)
    np.testing.assert_array_equal(
        as_rgb(np.concatenate([picture, alpha], axis=2)), on_white(picture, alpha[..., 0])
    )
    turned = Image.open(io.BytesIO(encoded(np.rot90(picture).copy(), "PNG", exif=exif(6))))
    np.testing.assert_array_equal(as_rgb(turned), picture)
    with pytest.raises(UserError, match="must hold uint8 pixels, got float64"):
        as_rgb(picture / 255)
    with pytest.raises(UserError, match=r"must have the shape \(height, width, 3\)"):
        as_rgb(np.zeros((2, 3, 24, 36), np.uint8))
    with pytest.raises(UserError, match="got list"):
        as_rgb([1, 2])
    cut = Image.open(
        io.BytesIO(encoded(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8), "PNG")[:900])
    )
    with pytest.raises(BrokenImage, match="damaged"):
        as_rgb(cut)

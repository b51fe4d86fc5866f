"""What stands for a picture gives the same pixels in every form."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lookalike.core.errors import UserError
from lookalike.deploy.picture_forms import as_picture, each_source, is_one
from lookalike.images import Preprocess

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
PLANES = torch.from_numpy(PIXELS.transpose(2, 0, 1).copy())
ALPHA = np.full((6, 9, 1), 255, np.uint8)


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG")
    return file.getvalue()


FORMS: dict[str, Any] = {
    "array": PIXELS,
    "RGBA array": np.concatenate([PIXELS, ALPHA], axis=2),
    "deep array": PIXELS.astype(np.uint16) * 257,
    "array with other strides": np.asfortranarray(PIXELS),
    "bytes": png(),
    "bytearray": bytearray(png()),
    "memoryview": memoryview(png()),
    "Pillow": Image.fromarray(PIXELS),
    "Pillow, not yet read": Image.open(io.BytesIO(png())),
    "tensor": PLANES,
    "tensor of floats": PLANES.float() / 255,
    "tensor of doubles": PLANES.double() / 255,
    "tensor with gradient": (PLANES.float() / 255).requires_grad_(),
    "tensor with other strides": torch.from_numpy(PIXELS).permute(2, 0, 1),
    "RGBA tensor": torch.cat([PLANES, torch.full((1, 6, 9), 255, dtype=torch.uint8)]),
    "callable": lambda: PIXELS,
    "callable of bytes": png,
}


def pixels_of(source: Any) -> np.ndarray:
    planes = Preprocess([{"ToCHWImage": {}}])(as_picture(source))
    return planes.transpose(1, 2, 0).astype(np.uint8)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_same_pixels(form: str) -> None:
    np.testing.assert_array_equal(pixels_of(FORMS[form]), PIXELS)


def test_paths_and_file_addresses(tmp_path: Path) -> None:
    path = tmp_path / "a b%é.png"
    path.write_bytes(png())
    for form in (path, str(path), path.as_uri(), path.as_uri().replace("file://", "file://localhost")):
        np.testing.assert_array_equal(pixels_of(form), PIXELS)
    assert as_picture("file:///C:/pictures/a.png") == "C:/pictures/a.png"


@pytest.mark.parametrize("address", ["http://a.b/c.jpg", "https://a.b/c.jpg", "s3://a/b.jpg"])
def test_addresses_elsewhere_are_refused(address: str) -> None:
    with pytest.raises(UserError, match=r"read from files here, not from addresses .*download it"):
        as_picture(address)
    with pytest.raises(UserError, match="on another machine, 'server'"):
        as_picture("file://server/a.jpg")


def test_grey_tensors_and_half_precision() -> None:
    np.testing.assert_array_equal(pixels_of(PLANES[:1]), np.repeat(PIXELS[..., :1], 3, axis=2))
    # bfloat16 has 8 bits of precision, so a level may be off by half of the step at 255
    rough = pixels_of((PLANES.float() / 255).bfloat16()).astype(int)
    np.testing.assert_allclose(rough, PIXELS, atol=1)


@pytest.mark.parametrize(
    ("tensor", "told"),
    [
        (PLANES.float() / 255 * 2 - 1, "between 0 and 1: give the picture as it is, not normalised"),
        (torch.full((3, 4, 4), torch.nan), "between 0 and 1"),
        (PLANES.int(), r"uint8, or floats between 0 and 1, got torch\.int32"),
        (torch.from_numpy(PIXELS), r"must be \(3, height, width\).*got \(6, 9, 3\)"),
        (PLANES[0], r"must be \(3, height, width\)"),
    ],
)
def test_tensors_that_are_no_pictures(tensor: torch.Tensor, told: str) -> None:
    with pytest.raises(UserError, match=told):
        as_picture(tensor)


def test_what_is_one_picture_and_what_is_several() -> None:
    for form in FORMS.values():
        if not callable(form):
            assert is_one(form)
            assert len(list(each_source(form))) == 1
    assert is_one("a.jpg")
    stack = np.stack([PIXELS] * 3)
    for several in (stack, PLANES[None], [PIXELS], iter([PIXELS])):
        assert not is_one(several)
    mixed = list(each_source([stack, PLANES[None], "a.jpg"]))
    assert len(mixed) == 5
    assert mixed[-1] == "a.jpg"


def test_tensors_are_known_without_torch() -> None:
    told = "import sys, lookalike.deploy.picture_forms; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, text=True).stdout == "False\n"

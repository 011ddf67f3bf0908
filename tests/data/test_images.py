"""Every kind of image file becomes upright pixels in the config's channels, or one clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from seg_projects.data.images import as_tensor, read_image
from seg_projects.errors import UserError

RNG = np.random.default_rng(0)
# Smooth, so that JPEG keeps it.
PIXELS = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (3, 4, 3), dtype=np.uint8)).resize((40, 30))
)


def _saved(path: Path, image: Image.Image, **options: object) -> str:
    image.save(path, **options)
    return str(path)


def _as_rgb(pixels: np.ndarray) -> np.ndarray:
    return pixels[:, :, ::-1].astype(int)


# The modes that files of each kind can have.
MODES = {
    "png": ["RGB", "RGBA", "P", "L", "LA", "1"],
    "tif": ["RGB", "RGBA", "P", "L", "LA", "1", "CMYK"],
    "jpg": ["RGB", "L", "CMYK"],
}


@pytest.mark.parametrize(("suffix", "mode"), [(s, m) for s, modes in MODES.items() for m in modes])
def test_modes_become_the_channels_of_the_format(tmp_path, mode, suffix):
    image = Image.fromarray(PIXELS).convert(mode)
    path = _saved(tmp_path / f"image.{suffix}", image)
    expected = np.asarray(Image.open(path).convert("RGB")).astype(int)
    for image_format in ("RGB", "BGR"):
        pixels = read_image(path, image_format)
        assert pixels.dtype == np.uint8
        ours = _as_rgb(pixels) if image_format == "BGR" else pixels
        assert np.array_equal(ours, expected)
    if mode in ("RGB", "RGBA", "P", "CMYK"):
        assert np.abs(expected - PIXELS).mean() < 20  # a colour that is near the one that was drawn
    grey = read_image(path, "L")
    assert grey.shape == (30, 40, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("image_format", ["BGR", "RGB", "L"])
def test_an_exif_orientation_is_undone(tmp_path, orientation, suffix, image_format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = _saved(tmp_path / f"turned.{suffix}", Image.fromarray(PIXELS), exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    pixels = read_image(path, image_format)
    if image_format == "L":
        assert pixels.shape[:2] == expected.shape[:2]
    else:
        assert np.array_equal(_as_rgb(pixels) if image_format == "BGR" else pixels, expected)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_become_floats_of_the_same_range(tmp_path, suffix):
    values = np.array([[0, 257, 65535], [1, 30000, 12345]], np.uint16)
    path = _saved(tmp_path / f"deep.{suffix}", Image.fromarray(values))
    pixels = read_image(path, "BGR")
    assert pixels.dtype == np.float32
    assert pixels.shape == (2, 3, 3)
    assert pixels[..., 1] == pytest.approx(values / 257)
    assert read_image(path, "L").shape == (2, 3, 1)


def test_32_bits_that_hold_16_are_read_and_larger_ones_are_not(tmp_path):
    path = _saved(tmp_path / "int.tif", Image.fromarray(np.array([[65535, 0]], np.int32)))
    assert read_image(path, "L").squeeze().tolist() == [255, 0]
    path = _saved(tmp_path / "int.tif", Image.fromarray(np.array([[65536, 0]], np.int32)))
    with pytest.raises(UserError, match=r"int\.tif .* values reach from 0 to 65536"):
        read_image(path, "L")


def _write_wrong_file(path: Path, kind: str) -> None:
    image = Image.fromarray(PIXELS)
    if kind == "two pages":
        image.save(path.with_suffix(".tif"), save_all=True, append_images=[image])
        path.with_suffix(".tif").rename(path)
    elif kind == "floats":
        Image.fromarray(np.ones((2, 2), np.float32)).save(path, format="TIFF")
    elif kind == "truncated":
        image.save(path, quality=95)
        path.write_bytes(path.read_bytes()[:-300])
    elif kind == "text":
        path.write_text("no image")
    elif kind == "empty":
        path.touch()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("two pages", "it has 2 pages; save the one that is meant by itself"),
        ("floats", "values are floats"),
        ("truncated", "truncated"),
        ("text", "no known format"),
        ("empty", "no known format"),
        ("missing", "does not exist"),
    ],
)
def test_a_wrong_file_is_one_error_with_its_path(tmp_path, kind, message):
    path = tmp_path / "wrong.jpg"
    _write_wrong_file(path, kind)
    with pytest.raises(UserError, match=rf"wrong\.jpg.*{message}"):
        read_image(str(path), "BGR")


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7, 1), (5, 7, 4), (1, 1, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(
    "view",
    [
        np.s_[:],
        np.s_[:, ::-1],
        np.s_[::-1],
        np.s_[::-1, ::-1],
        np.s_[:, :, ::-1],
        np.s_[1:, 2:],
        np.s_[1:, ::-2],
    ],
)
def test_a_tensor_has_the_pixels_of_any_view_in_memory_of_its_own(shape, dtype, view):
    image = np.arange(np.prod(shape)).reshape(shape).astype(dtype)[view]
    expected = image.transpose(2, 0, 1).copy()
    tensor = as_tensor(image)
    image[:] = 0
    assert np.array_equal(tensor.numpy(), expected)
    assert tensor.is_contiguous()

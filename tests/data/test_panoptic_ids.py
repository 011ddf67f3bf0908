"""Segment ids in PNGs, and the semantic labels that follow from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_projects.data.panoptic_ids import (
    ids_from_rgb,
    read_panoptic_ids,
    rgb_from_ids,
    semantic_labels,
)
from seg_projects.errors import UserError


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [((0, 0, 0), 0), ((255, 0, 0), 255), ((0, 1, 0), 256), ((1, 2, 3), 1 + 512 + 3 * 65536)],
)
def test_id_is_r_plus_256_g_plus_65536_b(rgb: tuple[int, int, int], expected: int) -> None:
    assert ids_from_rgb(np.array(rgb, np.uint8)) == expected


def test_white_is_the_largest_id() -> None:
    ids = ids_from_rgb(np.full((1, 1, 3), 255, np.uint8))
    assert (ids.dtype, ids.item()) == (np.int32, 2**24 - 1)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_encoding_is_the_inverse_of_decoding(dtype: type) -> None:
    ids = np.array([[0, 1, 255], [256, 65536, 2**24 - 1]], dtype)
    rgb = rgb_from_ids(ids)
    assert (rgb.shape, rgb.dtype) == ((2, 3, 3), np.uint8)
    np.testing.assert_array_equal(ids_from_rgb(rgb), ids)


def test_png_with_alpha_holds_the_same_ids(tmp_path: Path) -> None:
    ids = np.array([[0, 70000], [3, 2**24 - 1]])
    opaque = np.full((2, 2, 1), 255, np.uint8)
    rgba = np.concatenate([rgb_from_ids(ids), opaque], axis=2)
    Image.fromarray(rgba).save(tmp_path / "ids.png")
    np.testing.assert_array_equal(read_panoptic_ids(tmp_path / "ids.png"), ids)


@pytest.mark.parametrize("mode", ["RGB", "P", "L"])
def test_ids_are_those_of_the_colours_in_every_mode(tmp_path: Path, mode: str) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    image = Image.fromarray(rgb).convert(mode)
    image.save(tmp_path / "ids.png")
    expected = ids_from_rgb(np.asarray(image.convert("RGB")))
    np.testing.assert_array_equal(read_panoptic_ids(tmp_path / "ids.png"), expected)


def test_truncated_png_is_named(tmp_path: Path) -> None:
    path = tmp_path / "short.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"short\.png cannot be read"):
        read_panoptic_ids(path)


def test_missing_png_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The panoptic PNG .*absent\.png does not exist"):
        read_panoptic_ids(tmp_path / "absent.png")


@pytest.mark.parametrize("content", [b"", b"no PNG", b"\x89PNG\r\n\x1a\n"])
def test_broken_png_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.png cannot be read"):
        read_panoptic_ids(tmp_path / "broken.png")


def test_labels_tell_things_stuff_and_void_apart() -> None:
    ids = np.array([[7, 7, 9], [4, 0, 70000]])
    segments = [
        {"id": 7, "category_id": 3},  # a thing
        {"id": 9, "category_id": 5},  # stuff
        {"id": 4, "category_id": 8, "iscrowd": 1},  # a crowd is a thing
        {"id": 6, "category_id": 5},  # not in the image
    ]
    labels = semantic_labels(ids, segments, {3, 8}, {0: 0, 5: 2}, ignore_label=255)
    # 70000 is in the image, but not among the segments: void, as 0 is.
    np.testing.assert_array_equal(labels, [[0, 0, 2], [0, 255, 255]])
    assert labels.dtype == np.int64


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (0, 4)])
def test_image_without_segments_is_void(shape: tuple[int, int]) -> None:
    labels = semantic_labels(np.zeros(shape, np.int32), [], set(), {}, ignore_label=255)
    np.testing.assert_array_equal(labels, np.full(shape, 255))

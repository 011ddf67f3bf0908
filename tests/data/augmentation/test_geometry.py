"""Properties of the transforms that move pixels: everything moves together, by one seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detectron2.data import transforms as T
from detectron2.structures import polygons_to_bitmask
from seg_projects.data.augmentation.geometry import (
    VOID,
    LargeScaleJitter,
    QuarterTurn,
    RandomFlips,
    RandomQuarterTurns,
    RandomRotations,
    Rotation,
    ShortestEdge,
    SmoothResize,
    Window,
)

FILL = (10.0, 20.0, 30.0)
FEW = settings(max_examples=12, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**31 - 1)
SIZES = st.integers(24, 60)
# What moves whole pixels is exact, what interpolates moves edges by up to half a pixel.
EXACT = [RandomFlips(horizontal=0.5, vertical=0.5), RandomQuarterTurns()]
INTERPOLATING = [
    ShortestEdge((20, 80), 100, "range"),
    RandomRotations(angle=180, expand=True, fill=FILL),
    RandomRotations(angle=(-30, 60), expand=False, fill=FILL),
    LargeScaleJitter(size=(40, 50), scale=(0.5, 2.0), fill=FILL),
]


def _moved(augmentation: T.Augmentation, image: np.ndarray, seed: int) -> T.Transform:
    np.random.seed(seed)  # noqa: NPY002  # Detectron2's augmentations use this generator
    return augmentation(T.AugInput(image))


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / max(1, (a | b).sum())


def _polygon(height: int, width: int) -> np.ndarray:
    """A convex quadrilateral in the middle, (4, 2)."""
    return np.array([(0.2, 0.3), (0.7, 0.2), (0.85, 0.75), (0.3, 0.9)]) * (width, height)


def _check_polygon_and_mask_agree(augmentation, height, width, seed, least_iou) -> None:
    polygon = _polygon(height, width)
    mask = polygons_to_bitmask([polygon.ravel()], height, width)
    transform = _moved(augmentation, np.zeros((height, width, 3), np.uint8), seed)
    moved = transform.apply_segmentation(mask.astype(np.uint8)) == 1
    corners = transform.apply_coords(polygon.copy())
    rendered = polygons_to_bitmask([corners.ravel()], *moved.shape)
    # A handful of pixels at the border of the image says nothing about the interior.
    if min(moved.sum(), rendered.sum()) >= 100:
        assert _iou(moved, rendered) >= least_iou


@pytest.mark.parametrize("augmentation", EXACT, ids=str)
@FEW
@given(height=SIZES, width=SIZES, seed=SEEDS)
def test_a_flipped_or_turned_polygon_renders_as_the_moved_mask(augmentation, height, width, seed):
    # Rendering itself decides pixels on an edge by its direction: a hundredth of the pixels.
    _check_polygon_and_mask_agree(augmentation, height, width, seed, 0.93)


@pytest.mark.parametrize("augmentation", INTERPOLATING, ids=str)
@FEW
@given(height=SIZES, width=SIZES, seed=SEEDS)
def test_a_rotated_or_resized_polygon_renders_as_the_moved_mask(augmentation, height, width, seed):
    _check_polygon_and_mask_agree(augmentation, height, width, seed, 0.8)


@pytest.mark.parametrize("augmentation", EXACT + INTERPOLATING, ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
@FEW
@given(height=SIZES, width=SIZES, seed=SEEDS)
def test_labels_are_conserved_and_padding_is_void(augmentation, dtype, height, width, seed):
    labels = np.random.default_rng(seed).choice([1, 7, 200], (height, width)).astype(dtype)
    transform = _moved(augmentation, np.zeros((height, width, 3), np.uint8), seed)
    moved = transform.apply_segmentation(labels)
    assert moved.dtype == dtype
    assert set(np.unique(moved)) <= {1, 7, 200, VOID}


@pytest.mark.parametrize("augmentation", INTERPOLATING[1:], ids=str)
@FEW
@given(height=SIZES, width=SIZES, seed=SEEDS)
def test_where_labels_are_void_the_image_is_filled(augmentation, height, width, seed):
    transform = _moved(augmentation, np.zeros((height, width, 3), np.uint8), seed)
    image = transform.apply_image(np.zeros((height, width, 3), np.uint8))
    void = transform.apply_segmentation(np.zeros((height, width), np.uint8)) == VOID
    # Bilinear interpolation mixes the last row inside with the fill.
    import cv2

    deep = cv2.erode(void.astype(np.uint8), np.ones((3, 3)), borderValue=1).astype(bool)
    assert (image[deep] == FILL).all()
    assert (image[~void] <= FILL).all()


@pytest.mark.parametrize("augmentation", EXACT + INTERPOLATING, ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@FEW
@given(height=SIZES, width=SIZES, seed=SEEDS)
def test_image_and_labels_keep_one_size_type_and_seed(augmentation, dtype, height, width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(dtype)
    before = image.copy()
    first = _moved(augmentation, image, seed).apply_image(image)
    transform = _moved(augmentation, image, seed)
    second = transform.apply_image(image)
    assert first.dtype == dtype
    assert np.array_equal(first, second)
    assert np.array_equal(image, before)
    assert transform.apply_segmentation(image[..., 0]).shape == first.shape[:2]


@FEW
@given(height=SIZES, width=SIZES, quarters=st.integers(0, 3))
def test_a_quarter_turn_moves_coordinates_with_their_pixels(height, width, quarters):
    image = np.zeros((height, width), np.uint8)
    image[3, 5] = 1
    transform = QuarterTurn(height, width, quarters)
    y, x = np.argwhere(transform.apply_image(image))[0]
    assert transform.apply_coords(np.array([[5.5, 3.5]])).tolist() == [[x + 0.5, y + 0.5]]
    assert np.array_equal(transform.inverse().apply_image(transform.apply_image(image)), image)


def test_a_rotation_by_90_degrees_is_a_quarter_turn():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    rotation = Rotation(20, 30, 90, expand=True, fill=FILL)
    turn = QuarterTurn(20, 30, 1)
    assert np.array_equal(rotation.apply_image(image), turn.apply_image(image))
    points = np.array([[0.0, 0.0], [30.0, 20.0], [4.0, 7.0]])
    assert rotation.apply_coords(points) == pytest.approx(turn.apply_coords(points))


@pytest.mark.parametrize("shape", [(60, 80, 3), (61, 47, 1), (50, 70)])
@pytest.mark.parametrize("size", [(30, 41), (90, 101), (60, 33)])
def test_a_resize_of_bytes_is_pillows_up_to_one_grey_level(shape, size):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    ours = SmoothResize(*shape[:2], *size).apply_image(image)
    picture = Image.fromarray(image.squeeze()).resize(size[::-1], Image.Resampling.BILINEAR)
    difference = np.abs(ours.squeeze().astype(int) - np.asarray(picture))
    assert difference.max() <= 1
    assert ours.shape == (*size, *shape[2:])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_labels_of_any_type_are_resized_alike(dtype):
    labels = np.random.default_rng(0).integers(0, 200, (37, 53)).astype(np.uint8)
    resize = SmoothResize(37, 53, 80, 29)
    expected = Image.fromarray(labels).resize((29, 80), Image.Resampling.NEAREST)
    assert np.array_equal(resize.apply_segmentation(labels.astype(dtype)), expected)


def test_a_window_beyond_the_image_is_filled_in_the_scale_of_its_type():
    image = np.zeros((2, 2, 3), np.uint16)
    out = Window(1, -1, 2, 2, FILL).apply_image(image)
    assert out[1, 0].tolist() == [0, 0, 0]
    assert out[0, 0].tolist() == [2570, 5140, 7710]
    assert Window(5, 5, 1, 1, FILL).apply_segmentation(image[..., 0]).tolist() == [[VOID]]


def test_a_shortest_edge_chooses_what_detectron2_chooses():
    image = np.zeros((40, 60, 3), np.uint8)
    theirs = T.ResizeShortestEdge((20, 200), 250, "range")
    for seed in range(5):
        expected = _moved(theirs, image, seed)
        chosen = _moved(ShortestEdge((20, 200), 250, "range"), image, seed)
        assert (chosen.new_h, chosen.new_w) == (expected.new_h, expected.new_w)


def test_scale_1_of_the_jitter_fits_the_image_into_the_size():
    labels = np.ones((20, 40), np.uint8)
    transform = _moved(LargeScaleJitter(size=(60, 60), scale=1.0), labels, 0)
    moved = transform.apply_segmentation(labels)
    assert (moved[:30] == 1).all()
    assert (moved[30:] == VOID).all()

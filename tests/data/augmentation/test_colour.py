"""Colours, noise, blur and holes: only pixel values change, in every type of image alike."""

from __future__ import annotations

import numpy as np
import pytest

from detectron2.data import transforms as T
from seg_projects.data.augmentation.colour import (
    ColourMatrix,
    GaussianNoise,
    RandomBlur,
    RandomColour,
    RandomCutout,
    RandomGrey,
    RandomNoise,
)

ALL = [
    RandomColour(brightness=(0.5, 1.5), contrast=(0.5, 1.5), saturation=(0.0, 2.0), hue=40),
    RandomGrey(),
    RandomNoise(sigma=(5, 20)),
    RandomBlur(sigma=(0.5, 2.0)),
    RandomCutout(count=(1, 3), size=(0.2, 0.5), fill=(1.0, 2.0, 3.0)),
]


def _image(dtype: type = np.uint8, shape: tuple[int, ...] = (32, 40, 3)) -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 256, shape)
    return (image * (257 if dtype == np.uint16 else 1)).astype(dtype)


def _apply(augmentation: T.Augmentation, image: np.ndarray, seed: int = 0) -> np.ndarray:
    np.random.seed(seed)  # noqa: NPY002  # Detectron2's augmentations use this generator
    inputs = T.AugInput(image)
    augmentation(inputs)
    return inputs.image


@pytest.mark.parametrize("augmentation", ALL, ids=str)
@pytest.mark.parametrize("shape", [(32, 40, 3), (32, 40, 1), (32, 40)])
def test_types_of_images_are_changed_alike(augmentation, shape):
    eight = _apply(augmentation, _image(np.uint8, shape))
    sixteen = _apply(augmentation, _image(np.uint16, shape))
    floats = _apply(augmentation, _image(np.float32, shape))
    assert (eight.dtype, sixteen.dtype, floats.dtype) == (np.uint8, np.uint16, np.float32)
    assert eight.shape == sixteen.shape == floats.shape == shape
    assert np.abs(sixteen / 257 - floats).max() < 0.01
    # Rounded to whole grey levels; OpenCV's kernels for bytes have eight fractional bits.
    assert np.abs(eight - floats).max() < 1.5
    assert 0 <= floats.min() <= floats.max() <= 255


@pytest.mark.parametrize("augmentation", ALL, ids=str)
def test_only_pixel_values_change_and_the_input_stays(augmentation):
    image, labels = _image(), np.arange(32 * 40).reshape(32, 40)
    before = image.copy()
    inputs = T.AugInput(image, sem_seg=labels)
    transform = augmentation(inputs)
    points = np.array([[3.0, 4.0]])
    assert np.array_equal(inputs.sem_seg, labels)
    assert np.array_equal(transform.apply_coords(points), points)
    assert np.array_equal(image, before)
    assert not np.array_equal(inputs.image, before)


@pytest.mark.parametrize("augmentation", ALL, ids=str)
def test_the_same_seed_gives_the_same_pixels_and_another_one_others(augmentation):
    first = _apply(augmentation, _image(), seed=1)
    assert np.array_equal(first, _apply(augmentation, _image(), seed=1))
    random = not isinstance(augmentation, RandomGrey)
    assert random != np.array_equal(first, _apply(augmentation, _image(), seed=2))


def test_brightness_multiplies_and_is_cut_off():
    image = np.array([[[10, 100, 200]]], np.uint8)
    assert _apply(RandomColour(brightness=2.0), image).tolist() == [[[20, 200, 255]]]


def test_contrast_0_leaves_the_mean_grey():
    # Rec. 601 luma of (R, G, B) = (30, 20, 10) and (0, 0, 0): 21.85 and 0.
    image = np.array([[[10, 20, 30], [0, 0, 0]]], np.uint8)
    assert _apply(RandomColour(contrast=0.0), image).tolist() == [[[11, 11, 11], [11, 11, 11]]]


@pytest.mark.parametrize(("order", "expected"), [("BGR", 22), ("RGB", 18)])
def test_saturation_0_is_the_grey_of_the_channel_order(order, expected):
    image = np.array([[[10, 20, 30]]], np.uint8)
    grey = [[[expected] * 3]]
    assert _apply(RandomColour(saturation=0.0, image_format=order), image).tolist() == grey
    assert _apply(RandomGrey(image_format=order), image).tolist() == grey


def test_hue_turns_once_around_and_keeps_greys():
    image = _image(np.float32) / 2 + 60
    turned = _apply(RandomColour(hue=(360, 360)), image)
    assert np.abs(turned - image).max() < 0.01
    grey = np.full((2, 2, 3), 77, np.uint8)
    assert np.array_equal(_apply(RandomColour(hue=(120, 120)), grey), grey)


def test_changes_at_once_are_those_one_after_the_other():
    image = _image(np.float32) / 4 + 100
    one = _apply(RandomColour(brightness=1.2, contrast=0.7, saturation=0.5), image)
    two = _apply(RandomColour(brightness=1.2), image)
    two = _apply(RandomColour(contrast=0.7), two)
    two = _apply(RandomColour(saturation=0.5), two)
    assert np.abs(one - two).max() < 0.01


def test_noise_has_the_deviation_it_says():
    image = np.full((100, 100, 3), 128, np.float32)
    noise = GaussianNoise(10.0, seed=3).apply_image(image) - 128
    assert noise.mean() == pytest.approx(0, abs=0.3)
    assert noise.std() == pytest.approx(10, rel=0.02)


def test_holes_lie_inside_and_have_the_colour():
    image = np.zeros((50, 60, 3), np.uint8)
    augmentation = RandomCutout(count=1, size=(0.5, 0.5), fill=(1.0, 2.0, 3.0))
    for seed in range(5):
        out = _apply(augmentation, image, seed)
        ys, xs = out[..., 0].nonzero()
        assert (np.ptp(ys) + 1, np.ptp(xs) + 1, len(ys)) == (25, 30, 25 * 30)
        assert out[ys[0], xs[0]].tolist() == [1, 2, 3]


def test_a_matrix_of_one_channel_leaves_the_shape():
    image = np.array([[10, 20]], np.uint8)
    assert ColourMatrix(np.array([[2.0]]), 1.0).apply_image(image).tolist() == [[21, 41]]

"""Tests of the deterministic transforms against the recorded facts and by construction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from golden import Golden, exception_name
from PIL import Image

from detectron2.data import transforms as T


def list_of_three(height: int, width: int) -> T.TransformList:
    resize = T.ResizeTransform(height, width, 60, 91)
    return T.TransformList([resize, T.CropTransform(7, 5, 33, 21), T.HFlipTransform(33)])


# The transforms of the recording, for an image of the given (height, width).
RECORDED: dict[str, Callable[[int, int], T.Transform]] = {
    "hflip": lambda h, w: T.HFlipTransform(w),
    "vflip": lambda h, w: T.VFlipTransform(h),
    "resize": lambda h, w: T.ResizeTransform(h, w, 60, 91),
    "crop": lambda h, w: T.CropTransform(7, 5, 33, 21),
    "pad": lambda h, w: T.PadTransform(3, 2, 5, 4, pad_value=7, seg_pad_value=255),
    "none": lambda h, w: T.NoOpTransform(),
    "rot": lambda h, w: T.RotationTransform(h, w, 30),
    "extent": lambda h, w: T.ExtentTransform((5, 4, 40, 30), (28, 36)),
    "list": list_of_three,
}


@pytest.fixture
def golden() -> Golden:
    return Golden("transforms")


def test_the_table_is_that_of_the_recording(golden: Golden) -> None:
    assert golden.params["list"] == list(RECORDED)
    assert (golden.params["new"], golden.params["crop"]) == ([60, 91], [7, 5, 33, 21])


@pytest.mark.parametrize("name", RECORDED)
def test_images_labels_and_boxes_are_as_recorded(golden: Golden, name: str) -> None:
    image = golden.input_array("image")
    transform = RECORDED[name](*image.shape[:2])
    golden.check(f"{name}_image", transform.apply_image(image))
    golden.check(f"{name}_seg", transform.apply_segmentation(golden.input_array("seg")))
    golden.check(f"{name}_coords", transform.apply_coords(golden.input_array("coords")))
    golden.check(f"{name}_boxes", transform.apply_box(golden.input_array("boxes")))


@pytest.mark.parametrize("name", ["hflip", "vflip", "resize", "pad", "none"])
def test_polygons_are_as_recorded(golden: Golden, name: str) -> None:
    transform = RECORDED[name](48, 66)
    polygons = [np.array(p).reshape(-1, 2) for p in golden.params["polygons"]]
    moved = [polygon.reshape(-1).tolist() for polygon in transform.apply_polygons(polygons)]
    assert moved == [pytest.approx(p) for p in golden.json("polygons")[name]]


def test_inverses_exist_as_recorded(golden: Golden) -> None:
    found = {name: exception_name(make(48, 66).inverse) for name, make in RECORDED.items()}
    golden.check_json("inverse", found)


def test_resizes_of_other_types_are_as_recorded(golden: Golden) -> None:
    image = golden.input_array("image")
    resize = T.ResizeTransform(48, 66, 60, 91)
    resized = resize.apply_image(image.astype(np.float32) / 255)
    golden.check("resize_float", resized)
    golden.check("resize_nearest", resize.apply_image(image, interp=Image.Resampling.NEAREST))
    facts = golden.json("facts")
    assert str(resized.dtype) == facts["float_resize_dtype"]
    assert str(resize.apply_image(image).dtype) == facts["image_dtype"]
    assert str(resize.apply_coords(golden.input_array("coords")).dtype) == facts["coord_dtype"]


def test_augmentations_of_an_input_are_as_recorded(golden: Golden) -> None:
    inputs = T.AugInput(
        golden.input_array("image"),
        boxes=golden.input_array("boxes"),
        sem_seg=golden.input_array("seg"),
    )
    # The recorded flip is one of an image 60 pixels wide: the boxes show it, pixels do not.
    transforms = inputs.apply_augmentations([T.ResizeShortestEdge(40), T.HFlipTransform(60)])
    golden.check("aug_image", inputs.image)
    golden.check("aug_seg", inputs.sem_seg)
    golden.check("aug_boxes", inputs.boxes)
    names = [type(transform).__name__ for transform in transforms.transforms]
    assert names == golden.json("facts")["list_types"]


def test_shortest_edges_are_as_recorded(golden: Golden) -> None:
    for key, shape in golden.json("shortest").items():
        height, width, length, limit = map(int, key.strip("()").split(","))
        found = T.ResizeShortestEdge.get_output_shape(height, width, length, limit)
        assert list(found) == shape


def test_texts_and_errors_are_as_recorded(golden: Golden) -> None:
    facts = golden.json("facts")
    assert repr(T.RandomFlip(prob=float("0.5"))) == facts["repr"]
    choice = T.ResizeShortestEdge((640, 800), 1333, "choice")
    assert repr(choice) == facts["repr2"]
    both = exception_name(lambda: T.RandomFlip(horizontal=True, vertical=True))
    neither = exception_name(lambda: T.RandomFlip(horizontal=False, vertical=False))
    style = exception_name(lambda: T.ResizeShortestEdge(3, sample_style="some"))
    assert [both, neither, style] == [
        facts["bad_flip"],
        facts["no_flip_dir"],
        facts["bad_sample_style"],
    ]


@pytest.mark.parametrize("size", [(37, 53), (64, 64), (150, 97), (400, 21)])
@pytest.mark.parametrize("kind", ["noise", "steps"])
def test_the_fast_resize_is_within_one_grey_level_of_pillow(
    size: tuple[int, int], kind: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    image = noise if kind == "noise" else (noise > 127).astype(np.uint8) * 255
    resized = T.ResizeTransform(90, 120, *size).apply_image(image)
    want = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
    assert np.abs(resized.astype(int) - want).max() <= 1


@pytest.mark.parametrize("view", ["flipped", "channels", "read-only", "part"])
def test_views_resize_like_copies_and_stay_as_they_are(view: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (70, 80, 3), dtype=np.uint8)
    views = {"flipped": image[:, ::-1], "channels": image[:, :, ::-1], "part": image[2:, 3:]}
    given = views.get(view, image)
    before = given.copy()
    if view == "read-only":
        given.flags.writeable = False
    height, width = given.shape[:2]
    resize = T.ResizeTransform(height, width, 35, 41)
    assert np.array_equal(resize.apply_image(given), resize.apply_image(before))
    assert np.array_equal(given, before)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 2), (8, 8, 3), (8, 8, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_resize_keeps_channels_type_and_constants(
    shape: tuple[int, ...], dtype: type[np.generic]
) -> None:
    resized = T.ResizeTransform(8, 8, 5, 12).apply_image(np.full(shape, 255, dtype))
    assert resized.shape == (5, 12, *shape[2:])
    assert resized.dtype == dtype
    assert resized == pytest.approx(255)


@pytest.mark.parametrize("dtype", [np.bool_, np.int32, np.int64, np.uint16])
def test_labels_of_all_types_take_the_nearest_pixel(dtype: type[np.generic]) -> None:
    labels = np.random.default_rng(0).integers(0, 2, (9, 7))
    resize = T.ResizeTransform(9, 7, 20, 5)
    resized = resize.apply_segmentation(labels.astype(dtype))
    assert resized.dtype == dtype
    assert np.array_equal(resized, resize.apply_segmentation(labels.astype(np.uint8)))


def test_integers_are_not_interpolated() -> None:
    with pytest.raises(NotImplementedError, match="int32"):
        T.ResizeTransform(4, 4, 2, 2).apply_image(np.zeros((4, 4), np.int32))


def test_a_resize_refuses_another_size() -> None:
    with pytest.raises(AssertionError, match=r"\(3, 4\).*\(4, 4\)"):
        T.ResizeTransform(4, 4, 2, 2).apply_image(np.zeros((3, 4), np.uint8))


def test_one_pixel_can_be_resized() -> None:
    pixel = np.array([[[1, 2, 3]]], np.uint8)
    assert (T.ResizeTransform(1, 1, 70, 80).apply_image(pixel) == pixel).all()
    large = np.full((70, 80, 3), 9, np.uint8)
    assert T.ResizeTransform(70, 80, 1, 1).apply_image(large).tolist() == [[[9, 9, 9]]]


def test_coordinates_are_scaled_in_their_own_type_and_left_alone() -> None:
    coords = np.array([[2, 4]], np.float32)
    scaled = T.ResizeTransform(8, 8, 4, 16).apply_coords(coords)
    assert scaled.dtype == np.float32
    assert scaled.tolist() == [[4, 2]]
    assert coords.tolist() == [[2, 4]]


def test_a_resize_is_undone_by_its_inverse() -> None:
    resize = T.ResizeTransform(8, 6, 16, 30)
    coords = np.array([[1.5, 2.0]])
    assert resize.inverse().apply_coords(resize.apply_coords(coords)) == pytest.approx(coords)


def test_a_quarter_turn_moves_pixels_coordinates_and_labels_alike() -> None:
    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    turn = T.RotationTransform(2, 3, 90)
    assert np.array_equal(turn.apply_image(image), np.rot90(image))
    assert np.array_equal(turn.apply_segmentation(image.astype(np.int64)), np.rot90(image))
    # Counter-clockwise: the right upper corner (3, 0) comes to the left upper one.
    assert turn.apply_coords(np.array([[3, 0]])) == pytest.approx(np.array([[0, 0]]), abs=1e-6)


def test_a_rotation_without_growth_keeps_size_and_given_centre() -> None:
    turn = T.RotationTransform(10, 20, 30, expand=False, center=(4, 5))
    assert turn.apply_image(np.zeros((10, 20, 3), np.uint8)).shape == (10, 20, 3)
    assert turn.apply_coords(np.array([[4, 5]])) == pytest.approx(np.array([[4, 5]]))
    with pytest.raises(NotImplementedError, match="expand=False"):
        turn.inverse()


def test_the_inverse_of_a_rotation_gives_size_and_coordinates_back() -> None:
    turn = T.RotationTransform(20, 30, 25)
    coords = np.array([[10.0, 5.0], [0.0, 20.0]])
    back = turn.inverse()
    assert back.apply_coords(turn.apply_coords(coords)) == pytest.approx(coords, abs=0.51)
    assert back.apply_image(turn.apply_image(np.zeros((20, 30), np.uint8))).shape == (20, 30)


@pytest.mark.parametrize("angle", [0, 360, -720])
def test_full_turns_return_what_they_get(angle: float) -> None:
    image = np.zeros((4, 5, 1), np.uint8)
    assert T.RotationTransform(4, 5, angle).apply_image(image) is image


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.int64, np.float32])
def test_rotations_keep_types_and_axes(dtype: type[np.generic]) -> None:
    rotated = T.RotationTransform(4, 6, 90).apply_segmentation(np.ones((4, 6, 1), dtype))
    assert rotated.shape == (6, 4, 1)
    assert rotated.dtype == dtype


def test_no_coordinates_can_be_transformed() -> None:
    none = np.zeros((0, 2))
    for make in RECORDED.values():
        assert make(48, 66).apply_coords(none).shape == (0, 2)


def test_an_extent_outside_the_image_is_filled() -> None:
    image = np.full((4, 4, 1), 9, np.uint8)
    cut = T.ExtentTransform((-4, 0, 4, 4), (4, 8), interp=0, fill=3).apply_image(image)
    assert cut[:, :, 0].tolist() == [[3] * 4 + [9] * 4] * 4


def test_colour_transforms_change_pixels_alone() -> None:
    invert = T.ColorTransform(lambda image: 255 - image)
    image = np.array([[0, 10]], np.uint8)
    assert invert.apply_image(image).tolist() == [[255, 245]]
    assert invert.apply_segmentation(image) is image
    assert invert.apply_coords(image) is image
    assert isinstance(invert.inverse(), T.NoOpTransform)


def test_pillow_operations_see_an_image() -> None:
    half = T.PILColorTransform(lambda image: image.point(lambda value: value // 2))
    assert half.apply_image(np.array([[4, 10]], np.uint8)).tolist() == [[2, 5]]


@pytest.mark.parametrize("kind", [T.ColorTransform, T.PILColorTransform])
def test_a_colour_operation_must_be_callable(kind: type[T.ColorTransform]) -> None:
    with pytest.raises(ValueError, match="callable"):
        kind(3)  # type: ignore[arg-type]

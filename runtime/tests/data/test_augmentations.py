"""Tests of the random augmentations: streams of the recorded facts, and their limits."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from golden import Golden

from detectron2.data import transforms as T

SHOWN = {
    "CropTransform": ("x0", "y0", "w", "h"),
    "ResizeTransform": ("w", "h", "new_h", "new_w"),
    "PadTransform": ("x0", "y0", "y1", "x1"),
    "HFlipTransform": ("width",),
    "VFlipTransform": ("height",),
    "NoOpTransform": (),
}

RECORDED: dict[str, T.Augmentation] = {
    "absolute": T.RandomCrop("absolute", (20, 30)),
    "absolute_big": T.RandomCrop("absolute", (100, 30)),
    "absolute_range": T.RandomCrop("absolute_range", (10, 30)),
    "relative": T.RandomCrop("relative", (0.5, 0.7)),
    "relative_range": T.RandomCrop("relative_range", (0.3, 0.5)),
    "category": T.RandomCrop_CategoryAreaConstraint("absolute", (20, 26), 0.5, 255),
    "category_off": T.RandomCrop_CategoryAreaConstraint("absolute", (20, 26), 1.0),
    "shortest_choice": T.ResizeShortestEdge((20, 30, 40), 100, "choice"),
    "shortest_range": T.ResizeShortestEdge((20, 40), 50, "range"),
    "shortest_zero": T.ResizeShortestEdge((0,), sample_style="choice"),
    "scale": T.ResizeScale(0.5, 1.5, 60, 60),
    "fixed": T.FixedSizeCrop((30, 40)),
    "fixed_pad": T.FixedSizeCrop((60, 80)),
    "flip": T.RandomFlip(),
    "vflip": T.RandomFlip(horizontal=False, vertical=True),
    "resize": T.Resize((20, 30)),
    "random_resize": T.RandomResize([(10, 20), (30, 40)]),
}


def described(transform: T.Transform) -> Any:
    """The type and the parameters of a transform, as the recording has them."""
    if isinstance(transform, T.TransformList):
        return [described(part) for part in transform.transforms]
    name = type(transform).__name__
    return {"type": name, **{key: int(getattr(transform, key)) for key in SHOWN[name]}}


def seeded(seed: int = 0) -> None:
    np.random.seed(seed)  # noqa: NPY002  (the generator that augmentations draw from)


@pytest.fixture
def golden() -> Golden:
    return Golden("augmentations")


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def test_every_recorded_augmentation_is_tested(golden: Golden) -> None:
    assert set(golden.json("params")) == set(RECORDED)


@pytest.mark.parametrize("name", RECORDED)
def test_streams_of_transforms_are_as_recorded(golden: Golden, name: str) -> None:
    recorded = golden.json("params")[name]
    seeded(golden.params["seed"])
    for expected in recorded:
        inputs = T.AugInput(golden.input_array("image"), sem_seg=golden.input_array("seg"))
        assert described(RECORDED[name](inputs)) == expected


def test_random_application_is_as_recorded(golden: Golden) -> None:
    sometimes = T.RandomApply(T.Resize((20, 30)), 0.5)
    seeded(golden.params["seed"])
    for expected in golden.json("apply"):
        assert described(sometimes(T.AugInput(golden.input_array("image")))) == expected


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_colours_are_as_recorded(golden: Golden, name: str) -> None:
    augmentation = getattr(T, f"Random{name.capitalize()}")(0.5, 1.5)
    inputs = T.AugInput(golden.input_array("image"))
    seeded(golden.params["seed"])
    augmentation(inputs)
    golden.check(f"{name}_image", inputs.image)


# Observed in Detectron2 with the image's size (48, 66); CropTransform's x0, y0, w, h.
@pytest.mark.parametrize(
    ("seed", "boxes", "expected"),
    [
        (0, [[2, 3, 30, 40], [10, 5, 44, 47]], (8, 14, 39, 24)),
        (0, [], (3, 1, 47, 42)),
        (1, [[2, 3, 30, 40], [10, 5, 44, 47]], (21, 12, 32, 16)),
        (2, [], None),
        (3, [[2, 3, 30, 40], [10, 5, 44, 47]], (6, 1, 42, 45)),
    ],
)
def test_crops_by_iou_keep_the_stream(
    seed: int, boxes: list[list[float]], expected: tuple[int, ...] | None
) -> None:
    seeded(seed)
    crop = T.MinIoURandomCrop().get_transform(np.zeros((48, 66, 3)), np.array(boxes, float))
    if expected is None:
        assert isinstance(crop, T.NoOpTransform)
    else:
        assert (crop.x0, crop.y0, crop.w, crop.h) == expected


def test_crops_by_iou_give_up_when_nothing_fits() -> None:
    # A crop cannot have an IoU of 0.9 with two boxes in opposite corners.
    boxes = np.array([[0, 0, 2, 2], [28, 18, 30, 20]])
    crop = T.MinIoURandomCrop(min_ious=(0.9,), mode_trials=1)
    crop.sample_mode = (0.9,)
    assert isinstance(crop.get_transform(np.zeros((20, 30, 3)), boxes), T.NoOpTransform)


def test_crops_work_without_boxes(image: np.ndarray) -> None:
    transform = T.MinIoURandomCrop()(T.AugInput(image))
    assert isinstance(transform, (T.CropTransform, T.NoOpTransform))


def test_random_numbers_come_from_numpy_alone(image: np.ndarray) -> None:
    random.seed(0)
    state = random.getstate()
    T.AugmentationList([*RECORDED.values(), T.MinIoURandomCrop()])(
        T.AugInput(image, sem_seg=image[..., 0])
    )
    assert random.getstate() == state


def test_rotations_draw_the_angle_before_the_centre(image: np.ndarray) -> None:
    seeded(5)
    angle, x, y = (np.random.uniform(0, 1) for _ in range(3))  # noqa: NPY002
    seeded(5)
    turn = T.RandomRotation([-20, 30], center=[[0.2, 0.3], [0.6, 0.7]], expand=False)
    found = turn.get_transform(image)
    assert found.angle == pytest.approx(-20 + 50 * angle)
    assert found.center == pytest.approx((30 * (0.2 + 0.4 * x), 20 * (0.3 + 0.4 * y)))


def test_rotations_choose_among_angles_and_centres(image: np.ndarray) -> None:
    centres = [(0.25, 0.5), (0.5, 0.25)]
    choice = T.RandomRotation([10, 20], center=centres, sample_style="choice", expand=False)
    seeded()
    found = [choice.get_transform(image) for _ in range(40)]
    assert {(turn.angle, *turn.center) for turn in found} == {
        (angle, *centre) for angle in (10, 20) for centre in [(7.5, 10), (15, 5)]
    }


def test_no_rotation_is_no_operation(image: np.ndarray) -> None:
    assert isinstance(T.RandomRotation(0).get_transform(image), T.NoOpTransform)


def test_an_extent_of_the_whole_image_changes_nothing(image: np.ndarray) -> None:
    whole = T.RandomExtent((1, 1), (0, 0)).get_transform(image)
    assert np.array_equal(whole.apply_image(image), image)


def test_lighting_adds_one_colour(image: np.ndarray) -> None:
    seeded()
    pixels = image.astype(np.float32)
    lit = T.RandomLighting(1.0).get_transform(pixels).apply_image(pixels)
    assert np.ptp(lit - pixels, axis=(0, 1)) == pytest.approx(0, abs=1e-4)
    assert np.abs(lit - pixels).max() > 0


@pytest.mark.parametrize("kind", [lambda: T.RandomSaturation(0, 1), lambda: T.RandomLighting(1)])
def test_colours_need_three_channels(kind: Any, image: np.ndarray) -> None:
    with pytest.raises(AssertionError, match="only works on RGB images"):
        kind().get_transform(image[:, :, :1])


@pytest.mark.parametrize(("prob", "expected"), [(0.0, T.NoOpTransform), (1.0, T.HFlipTransform)])
def test_flips_follow_their_probability(
    prob: float, expected: type[T.Transform], image: np.ndarray
) -> None:
    assert {type(T.RandomFlip(prob).get_transform(image)) for _ in range(20)} == {expected}


@pytest.mark.parametrize("size", [(1, 1), (40, 50), (10, 50)])
def test_a_fixed_size_is_reached_from_every_size(size: tuple[int, int]) -> None:
    inputs = T.AugInput(np.zeros((20, 30, 3), np.uint8), sem_seg=np.zeros((20, 30), np.uint8))
    T.FixedSizeCrop(size, pad_value=9)(inputs)
    assert inputs.image.shape[:2] == size
    assert inputs.sem_seg is not None
    assert inputs.sem_seg.shape == size


def test_padding_can_be_left_out(image: np.ndarray) -> None:
    inputs = T.AugInput(image)
    T.FixedSizeCrop((10, 50), pad=False)(inputs)
    assert inputs.image.shape == (10, 30, 3)


def test_category_crops_avoid_one_category() -> None:
    # Only crops across the border of the two halves hold both classes.
    labels = np.zeros((20, 40), np.uint8)
    labels[:, 20:] = 1
    crop = T.RandomCrop_CategoryAreaConstraint("absolute", (4, 20), 0.99)
    seeded()
    found = [crop.get_transform(labels, labels) for _ in range(20)]
    assert all(0 < one.x0 < 20 for one in found)


def test_category_crops_without_labels_say_so(image: np.ndarray) -> None:
    crop = T.RandomCrop_CategoryAreaConstraint("absolute", (4, 4), 0.5)
    with pytest.raises(ValueError, match="needs sem_seg"):
        crop(T.AugInput(image))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: T.RandomCrop("some", (1, 1)), "crop_type='some'"),
        (lambda: T.ResizeShortestEdge((1, 2, 3)), "two ends"),
        (lambda: T.RandomRotation(3, sample_style="some"), "sample_style='some'"),
        (lambda: T.RandomApply(T.NoOpTransform(), 1.5), r"prob=1\.5"),
        (lambda: T.AugmentationList([3]), "3 is neither"),
    ],
)
def test_wrong_arguments_are_named(make: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        make()


def test_crops_larger_than_the_image_are_refused(image: np.ndarray) -> None:
    with pytest.raises(AssertionError, match=r"relative.*\(20, 30\)"):
        T.RandomCrop("relative", (2, 2)).get_transform(image)
    with pytest.raises(AssertionError, match="range ends"):
        T.RandomCrop("absolute_range", (9, 3)).get_transform(image)


class Seen(T.Augmentation):
    """Notes its arguments."""

    def get_transform(self, image: np.ndarray, boxes: np.ndarray) -> T.Transform:
        self.arguments = (image, boxes)
        return T.HFlipTransform(image.shape[1])


def test_an_augmentation_gets_what_it_names_and_transforms_all(image: np.ndarray) -> None:
    boxes = np.array([[1.0, 2.0, 3.0, 4.0]])
    inputs, seen = T.AugInput(image, boxes=boxes, sem_seg=image[..., 0]), Seen()
    seen(inputs)
    assert seen.arguments[0] is image
    assert seen.arguments[1] is boxes
    assert inputs.boxes is not None
    assert inputs.boxes.tolist() == [[27, 2, 29, 4]]
    assert np.array_equal(inputs.image, image[:, ::-1])
    assert inputs.sem_seg is not None
    assert np.array_equal(inputs.sem_seg, image[:, ::-1, 0])


def test_a_single_parameter_is_the_image_whatever_its_name(image: np.ndarray) -> None:
    class Own(T.Augmentation):
        def get_transform(self, img: np.ndarray) -> T.Transform:
            return T.HFlipTransform(img.shape[1])

    inputs, own = T.AugInput(image), Own()
    own(inputs)
    assert np.array_equal(inputs.image, image[:, ::-1])
    assert own.input_args == ("image",)


def test_a_missing_attribute_is_named() -> None:
    class NoBoxes:
        image = np.zeros((2, 2))

    with pytest.raises(AttributeError, match="'boxes'"):
        Seen()(NoBoxes())


def test_a_result_that_is_no_transform_is_refused(image: np.ndarray) -> None:
    class Forgetful(T.Augmentation):
        def get_transform(self, *args: Any) -> Any:
            return None

    with pytest.raises(AssertionError, match="must return an instance of Transform"):
        Forgetful()(T.AugInput(image))


def test_parameters_of_any_name_need_declaration(image: np.ndarray) -> None:
    class Unclear(T.Augmentation):
        def get_transform(self, image: np.ndarray, *rest: Any) -> T.Transform:
            return T.NoOpTransform()

    with pytest.raises(TypeError, match="name the attributes"):
        Unclear()(T.AugInput(image))


def test_short_subclasses_may_store_their_arguments_at_once() -> None:
    class Short(T.Augmentation):
        def __init__(self, low: float, high: float = 2) -> None:
            super().__init__()
            self._init(locals())

    seeded(3)
    expected = np.random.uniform(0, 5)  # noqa: NPY002
    seeded(3)
    assert repr(Short(7)) == "Short(low=7)"
    assert Short(7)._rand_range(5) == expected


def test_texts_of_lists_and_unknown_attributes() -> None:
    class Hidden(T.Augmentation):
        def __init__(self, amount: int) -> None:
            self._amount = amount

    both = T.AugmentationList([T.RandomFlip(), T.HFlipTransform(3)])
    assert str(both) == "AugmentationList[RandomFlip(), HFlipTransform(width=3)]"
    assert "Hidden object" in repr(Hidden(3))


def test_augmentations_apply_to_arrays_and_inputs(image: np.ndarray) -> None:
    flipped, transforms = T.apply_augmentations([T.HFlipTransform(30)], image)
    assert np.array_equal(flipped, image[:, ::-1])
    assert isinstance(transforms, T.TransformList)
    inputs = T.AugInput(image)
    same, _ = T.apply_augmentations([T.HFlipTransform(30)], inputs)
    assert same is inputs
    assert np.array_equal(inputs.image, flipped)


def test_lists_may_be_nested(image: np.ndarray) -> None:
    inputs = T.AugInput(image)
    T.AugmentationList([[T.HFlipTransform(30)], T.AugmentationList([T.HFlipTransform(30)])])(inputs)
    assert np.array_equal(inputs.image, image)


def test_an_input_must_be_an_image() -> None:
    with pytest.raises(AssertionError, match="not list"):
        T.AugInput([[1]])  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="not 4"):
        T.AugInput(np.zeros((1, 2, 2, 3)))


def test_earlier_names_are_the_same_objects() -> None:
    assert T.TransformGen is T.Augmentation
    assert T.StandardAugInput is T.AugInput
    assert T.apply_transform_gens is T.apply_augmentations

"""Overlays: which pixels get which colours, whatever the input."""

from __future__ import annotations

import numpy as np
import pytest

from seg_projects.visualization.overlay import (
    Category,
    categories_from_coco,
    double_ids,
    double_image,
    flatten_masks,
    instance_overlay,
    panoptic_overlay,
    semantic_overlay,
    side_by_side,
)

CATEGORIES = {
    3: Category(name="box", color=(250, 160, 30), is_thing=True),
    20: Category(name="sky", color=(40, 90, 200), is_thing=False),
}


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 100, np.uint8)


def colors_of(overlay: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(color) for color in overlay.reshape(-1, 3).tolist()}


def test_inside_a_segment_image_and_tint_mix_by_alpha() -> None:
    ids = np.full((2, 2), 70_000)
    overlay = panoptic_overlay(
        grey(2, 2), ids, [{"id": 70_000, "category_id": 20}], CATEGORIES, alpha=0.5
    )
    # Half of 100 and half of (40, 90, 200).
    assert overlay.dtype == np.uint8
    assert colors_of(overlay) == {(70, 95, 150)}


@pytest.mark.parametrize(("alpha", "expected"), [(0, (100, 100, 100)), (1, (40, 90, 200))])
def test_alpha_reaches_from_the_image_to_the_tint(
    alpha: float, expected: tuple[int, int, int]
) -> None:
    ids = np.ones((3, 3), np.int32)
    overlay = panoptic_overlay(
        grey(3, 3), ids, [{"id": 1, "category_id": 20}], CATEGORIES, alpha=alpha
    )
    assert colors_of(overlay) == {expected}


def test_things_of_one_category_differ_and_the_first_has_its_colour() -> None:
    # Seven single-pixel things, each apart from the next by a pixel of void.
    ids = np.zeros((1, 14), np.int32)
    ids[0, ::2] = np.arange(1, 8)
    ids = ids.repeat(3, axis=1)
    segments = [{"id": number, "category_id": 3} for number in range(1, 8)]
    overlay = panoptic_overlay(grey(1, 42), ids, segments, CATEGORIES, alpha=1, names=False)
    middles = overlay[0, 1::6]
    assert tuple(middles[0]) == CATEGORIES[3].color
    assert len(colors_of(middles)) == 7


def test_equal_stuff_has_one_colour() -> None:
    ids = np.array([[1, 1, 1, 0, 0, 2, 2, 2]])
    segments = [{"id": number, "category_id": 20} for number in (1, 2)]
    overlay = panoptic_overlay(grey(1, 8), ids, segments, CATEGORIES, alpha=1, names=False)
    assert tuple(overlay[0, 0]) == tuple(overlay[0, 7]) == CATEGORIES[20].color


def test_boundary_pixels_stand_out() -> None:
    ids = np.ones((4, 6), np.int64)
    ids[:, 3:] = 2
    segments = [{"id": 1, "category_id": 20}, {"id": 2, "category_id": 3}]
    overlay = panoptic_overlay(grey(4, 6), ids, segments, CATEGORIES, names=False)
    # Column 2 is the last one of segment 1; all other columns have no boundary on their right.
    assert len(colors_of(overlay[:, :2])) == len(colors_of(overlay[:, 3:])) == 1
    # A pale version of the dark blue.
    assert overlay[:, 2].min() > overlay[:, :2].max()


def test_void_is_grey_and_hatched() -> None:
    overlay = panoptic_overlay(grey(16, 16), np.zeros((16, 16), np.int32), [], CATEGORIES)
    # 100 * 0.35 + 40, and 36 more on the lines of the hatch.
    assert colors_of(overlay) == {(75, 75, 75), (111, 111, 111)}


def test_an_id_without_segment_is_void() -> None:
    ids = np.full((4, 4), 9)
    segments = [{"id": 1, "category_id": 3}]
    as_void = panoptic_overlay(grey(4, 4), np.zeros_like(ids), segments, CATEGORIES)
    assert np.array_equal(panoptic_overlay(grey(4, 4), ids, segments, CATEGORIES), as_void)


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (1, 1), (1, 7), (7, 1)])
def test_any_size_keeps_shape_and_dtype(size: tuple[int, int]) -> None:
    segments = [{"id": 1, "category_id": 3}]
    overlay = panoptic_overlay(grey(*size), np.ones(size, np.int32), segments, CATEGORIES)
    assert overlay.shape == (*size, 3)
    assert overlay.dtype == np.uint8


def test_inputs_stay_as_they_were() -> None:
    image, ids = grey(40, 60), np.ones((40, 60), np.int32)
    ids[:, 30:] = 0
    copies = image.copy(), ids.copy()
    panoptic_overlay(image, ids, [{"id": 1, "category_id": 3}], CATEGORIES)
    assert np.array_equal(image, copies[0])
    assert np.array_equal(ids, copies[1])


def test_a_large_segment_is_named_in_its_middle() -> None:
    ids = np.full((60, 80), 1)
    segments = [{"id": 1, "category_id": 3}]
    plain = panoptic_overlay(grey(60, 80), ids, segments, CATEGORIES, names=False)
    named = panoptic_overlay(grey(60, 80), ids, segments, CATEGORIES)
    rows, columns = np.nonzero((plain != named).any(axis=2))
    assert 20 < rows.min() < rows.max() < 45
    assert 15 < columns.min() < columns.max() < 65
    assert named[rows, columns].max() == 255


def test_a_segment_without_room_has_no_name() -> None:
    ids = np.zeros((60, 80), np.int32)
    ids[10:14, 10:70] = 1
    segments = [{"id": 1, "category_id": 3}]
    plain = panoptic_overlay(grey(60, 80), ids, segments, CATEGORIES, names=False)
    assert np.array_equal(panoptic_overlay(grey(60, 80), ids, segments, CATEGORIES), plain)


def test_semantic_overlay_uses_the_labels_themselves() -> None:
    labels = np.array([[20, 20, 255, 255]], np.uint8)
    overlay = semantic_overlay(grey(1, 4), labels, CATEGORIES, alpha=1)
    assert tuple(overlay[0, 0]) == CATEGORIES[20].color
    assert len(set(overlay[0, 3].tolist())) == 1  # grey: void


def test_an_unknown_category_is_named() -> None:
    with pytest.raises(KeyError, match="category_id=4"):
        panoptic_overlay(grey(1, 1), np.ones((1, 1), int), [{"id": 1, "category_id": 4}], {})


@pytest.mark.parametrize("shape", [(4, 5, 3), (4, 4), (4, 4, 4)])
def test_sizes_have_to_agree(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"segmentation \(4, 4\)"):
        panoptic_overlay(np.zeros(shape, np.uint8), np.zeros((4, 4), int), [], {})


def test_alpha_outside_its_range_is_named() -> None:
    with pytest.raises(ValueError, match=r"alpha=1\.5"):
        panoptic_overlay(grey(1, 1), np.zeros((1, 1), int), [], {}, alpha=1.5)


def test_side_by_side_aligns_at_the_top() -> None:
    row = side_by_side([grey(2, 3), grey(4, 1)], gap=2, background=(1, 2, 3))
    assert row.shape == (4, 6, 3)
    assert (row[:2, :3] == 100).all()
    assert (row[:, 5] == 100).all()
    assert (row[2:, :3] == (1, 2, 3)).all()
    assert (row[:, 3:5] == (1, 2, 3)).all()


def test_side_by_side_needs_an_image() -> None:
    with pytest.raises(ValueError, match="no image"):
        side_by_side([])


def test_doubled_ids_smooth_a_diagonal_and_keep_blocks() -> None:
    step = double_ids(np.array([[1, 1, 1], [2, 1, 1], [2, 2, 1]]))
    # The centre, 1, meets 2 on the left and below: its lower left quarter becomes 2.
    assert step[2:4, 2:4].tolist() == [[1, 1], [2, 1]]
    block = np.kron(np.array([[1, 2], [1, 2]]), np.ones((2, 2), int))
    assert np.array_equal(double_ids(np.array([[1, 2], [1, 2]])), block)


def test_doubling_an_image_keeps_its_kind() -> None:
    doubled = double_image(grey(3, 5))
    assert doubled.shape == (6, 10, 3)
    assert (doubled == 100).all()


def test_coco_categories_without_colour_get_distinct_ones() -> None:
    records = [{"id": 5 * i, "name": str(i), "isthing": i % 2} for i in range(20)]
    categories = categories_from_coco([*records, {**records[0], "id": 1, "color": [1, 2, 3]}])
    assert len({category.color for category in categories.values()}) == 21
    assert categories[1] == Category(name="0", color=(1, 2, 3), is_thing=False)
    assert categories[5].is_thing


def test_the_image_shows_between_instances() -> None:
    image = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    masks = np.zeros((2, 2, 4), bool)
    masks[0, :, :2] = masks[1, :, 1:3] = True
    ids, instances = flatten_masks(masks, [7, 7])
    # The later mask lies on top.
    assert ids.tolist() == [[1, 2, 2, 0]] * 2
    categories = {7: Category(name="nut", color=(200, 0, 0), is_thing=True)}
    overlay = instance_overlay(image, ids, instances, categories, names=False)
    np.testing.assert_array_equal(overlay[:, 3], image[:, 3])
    assert (overlay[:, :2] != image[:, :2]).any(axis=2).all()


def test_no_masks_are_the_image_itself() -> None:
    image = np.full((2, 3, 3), 90, np.uint8)
    ids, instances = flatten_masks(np.zeros((0, 2, 3), bool), [])
    np.testing.assert_array_equal(instance_overlay(image, ids, instances, {}), image)


def test_the_name_of_the_only_category_is_not_written_over_its_objects() -> None:
    image, ids = grey(200, 300), np.zeros((200, 300), np.int32)
    ids[20:180, 20:280] = 1
    instances = [{"id": 1, "category_id": 3}]
    box = {3: CATEGORIES[3]}
    plain = instance_overlay(image, ids, instances, box, names=False)
    np.testing.assert_array_equal(instance_overlay(image, ids, instances, box), plain)
    assert (instance_overlay(image, ids, instances, CATEGORIES) != plain).any()

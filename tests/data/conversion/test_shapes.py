"""Rasterised shapes and their boxes."""

from __future__ import annotations

import numpy as np
import pytest

from seg_projects.data.conversion import shapes
from seg_projects.data.conversion.annotated import BoxMask, union


def test_outline_belongs_to_the_polygon() -> None:
    shape = shapes.polygon([(1, 1), (3, 1), (3, 2), (1, 2)], (5, 5))
    assert shape.mask.box_xywh == [1, 1, 3, 2]
    assert shape.mask.area == 6
    assert shape.polygons == [[1, 1, 3, 1, 3, 2, 1, 2]]


def test_hole_is_kept_and_no_polygon_describes_the_shape() -> None:
    outer = [(0, 0), (6, 0), (6, 6), (0, 6)]
    hole = [(2, 2), (4, 2), (4, 4), (2, 4)]
    shape = shapes.polygon(outer, (10, 10), [hole])
    assert shape.mask.area == 49 - 9
    assert not shape.mask.full((10, 10))[3, 3]
    assert shape.polygons is None


@pytest.mark.parametrize(
    ("points", "box"),
    [
        ([(-5, -5), (1, -5), (1, 1), (-5, 1)], [0, 0, 2, 2]),
        ([(3, 3), (9, 3), (9, 9), (3, 9)], [3, 3, 1, 1]),
        ([(7, 7), (9, 7), (9, 9)], [0, 0, 0, 0]),
    ],
)
def test_what_leaves_the_image_is_cut(points: list[tuple[int, int]], box: list[int]) -> None:
    assert shapes.polygon(points, (4, 4)).mask.box_xywh == box


def test_two_points_are_no_polygon() -> None:
    with pytest.raises(ValueError, match="2 points"):
        shapes.polygon([(0, 0), (1, 1)], (4, 4))


def test_points_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="outside every image"):
        shapes.polygon([(0, 0), (1, float("nan")), (2, 2)], (4, 4))


def test_corners_of_a_rectangle_may_come_in_any_order() -> None:
    first = shapes.rectangle((3, 4), (1, 2), (8, 8))
    assert first.mask.box_xywh == [1, 2, 3, 3]


def test_turned_ellipse_lies_across() -> None:
    lying = shapes.ellipse((20, 20), (10, 3), 0.0, (40, 40)).mask
    standing = shapes.ellipse((20, 20), (10, 3), np.pi / 2, (40, 40)).mask
    assert lying.box_xywh == [10, 17, 21, 7]
    assert standing.box_xywh == [17, 10, 7, 21]


def test_ellipse_turned_by_an_eighth_lies_along_the_falling_diagonal() -> None:
    mask = shapes.ellipse((50, 50), (40, 10), np.pi / 4, (100, 100)).mask
    pixels = mask.full((100, 100))
    assert pixels[[25, 75], [25, 75]].all()
    assert not pixels[[25, 75], [75, 25]].any()
    # Its outline, half a pixel of which lies outside, belongs to it.
    assert mask.area == pytest.approx(np.pi * 40.5 * 10.5, rel=0.01)


def test_ellipse_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="larger than every image"):
        shapes.ellipse((50, 50), (3, float("inf")), 0.3, (100, 100))


def test_bitmap_partly_outside_is_cut() -> None:
    mask = shapes.bitmap(np.ones((3, 3), bool), -1, 2, (4, 4)).mask
    assert mask.box_xywh == [0, 2, 2, 2]


def test_union_of_masks() -> None:
    one, two = (BoxMask(np.ones((1, 1), bool), x, 0) for x in (0, 2))
    joined = union([one, two], (1, 3))
    assert joined.pixels.tolist() == [[True, False, True]]

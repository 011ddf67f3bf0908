"""Boundaries of label maps against slow implementations of their definitions."""

from __future__ import annotations

import itertools
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seg_projects.evaluation.label_boundaries import (
    boundary_band,
    boundary_f1_counts,
    boundary_iou_counts,
    contour,
)

SHAPES = st.tuples(st.integers(1, 7), st.integers(1, 7))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Truth with ignored pixels and prediction, three classes."""
    shape = draw(SHAPES)
    truth = hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 1, 2, 255]))
    return draw(truth), draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 2)))


def _contour_pixels(labels: np.ndarray, label: int) -> list[tuple[int, int]]:
    """Pixels of ``label`` with a neighbour of another label, one by one."""
    places = list(np.ndindex(labels.shape))
    return [
        (y, x)
        for y, x in places
        if labels[y, x] == label
        and any(
            (y + dy, x + dx) in places and labels[y + dy, x + dx] != label
            for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))
        )
    ]


@settings(max_examples=100, deadline=None)
@given(pairs(), st.sampled_from([0.0, 0.15, 0.3, 0.5]))
def test_boundary_f1_counts_pixels_near_the_other_contour(
    maps: tuple[np.ndarray, np.ndarray], fraction: float
) -> None:
    truth, found = maps
    counts = boundary_f1_counts(truth, found, 3, fraction=fraction)
    near = fraction * math.hypot(*truth.shape)
    masked = np.where(truth == 255, 255, found)
    for label in range(3):
        t, p = _contour_pixels(truth, label), _contour_pixels(masked, label)
        hits = [
            sum(any(math.dist(a, b) <= near for b in others) for a in points)
            for points, others in ((p, t), (t, p))
        ]
        assert counts[:, label].tolist() == [hits[0], len(p), hits[1], len(t)]


@settings(max_examples=100, deadline=None)
@given(pairs(), st.sampled_from([0.01, 0.25, 0.5]))
def test_boundary_iou_counts_equal_erosions_class_by_class(
    maps: tuple[np.ndarray, np.ndarray], fraction: float
) -> None:
    truth, found = maps
    counts = boundary_iou_counts(truth, found, 3, fraction=fraction)
    distance = max(1, round(fraction * math.hypot(*truth.shape)))

    def band(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask.astype(np.uint8), 1)
        eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)
        return mask & (eroded[1:-1, 1:-1] == 0)

    judged = truth != 255
    for label in range(3):
        t, p = band(truth == label), band((found == label) & judged)
        assert counts[:, label].tolist() == [(t & p).sum(), t.sum(), p.sum()]


def test_the_band_is_a_fiftieth_of_the_diagonal_where_nothing_is_said() -> None:
    # 0.02 of the diagonal of 60 x 80 pixels are 2: all but the 56 x 76 pixels within.
    labels = np.zeros((60, 80), int)
    counts = boundary_iou_counts(labels, labels, 1)
    assert counts[:, 0].tolist() == [60 * 80 - 56 * 76] * 3


def test_a_band_follows_edges_and_the_frame() -> None:
    labels = np.zeros((7, 9), int)
    labels[:, 5:] = 300
    inner = ~boundary_band(labels, 1)
    expected = np.zeros((7, 9), bool)
    expected[1:6, 1:4] = expected[1:6, 6:8] = True
    assert np.array_equal(inner, expected)


def test_a_contour_lies_on_both_sides_of_an_edge_and_not_on_the_frame() -> None:
    labels = np.array([[0, 0, 0, 1, 1]] * 3)
    assert contour(labels).tolist() == [[False, False, True, True, False]] * 3
    assert not contour(np.zeros((3, 3), int)).any()


def test_a_perfect_map_matches_whatever_is_predicted_on_ignored_pixels() -> None:
    truth = np.array([[0, 0, 1, 1], [0, 255, 255, 1], [2, 2, 2, 2], [2, 2, 2, 2]])
    for ignored in itertools.product(range(3), repeat=2):
        found = truth.copy()
        found[1, 1:3] = ignored
        f1 = boundary_f1_counts(truth, found, 3, fraction=0.0)
        iou = boundary_iou_counts(truth, found, 3)
        assert np.array_equal(f1[0], f1[1])
        assert np.array_equal(f1[1:3], f1[[3, 3]])
        assert np.array_equal(iou, iou[[0, 0, 0]])


def test_more_than_16_classes_do_not_overflow() -> None:
    # Class by class as large as class 0, whose counts are easily known: a frame of 4 x 4 pixels.
    labels = np.arange(400).reshape(20, 20).repeat(4, axis=0).repeat(4, axis=1)
    counts = boundary_iou_counts(labels, labels, 400, fraction=0.001)
    assert (counts == 12).all()


def test_an_image_without_pixels_has_no_boundary() -> None:
    empty = np.zeros((0, 4), int)
    assert not boundary_f1_counts(empty, empty, 2).any()
    assert not boundary_iou_counts(empty, empty, 2).any()


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2\), the truth \(1, 3\)"):
        boundary_f1_counts(np.zeros((1, 3), int), np.zeros((1, 2), int), 2)

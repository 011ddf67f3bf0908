"""Boundary PQ against boundaries made mask by mask, by eroding each with a square."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seg_projects.evaluation.panoptic_boundaries import (
    boundary_counts,
    boundary_distance,
    boundary_overlaps,
    boundary_pixels,
)
from seg_projects.evaluation.panoptic_quality import pair_histogram, panoptic_counts, segment_pairs

COLUMN = {10: 0, 20: 1}


def _slow_boundary(mask: np.ndarray, distance: int) -> np.ndarray:
    """The pixels of a mask whose square leaves it or the image."""
    padded = np.pad(mask, distance)
    result = mask.copy()
    for y, x in np.argwhere(mask):
        result[y, x] = not padded[y : y + 2 * distance + 1, x : x + 2 * distance + 1].all()
    return result


shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))
maps = shapes.flatmap(lambda s: hnp.arrays(np.int32, s, elements=st.sampled_from([0, 0, 0, 1, 9])))


@settings(max_examples=150, deadline=None)
@given(maps, st.integers(1, 3))
def test_equals_the_boundary_of_each_mask(ids: np.ndarray, distance: int) -> None:
    expected = np.zeros(ids.shape, dtype=bool)
    for id_ in np.unique(ids):
        expected |= _slow_boundary(ids == id_, distance)
    assert np.array_equal(boundary_pixels(ids, distance), expected)


pairs_of_maps = shapes.flatmap(
    lambda s: st.tuples(*[hnp.arrays(np.int32, s, elements=st.integers(0, 2))] * 2)
)


@settings(max_examples=150, deadline=None)
@given(pairs_of_maps, st.sampled_from([0.05, 0.15, 0.3]))
def test_overlaps_equal_those_of_each_pair_of_masks(maps: Any, share: float) -> None:
    truth, found = maps
    listed = [[_segment(i) for i in (1, 2) if (m == i).any()] for m in maps]
    overlaps = boundary_overlaps(truth, listed[0], found, listed[1], COLUMN, share=share)
    distance = boundary_distance(truth.shape, share)
    for row, segment in enumerate(listed[0]):
        for place, other in enumerate(listed[1]):
            first = _slow_boundary(truth == segment["id"], distance)
            second = _slow_boundary(found == other["id"], distance)
            union = (first | (second & (truth != 0))).sum()
            expected = (first & second).sum() / max(union, 1)
            assert overlaps.iou[row, place] == pytest.approx(expected)


segment_kinds = st.lists(
    st.tuples(st.sampled_from([10, 20]), st.integers(0, 1)), min_size=2, max_size=2
)


@settings(max_examples=200, deadline=None)
@given(pairs_of_maps, segment_kinds, segment_kinds, st.sampled_from([0.05, 0.15]))
def test_counts_equal_the_definition(
    maps: Any, truth_kinds: list[Any], found_kinds: list[Any], share: float
) -> None:
    truth, found = maps
    a, b = (
        [_segment(i, *kind) for i, kind in enumerate(kinds, start=1) if (ids == i).any()]
        for ids, kinds in ((truth, truth_kinds), (found, found_kinds))
    )
    pairs = segment_pairs(pair_histogram(truth, found), a, b, COLUMN)
    overlaps = boundary_overlaps(truth, a, found, b, COLUMN, share=share)
    got = boundary_counts(pairs, overlaps, 2)
    expected = _slow_counts(truth, a, found, b, boundary_distance(truth.shape, share))
    np.testing.assert_allclose(np.stack(got), expected)


def _slow_counts(
    truth: np.ndarray, a: list[Any], found: np.ndarray, b: list[Any], distance: int
) -> np.ndarray:
    """Sum of IoUs, TP, FP and FN of both categories."""
    counts, matched = np.zeros((4, 2)), set()
    for t in a:
        for f in b:
            if t["iscrowd"] or t["category_id"] != f["category_id"]:
                continue
            masks = truth == t["id"], found == f["id"]
            whole = _iou_beside_void(*masks, truth)
            first, second = (_slow_boundary(m, distance) for m in masks)
            thin = _iou_beside_void(first, second, truth)
            if min(whole, thin) > 0.5:
                counts[:2, COLUMN[t["category_id"]]] += min(whole, thin), 1
                matched |= {("truth", t["id"]), ("found", f["id"])}
    for f in b:
        mask, free = found == f["id"], truth == 0
        crowds = [t for t in a if t["iscrowd"] and t["category_id"] == f["category_id"]]
        for crowd in crowds[-1:]:
            free = free | (truth == crowd["id"])
        wrong = ("found", f["id"]) not in matched and (mask & free).sum() <= 0.5 * mask.sum()
        counts[2, COLUMN[f["category_id"]]] += wrong
    for t in a:
        missed = ("truth", t["id"]) not in matched and not t["iscrowd"]
        counts[3, COLUMN[t["category_id"]]] += missed
    return counts


def _iou_beside_void(first: np.ndarray, second: np.ndarray, truth: np.ndarray) -> float:
    union = (first | (second & (truth != 0))).sum()
    return (first & second).sum() / union if union else 0.0


def _segment(id_: int, category: int = 10, crowd: int = 0) -> dict[str, int]:
    return {"id": id_, "category_id": category, "iscrowd": crowd}


def _counts(truth: np.ndarray, found: np.ndarray, share: float) -> Any:
    sides = truth, [_segment(1)], found, [_segment(1)]
    pairs = segment_pairs(pair_histogram(truth, found), sides[1], sides[3], COLUMN)
    overlaps = boundary_overlaps(*sides, COLUMN, share=share)
    return boundary_counts(pairs, overlaps, 2)


def test_a_shifted_square_matches_by_its_mask_and_not_by_its_boundary() -> None:
    truth, found = np.zeros((2, 40, 40), dtype=np.int32)
    truth[5:35, 5:35] = 1
    found[7:37, 7:37] = 1
    # The truth lists no void: what surrounds the square is another segment.
    truth[truth == 0] = found[found == 0] = 5
    counts = _counts_with_ground(truth, found)
    assert counts[0].true_positives.tolist() == [1, 1]
    assert counts[1].true_positives.tolist() == [0, 0]
    assert counts[1].false_positives.tolist() == [1, 1]


def _counts_with_ground(truth: np.ndarray, found: np.ndarray) -> Any:
    segments = [_segment(1), {"id": 5, "category_id": 20, "iscrowd": 0}]
    pairs = segment_pairs(pair_histogram(truth, found), segments, segments, COLUMN)
    overlaps = boundary_overlaps(truth, segments, found, segments, COLUMN, share=0.01)
    plain = panoptic_counts(truth, segments, found, segments, COLUMN)
    return plain, boundary_counts(pairs, overlaps, 2)


def test_a_perfect_prediction_has_the_boundary_iou_1() -> None:
    ids = np.kron(np.eye(2, dtype=np.int32), np.ones((8, 8), dtype=np.int32))
    assert _counts(ids, ids, 0.02).iou_sum.tolist() == [1, 0]


def test_the_distance_is_a_share_of_the_diagonal_and_at_least_a_pixel() -> None:
    assert boundary_distance((480, 640), 0.02) == 16
    assert boundary_distance((3, 4), 0.02) == 1

"""PQ against an implementation that follows the definition pixel by pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seg_projects.evaluation.panoptic_quality import (
    Overlaps,
    PanopticCounts,
    mean_quality,
    occurring_counts,
    pair_histogram,
    pair_histogram_on_device,
    panoptic_counts,
    panoptic_quality,
    total_counts,
)

COLUMN = {10: 0, 20: 1}


def test_the_iou_of_segments_of_one_pixel_is_1_and_of_void_alone_0() -> None:
    one, none = np.array([1]), np.array([0])
    assert Overlaps(one[None], one, one, none).iou.tolist() == [[1.0]]
    assert Overlaps(none[None], none, one, one).iou.tolist() == [[0.0]]


def _segment(id_: int, category: int = 10, crowd: int = 0) -> dict[str, int]:
    return {"id": id_, "category_id": category, "iscrowd": crowd}


def _slow_counts(
    truth: np.ndarray, truth_segments: list[Any], found: np.ndarray, found_segments: list[Any]
) -> PanopticCounts:
    iou_sum, tp, fp, fn = np.zeros(2), *np.zeros((3, 2), dtype=np.int64)
    matched_truth, matched_found = set(), set()
    for t in truth_segments:
        for f in found_segments:
            a, b = truth == t["id"], (found == f["id"]) & (truth != 0)
            if t["iscrowd"] or t["category_id"] != f["category_id"] or not (a | b).any():
                continue
            iou = (a & b).sum() / (a | b).sum()
            if iou > 0.5:
                iou_sum[COLUMN[t["category_id"]]] += iou
                tp[COLUMN[t["category_id"]]] += 1
                matched_truth.add(t["id"])
                matched_found.add(f["id"])
    for t in truth_segments:
        fn[COLUMN[t["category_id"]]] += t["id"] not in matched_truth and not t["iscrowd"]
    for f in found_segments:
        mask = found == f["id"]
        ignored = truth == 0
        crowds = [
            t for t in truth_segments if t["iscrowd"] and t["category_id"] == f["category_id"]
        ]
        for crowd in crowds[-1:]:
            ignored = ignored | (truth == crowd["id"])
        if f["id"] not in matched_found and (mask & ignored).sum() <= 0.5 * mask.sum():
            fp[COLUMN[f["category_id"]]] += 1
    return PanopticCounts(iou_sum, tp, fp, fn)


ids_maps = hnp.arrays(np.int32, (4, 5), elements=st.integers(0, 4))
kinds = st.lists(st.tuples(st.sampled_from([10, 20]), st.integers(0, 1)), min_size=4, max_size=4)


@settings(max_examples=300, deadline=None)
@given(ids_maps, kinds, ids_maps, kinds)
def test_equals_the_definition(
    truth: np.ndarray, truth_kinds: list[Any], found: np.ndarray, found_kinds: list[Any]
) -> None:
    truth_segments = [_segment(i + 1, *kind) for i, kind in enumerate(truth_kinds)]
    present = set(np.unique(found).tolist())
    found_segments = [
        _segment(i + 1, kind[0]) for i, kind in enumerate(found_kinds) if i + 1 in present
    ]
    counts = panoptic_counts(truth, truth_segments, found, found_segments, COLUMN)
    expected = _slow_counts(truth, truth_segments, found, found_segments)
    np.testing.assert_allclose(counts.iou_sum, expected.iou_sum)
    for got, want in zip(counts[1:], expected[1:], strict=True):
        assert got.tolist() == want.tolist()


def test_a_perfect_prediction_scores_100_with_other_and_huge_ids() -> None:
    truth = np.array([[1, 1, 16777215], [2, 2, 16777215]])
    found = np.array([[7, 7, 9], [65536, 65536, 9]])
    counts = panoptic_counts(
        truth,
        [_segment(1), _segment(2), _segment(16777215, 20)],
        found,
        [_segment(7), _segment(65536), _segment(9, 20)],
        COLUMN,
    )
    assert panoptic_quality(counts).pq.tolist() == [100, 100]


def test_void_is_left_out_of_the_union() -> None:
    # The prediction covers 2 pixels of the segment and 2 of void: IoU 2 / 2.
    counts = panoptic_counts(
        np.array([[1, 1, 0, 0]]), [_segment(1)], np.array([[5, 5, 5, 5]]), [_segment(5)], COLUMN
    )
    assert counts.iou_sum.tolist() == [1, 0]


def test_exactly_half_is_no_match() -> None:
    counts = panoptic_counts(
        np.array([[1, 1]]), [_segment(1)], np.array([[5, 0]]), [_segment(5)], COLUMN
    )
    assert (counts.true_positives[0], counts.false_negatives[0]) == (0, 1)


def test_a_prediction_on_the_crowd_of_its_class_is_no_error() -> None:
    truth, found = np.array([[1, 1, 2, 2]]), np.array([[5, 5, 6, 6]])
    counts = panoptic_counts(
        truth, [_segment(1, 10, 1), _segment(2, 10, 1)], found, [_segment(5), _segment(6)], COLUMN
    )
    # Of two crowds of one class the last counts, so the prediction on the first one is wrong.
    assert counts.false_positives.tolist() == [1, 0]
    assert counts.false_negatives.tolist() == [0, 0]


@pytest.mark.parametrize("shape", [(1, 1), (0, 3)])
def test_an_image_without_segments_counts_nothing(shape: tuple[int, int]) -> None:
    counts = panoptic_counts(np.zeros(shape, int), [], np.zeros(shape, int), [], COLUMN)
    assert all(not values.any() for values in counts)


def test_things_alone_give_nan_for_stuff_and_no_division_by_zero() -> None:
    quality = panoptic_quality(total_counts([], 2)._replace(true_positives=np.array([1, 0])))
    assert np.isnan(quality.pq).tolist() == [False, True]
    assert np.isnan(mean_quality(quality, np.array([False, True]))).all()


def test_a_class_that_is_only_predicted_wrongly_scores_0() -> None:
    counts = total_counts([], 2)._replace(false_positives=np.array([3, 0]))
    quality = panoptic_quality(counts)
    assert (quality.pq[0], quality.sq[0], quality.rq[0]) == (0, 0, 0)


def test_a_prediction_may_list_the_id_0() -> None:
    counts = panoptic_counts(
        np.array([[1, 1]]), [_segment(1)], np.array([[0, 0]]), [_segment(0)], COLUMN
    )
    assert counts.iou_sum.tolist() == [1, 0]


def test_inconsistent_predictions_are_refused() -> None:
    truth = np.array([[1, 1]])
    with pytest.raises(ValueError, match="the id 6, which no segment lists"):
        panoptic_counts(truth, [_segment(1)], np.array([[5, 6]]), [_segment(5)], COLUMN)
    with pytest.raises(ValueError, match="segment 6 has no pixel"):
        panoptic_counts(
            truth, [_segment(1)], np.array([[5, 5]]), [_segment(5), _segment(6)], COLUMN
        )
    with pytest.raises(ValueError, match=r"\(1, 3\), the truth \(1, 2\)"):
        panoptic_counts(truth, [_segment(1)], np.zeros((1, 3), int), [], COLUMN)


@settings(max_examples=50, deadline=None)
@given(ids_maps, ids_maps)
def test_the_histogram_of_a_device_is_that_of_the_array(truth: Any, found: Any) -> None:
    expected = pair_histogram(truth, found)
    for got, want in zip(
        pair_histogram_on_device(truth, torch.from_numpy(found)), expected, strict=True
    ):
        assert got.tolist() == want.tolist()


@pytest.mark.gpu
def test_the_histogram_of_a_gpu_is_that_of_the_array() -> None:
    truth, found = np.random.default_rng(0).integers(0, 3, (2, 50, 60), dtype=np.int32)
    got = pair_histogram_on_device(truth, torch.from_numpy(found).cuda())
    for values, expected in zip(got, pair_histogram(truth, found), strict=True):
        assert values.tolist() == expected.tolist()


def test_an_empty_map_has_no_pair_on_a_device() -> None:
    histogram = pair_histogram_on_device(np.zeros((0, 3), np.int32), torch.zeros(0, 3))
    assert [len(part) for part in histogram] == [0, 0, 0]
    with pytest.raises(ValueError, match=r"\(1, 3\), the truth \(0, 3\)"):
        pair_histogram_on_device(np.zeros((0, 3), np.int32), torch.zeros(1, 3))


def test_images_sum_up_from_what_occurs_on_them() -> None:
    dense = [
        PanopticCounts(np.array([0.5, 0, 0]), *np.array([[1, 0, 0], [0, 0, 2], [0, 0, 0]])),
        PanopticCounts(np.array([0.25, 0, 0]), *np.array([[1, 0, 0], [0, 0, 1], [0, 0, 0]])),
    ]
    assert occurring_counts(dense[0]).columns.tolist() == [0, 2]
    total = total_counts([occurring_counts(counts) for counts in dense], 3)
    assert [part.tolist() for part in total] == [[0.75, 0, 0], [2, 0, 0], [0, 0, 3], [0, 0, 0]]

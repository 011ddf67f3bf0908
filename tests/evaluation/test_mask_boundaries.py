"""Boundary AP: what a shift does to boundaries, and crowds, which have none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from seg_projects.evaluation.coco_precision import match_results, precision_scores
from seg_projects.evaluation.instance_scores import evaluate_instances
from seg_projects.evaluation.mask_boundaries import boundary_of_mask
from seg_projects.evaluation.panoptic_boundaries import boundary_distance


def _rle(mask: np.ndarray) -> dict[str, Any]:
    return coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))


def _square(x: int, size: int = 60) -> dict[str, Any]:
    mask = np.zeros((100, 100), dtype=np.uint8)
    mask[20 : 20 + size, x : x + size] = 1
    return _rle(mask)


shapes = st.tuples(st.integers(1, 8), st.integers(1, 8))
masks = shapes.flatmap(lambda s: hnp.arrays(np.uint8, s, elements=st.sampled_from([0, 1, 1, 1])))


@settings(max_examples=100, deadline=None)
@given(masks, st.sampled_from([0.1, 0.2, 0.4]))
def test_equals_the_pixels_whose_square_leaves_the_mask(mask: np.ndarray, share: float) -> None:
    distance = boundary_distance(mask.shape, share)
    padded = np.pad(mask, distance)
    expected = mask.copy()
    for y, x in np.argwhere(mask):
        window = padded[y : y + 2 * distance + 1, x : x + 2 * distance + 1]
        expected[y, x] = not window.all()
    assert np.array_equal(coco_mask.decode(boundary_of_mask(_rle(mask), share)), expected)


def _match(
    truth: dict[str, Any], found: dict[str, Any], crowd: int = 0, share: float = 0.02
) -> Any:
    annotation = {"image_id": 1, "category_id": 1, "area": 3600, "iscrowd": crowd}
    annotations = [annotation | {"segmentation": truth}]
    results = [{"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": found}]
    return match_results(annotations, results, [1], "segm", boundary_share=share)


def test_a_perfect_mask_has_the_boundary_iou_1() -> None:
    assert _match(_square(10), _square(10)).pairs.iou.tolist() == [1]


def test_a_shift_within_the_mask_loses_the_boundary() -> None:
    # Moved by 5 of 60 pixels: mask IoU 55 / 65; the boundaries are 3 pixels wide.
    assert _match(_square(10), _square(15), share=0.0).pairs.iou.tolist() == [55 / 65]
    assert len(_match(_square(10), _square(15)).pairs.iou) == 0


def test_a_crowd_is_overlapped_as_a_mask() -> None:
    pairs = _match(_square(10), _square(15, 40), crowd=1).pairs
    assert pairs.iou.tolist() == [1]


def test_boundary_ap_stands_beside_ap() -> None:
    annotation = {"image_id": 1, "category_id": 1, "area": 3600, "iscrowd": 0}
    annotations = [annotation | {"segmentation": _square(10)}]
    results = [{"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": _square(15)}]
    scores = evaluate_instances(
        annotations, results, {1: "cell"}, "segm", {1: "1.png"}, boundary_share=0.02
    ).scores
    plain = precision_scores(match_results(annotations, results, [1], "segm"), ["cell"])
    assert scores.summary["AP"] == plain.summary["AP"] == pytest.approx(70)
    assert (scores.summary["BAP"], scores.per_category["cell"]["BAP"]) == (0, 0)
    assert scores.worst_images["AP"][0]["value"] == pytest.approx(70)

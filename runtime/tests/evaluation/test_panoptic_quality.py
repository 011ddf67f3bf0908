"""Panoptic quality, compared with its definition written out pixel by pixel."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detectron2.evaluation.panoptic_evaluation import read_panoptic_ids
from detectron2.evaluation.panoptic_quality import (
    CategoryCounts,
    average_quality,
    count_matches,
    pair_counts,
)

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "coco_panoptic" / "annotations"

Segments = list[dict[str, Any]]


def by_definition(
    gt: np.ndarray, gt_segments: Segments, pred: np.ndarray, pred_segments: Segments
) -> dict[int, list[float]]:
    """Arxiv 1801.00868, section 4: category -> [sum of IoU, TP, FP, FN], with boolean masks."""
    counts: dict[int, list[float]] = {}
    void = gt == 0
    truths = [s for s in gt_segments if not s["iscrowd"]]
    matched = []
    for p in pred_segments:
        entry = counts.setdefault(p["category_id"], [0.0, 0, 0, 0])
        mask = pred == p["id"]
        found = None
        for t in truths:
            other = gt == t["id"]
            # Void pixels of the prediction count neither way.
            iou = (mask & other).sum() / ((mask & ~void) | other).sum()
            if t["category_id"] == p["category_id"] and iou > 0.5:
                found = t["id"]
                entry[0] += iou
        if found is not None:
            entry[1] += 1
            matched.append(found)
            continue
        ignored = void.copy()
        for crowd in gt_segments:
            if crowd["iscrowd"] and crowd["category_id"] == p["category_id"]:
                ignored |= gt == crowd["id"]
        if (mask & ignored).sum() <= mask.sum() / 2:
            entry[2] += 1
    for t in truths:
        if t["id"] not in matched:
            counts.setdefault(t["category_id"], [0.0, 0, 0, 0])[3] += 1
    return {k: v for k, v in counts.items() if any(v)}


def counted(
    gt: np.ndarray, gt_segments: Segments, pred: np.ndarray, pred_segments: Segments
) -> dict[int, list[float]]:
    pairs = pair_counts(torch.from_numpy(gt), torch.from_numpy(pred))
    counts = count_matches(pairs, gt_segments, pred_segments)
    return {k: [c.iou, c.tp, c.fp, c.fn] for k, c in counts.items() if c != CategoryCounts()}


def rectangles(rng: np.random.Generator, categories: int) -> tuple[np.ndarray, Segments]:
    """A map of up to eight overlapping rectangles, at most one crowd for each category."""
    ids = np.zeros((20, 30), dtype=np.int64)
    for number in range(1, 9):
        y, x = rng.integers(0, 15), rng.integers(0, 22)
        ids[y : y + rng.integers(3, 12), x : x + rng.integers(3, 18)] = number * 300
    segments: Segments = []
    crowds: set[int] = set()
    for number in np.unique(ids[ids > 0]):
        category = int(rng.integers(0, categories))
        crowd = bool(rng.random() < 0.2) and category not in crowds
        crowds |= {category} if crowd else set()
        area = int((ids == number).sum())
        segments.append(
            {"id": int(number), "category_id": category, "iscrowd": int(crowd), "area": area}
        )
    return ids, segments


@pytest.mark.parametrize("seed", range(40))
def test_counts_follow_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gt, gt_segments = rectangles(rng, categories=3)
    # Every second prediction is a shifted ground truth, so that there are matches.
    if seed % 2:
        pred, pred_segments = np.roll(gt, (1, 1), (0, 1)), [dict(s) for s in gt_segments]
    else:
        pred, pred_segments = rectangles(rng, categories=3)
    expected = by_definition(gt, gt_segments, pred, pred_segments)
    result = counted(gt, gt_segments, pred, pred_segments)
    assert result.keys() == expected.keys()
    for category, values in result.items():
        assert values == pytest.approx(expected[category])


@pytest.mark.skipif(not DATA.is_dir(), reason="sample data are absent (../shared/data)")
def test_counts_follow_the_definition_on_real_maps() -> None:
    import json

    annotations = json.loads((DATA / "panoptic_val2017.json").read_text())["annotations"]
    for annotation in annotations[:3]:
        gt = read_panoptic_ids(str(DATA / "panoptic_val2017" / annotation["file_name"]))
        gt = gt[::4, ::4].astype(np.int64)
        segments = [
            {**s, "area": int((gt == s["id"]).sum())}
            for s in annotation["segments_info"]
            if (gt == s["id"]).any()
        ]
        pred = np.roll(gt, (2, 3), (0, 1))
        expected = by_definition(gt, segments, pred, segments)
        result = counted(gt, segments, pred, segments)
        assert result.keys() == expected.keys()
        for category, values in result.items():
            assert values == pytest.approx(expected[category])


def test_pairs_are_counted() -> None:
    gt = torch.tensor([[0, 0, 7], [7, 16777215, 7]], dtype=torch.int32)
    pred = torch.tensor([[5, 0, 5], [5, 2, 6]])
    assert pair_counts(gt, pred) == {
        (0, 0): 1,
        (0, 5): 1,
        (7, 5): 2,
        (7, 6): 1,
        (16777215, 2): 1,
    }


@pytest.mark.gpu
def test_pairs_are_counted_on_the_device() -> None:
    gt, pred = torch.randint(0, 9, (2, 40, 50)).unbind()
    assert pair_counts(gt.cuda(), pred.cuda()) == pair_counts(gt, pred)


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\), the ground truth \(3, 2\)"):
        pair_counts(torch.zeros(3, 2), torch.zeros(2, 3))


def segment(number: int, category: int, area: int, crowd: int = 0) -> dict[str, int]:
    return {"id": number, "category_id": category, "area": area, "iscrowd": crowd}


def test_iou_of_one_half_does_not_match() -> None:
    # 4 of 8 pixels in common.
    pairs = {(1, 1): 4, (1, 2): 4}
    counts = count_matches(pairs, [segment(1, 9, 8)], [segment(1, 9, 0), segment(2, 8, 0)])
    assert counts[9] == CategoryCounts(fp=1, fn=1)
    assert counts[8] == CategoryCounts(fp=1)


@pytest.mark.parametrize(("void", "fp"), [(3, 0), (2, 1)])
def test_predictions_mostly_on_void_are_not_false(void: int, fp: int) -> None:
    pairs = {(0, 1): void, (1, 1): 2, (1, 0): 90}
    counts = count_matches(pairs, [segment(1, 9, 92)], [segment(1, 9, 0)])
    assert counts[9] == CategoryCounts(fp=fp, fn=1)


def test_crowds_neither_match_nor_miss() -> None:
    crowd = [segment(1, 9, 5, crowd=1)]
    assert count_matches({(1, 1): 5}, crowd, [segment(1, 9, 0)]) == {}
    assert count_matches({(1, 1): 5}, crowd, [segment(1, 8, 0)]) == {8: CategoryCounts(fp=1)}


def test_map_and_list_must_agree() -> None:
    with pytest.raises(KeyError, match=r"segments \[1\], segments_info has \[2\]"):
        count_matches({(0, 1): 3}, [], [segment(2, 9, 0)])


def test_quality_averages_categories_that_occur() -> None:
    counts = {1: CategoryCounts(iou=1.6, tp=2, fp=1, fn=1), 2: CategoryCounts(fn=3)}
    quality = average_quality(counts, [1, 2, 3])
    # Category 1: 1.6 / (2 + 1/2 + 1/2), 1.6 / 2 and 2 / 3; category 2: zeros; 3 does not occur.
    assert quality == pytest.approx((1.6 / 3 / 2, 0.4, 1 / 3, 2))


def test_quality_without_segments_is_nan() -> None:
    pq, sq, rq, categories = average_quality({}, [1, 2])
    assert math.isnan(pq)
    assert math.isnan(sq)
    assert math.isnan(rq)
    assert categories == 0

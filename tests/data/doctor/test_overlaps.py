"""Pairs of objects that cover nearly the same pixels, found without comparing all pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from seg_projects.data.doctor import overlaps
from seg_projects.data.doctor.overlaps import STRONG_OVERLAP, overlapping_pairs

SIZE = (40, 50)


def _annotation(left: float, top: float, width: float, height: float) -> dict[str, Any]:
    right, bottom = left + width, top + height
    corners = [left, top, right, top, right, bottom, left, bottom]
    return {"bbox": [left, top, width, height], "segmentation": [corners]}


@pytest.mark.parametrize("most_pairs", [1, 50, 1 << 20])
def test_pairs_are_those_of_all_masks(monkeypatch: pytest.MonkeyPatch, most_pairs: int) -> None:
    monkeypatch.setattr(overlaps, "MOST_PAIRS", most_pairs)
    draw = np.random.default_rng(0)
    annotations = [
        _annotation(
            *(draw.integers(0, (30, 20)) + shift).tolist(), *draw.integers(4, 10, 2).tolist()
        )
        for shift in draw.uniform(0, 1, 120)
    ]
    masks = coco_mask.frPyObjects([a["segmentation"][0] for a in annotations], *SIZE)
    iou = np.triu(coco_mask.iou(masks, masks, [0] * len(masks)), 1)
    expected = [(i, j, iou[i, j]) for i, j in np.argwhere(iou >= STRONG_OVERLAP).tolist()]
    assert len(expected) > 20
    assert overlapping_pairs(annotations, SIZE) == expected


def test_objects_side_by_side_are_no_pair() -> None:
    assert overlapping_pairs([_annotation(0, 0, 4, 4), _annotation(4, 0, 4, 4)], SIZE) == []


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_objects_are_no_pair(count: int) -> None:
    assert overlapping_pairs([_annotation(0, 0, 4, 4)] * count, SIZE) == []


def test_pair_among_thousands_of_small_objects_is_found() -> None:
    annotations = [_annotation(x, y, 3, 3) for x in range(0, 400, 4) for y in range(0, 400, 4)]
    assert overlapping_pairs([*annotations, annotations[5]], (400, 400)) == [(5, 10000, 1.0)]

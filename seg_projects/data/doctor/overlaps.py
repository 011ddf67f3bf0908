"""Instances of an image that cover nearly the same pixels."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from seg_projects.data.conversion.coco_instances import encode_segmentation
from seg_projects.data.doctor.findings import Finding, Record

# Intersection over union of two masks.
SAME_OBJECT = 0.9
STRONG_OVERLAP = 0.5
# Pairs of boxes that are looked at at a time.
MOST_PAIRS = 1 << 20
_IDENTITY = ("image_id", "category_id", "bbox", "segmentation")


def check_repetitions(annotations: Sequence[Record]) -> Iterator[Finding]:
    """Annotations that equal an earlier one in everything but their id."""
    first: dict[str, Any] = {}
    for annotation in annotations:
        other = first.setdefault(_identity(annotation), annotation.get("id"))
        if other != annotation.get("id"):
            where = f"annotation {annotation.get('id')}"
            yield Finding("duplicate annotation", where, f"equals annotation {other}")


def check_overlaps(annotations: Sequence[Record], images: dict[Any, Record]) -> Iterator[Finding]:
    """Pairs of sound annotations that overlap strongly, crowds aside.

    Only masks whose boxes meet are compared, as run lengths. Equal annotations are left to
    :func:`check_repetitions`.
    """
    by_image: dict[Any, list[Record]] = defaultdict(list)
    for annotation in annotations:
        if annotation["image_id"] in images and not annotation.get("iscrowd"):
            by_image[annotation["image_id"]].append(annotation)
    for image_id, beside in by_image.items():
        image = images[image_id]
        pairs = overlapping_pairs(beside, (image["height"], image["width"]))
        for row, column, overlap in pairs:
            first, second = beside[row], beside[column]
            if _identity(first) == _identity(second):
                continue
            equal = first["category_id"] == second["category_id"] and overlap >= SAME_OBJECT
            kind = "duplicate annotation" if equal else "overlapping annotations"
            where = f"annotation {second['id']} of {image['file_name']}"
            text = f"IoU {overlap:.2f} with annotation {first['id']}"
            if first["category_id"] != second["category_id"]:
                text += f", of category {first['category_id']} instead of {second['category_id']}"
            yield Finding(kind, where, text, image=image["file_name"], shape=second)


def overlapping_pairs(
    annotations: Sequence[Record], size: tuple[int, int]
) -> list[tuple[int, int, float]]:
    """Index pairs (first < second) whose masks have an IoU of ``STRONG_OVERLAP`` or more, and it.

    Args:
        annotations: sound ones of an image of ``size`` (H, W).
        size: of the image.
    """
    boxes = np.array([a["bbox"] for a in annotations], dtype=np.float64).reshape(-1, 4)
    masks: list[Any] = [None] * len(boxes)
    bounds, areas = np.zeros_like(boxes), np.zeros(len(boxes))
    found: list[tuple[int, int, float]] = []
    for pairs in _meeting(boxes):
        new = [place for place in np.unique(pairs).tolist() if masks[place] is None]
        for place in new:
            masks[place] = encode_segmentation(annotations[place]["segmentation"], size)
            bounds[place], areas[place] = (
                coco_mask.toBbox(masks[place]),
                coco_mask.area(masks[place]),
            )
        # The intersection is within that of the bounds and the smaller mask, the union no less
        # than the larger mask.
        most = np.minimum(_common_sides(bounds, pairs).prod(axis=1), areas[pairs].min(axis=1))
        found += _strong(pairs[most >= STRONG_OVERLAP * areas[pairs].max(axis=1)], masks)
    return sorted(found)


def _meeting(boxes: np.ndarray) -> Iterator[np.ndarray]:
    """Pairs (P, 2) of (R, 4) XYWH boxes that share area, first < second, in bounded portions."""
    order = np.argsort(boxes[:, 0], kind="stable")
    left = boxes[order, 0]
    # Boxes further right begin where a box ends, or behind.
    stop = np.searchsorted(left, left + boxes[order, 2])
    start = np.arange(1, len(boxes) + 1)
    counts = np.maximum(stop - start, 0)
    portion = np.cumsum(counts) // MOST_PAIRS
    for rows in np.split(np.arange(len(boxes)), np.flatnonzero(np.diff(portion)) + 1):
        repeated = np.repeat(rows, counts[rows])
        begins = np.cumsum(counts[rows]) - counts[rows]
        nth = np.arange(len(repeated)) - np.repeat(begins, counts[rows])
        pairs = np.sort(order[np.stack((repeated, start[repeated] + nth), axis=1)], axis=1)
        yield pairs[(_common_sides(boxes, pairs) > 0).all(axis=1)]


def _common_sides(boxes: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Sides (P, 2) of the intersections of XYWH boxes, 0 or less where they do not meet."""
    low, high = boxes[:, :2][pairs], (boxes[:, :2] + boxes[:, 2:])[pairs]  # (P, 2, 2)
    return high.min(axis=1) - low.max(axis=1)


def _strong(pairs: np.ndarray, masks: Sequence[Any]) -> Iterator[tuple[int, int, float]]:
    """Those of the pairs whose IoU is ``STRONG_OVERLAP`` or more, with it."""
    pairs = pairs[np.lexsort(pairs.T[::-1])]
    for group in np.split(pairs, np.flatnonzero(np.diff(pairs[:, 0])) + 1):
        seconds = group[:, 1].tolist()
        if not seconds:
            continue
        first = int(group[0, 0])
        others = [masks[second] for second in seconds]
        overlaps = coco_mask.iou([masks[first]], others, [0] * len(others))[0]
        for second, overlap in zip(seconds, overlaps.tolist(), strict=True):
            if overlap >= STRONG_OVERLAP:
                yield first, second, overlap


def _identity(annotation: Record) -> str:
    return json.dumps([annotation.get(key) for key in _IDENTITY])

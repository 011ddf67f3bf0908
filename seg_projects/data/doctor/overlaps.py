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
        rows, columns, overlaps = overlapping_pairs(beside, (image["height"], image["width"]))
        for row, column, overlap in zip(rows, columns, overlaps, strict=True):
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
) -> tuple[list[int], list[int], list[float]]:
    """Index pairs (first < second) whose masks have an IoU of ``STRONG_OVERLAP`` or more, and it.

    Args:
        annotations: sound ones of an image of ``size`` (H, W).
        size: of the image.
    """
    boxes = np.array([a["bbox"] for a in annotations], dtype=np.float64)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    sides = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)  # (R, R, 2)
    meet = np.all(sides > 0, axis=-1) & ~np.eye(len(boxes), dtype=bool)
    places = np.flatnonzero(meet.any(axis=0)).tolist()
    if not places:
        return [], [], []
    masks = [encode_segmentation(annotations[i]["segmentation"], size) for i in places]
    overlap = np.triu(coco_mask.iou(masks, masks, [0] * len(masks)), 1)
    rows, columns = np.nonzero(overlap >= STRONG_OVERLAP)
    chosen = np.array(places)
    return chosen[rows].tolist(), chosen[columns].tolist(), overlap[rows, columns].tolist()


def _identity(annotation: Record) -> str:
    return json.dumps([annotation.get(key) for key in _IDENTITY])

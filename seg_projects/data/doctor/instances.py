"""Checks of COCO instances annotations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from seg_projects.data.conversion.coco_instances import encode_segmentation, expand_counts
from seg_projects.data.doctor.findings import Finding, Record
from seg_projects.data.doctor.images import repeated, sound_images
from seg_projects.data.doctor.overlaps import check_overlaps, check_repetitions

REQUIRED = ("id", "image_id", "category_id")
# Polygon tools differ in whether the outline belongs to the object: by a pixel on each side.
BOX_TOLERANCE = 2.0
# COCO keeps boxes of thin tips that have no pixel: up to 3.5 pixels in its 2017 files.
MASK_BOX_TOLERANCE = 4.0


def check_instances(content: Record) -> Iterator[Finding]:
    """Every annotation by itself, and those of an image beside each other."""
    unsound: set[Any] = set()
    for finding in check_instance_records(content, check_annotation):
        if finding.severity == "error" and finding.shape is not None:
            unsound.add(finding.shape["id"])
        yield finding
    annotations = content["annotations"]
    yield from check_repetitions(annotations)
    sound = [a for a in annotations if _is_complete(a) and a["id"] not in unsound]
    yield from check_overlaps(sound, sound_images(content))


def _is_complete(annotation: Record) -> bool:
    return all(key in annotation for key in REQUIRED)


def check_instance_records(
    content: Record, check: Callable[[Record, Record, set[Any]], Iterator[Finding]]
) -> Iterator[Finding]:
    """The ids of the annotations, and ``check`` (annotation, image, category ids) of each."""
    annotations = content["annotations"]
    for value in repeated(a.get("id") for a in annotations):
        yield Finding("duplicate annotation id", "annotations", f"id {value} occurs again")
    images = sound_images(content)
    unsound = {i.get("id") for i in content["images"]} - set(images)
    categories = {c.get("id") for c in content["categories"]}
    for annotation in annotations:
        if missing := [k for k in REQUIRED if k not in annotation]:
            where = f"annotation {annotation.get('id')}"
            yield Finding("malformed annotation", where, f"it has no {missing[0]!r}")
        elif annotation["image_id"] in images:
            image = images[annotation["image_id"]]
            for finding in check(annotation, image, categories):
                yield finding._replace(image=image["file_name"], shape=annotation)
        elif annotation["image_id"] not in unsound:
            where = f"annotation {annotation['id']}"
            yield Finding("annotation without image", where, f"image {annotation['image_id']}")


def check_annotation(annotation: Record, image: Record, categories: set[Any]) -> Iterator[Finding]:
    """One annotation of a sound image record."""
    found = list(check_fields(annotation, image, categories))
    yield from found
    where, size = _place(annotation, image)
    segmentation = annotation.get("segmentation")
    mask_findings = list(check_segmentation(segmentation, size, where))
    yield from mask_findings
    no_box = any(f.kind == "malformed box" for f in found)
    if not no_box and not any(f.severity == "error" for f in mask_findings):
        yield from _check_against_mask(annotation, size, where)


def check_fields(annotation: Record, image: Record, categories: set[Any]) -> Iterator[Finding]:
    """Category, ``iscrowd`` and box of one annotation of a sound image record, not its mask."""
    where, size = _place(annotation, image)
    if annotation["category_id"] not in categories:
        yield Finding("unknown category", where, f"id {annotation['category_id']}")
    crowd = annotation.get("iscrowd", 0)
    if crowd not in (0, 1):
        yield Finding("invalid iscrowd", where, f"{crowd!r} is neither 0 nor 1")
    elif crowd and isinstance(annotation.get("segmentation"), list):
        yield Finding("crowd with polygons", where, "crowds have run lengths")
    yield from _check_box(annotation.get("bbox"), size, where)


def _place(annotation: Record, image: Record) -> tuple[str, tuple[int, int]]:
    """How findings name the annotation, and (H, W) of its image."""
    where = f"annotation {annotation['id']} of {image['file_name']}"
    return where, (image["height"], image["width"])


def _check_box(box: Any, size: tuple[int, int], where: str) -> Iterator[Finding]:
    numbers = isinstance(box, list) and len(box) == 4
    if not numbers or not all(isinstance(v, int | float) and math.isfinite(v) for v in box):
        yield Finding("malformed box", where, f"{box!r} is not [left, top, width, height]")
        return
    left, top, width, height = box
    if width <= 0 or height <= 0:
        yield Finding("malformed box", where, f"{box} has no area")
        return
    beyond = max(-left, -top, left + width - size[1], top + height - size[0])
    if beyond > BOX_TOLERANCE:
        yield Finding("box outside image", where, f"{box} leaves it by {beyond:g} pixels")


def check_segmentation(segmentation: Any, size: tuple[int, int], where: str) -> Iterator[Finding]:
    """Polygons or run lengths of an image of ``size`` (H, W)."""
    if isinstance(segmentation, list) and segmentation:
        yield from _check_polygons(segmentation, size, where)
    elif isinstance(segmentation, dict) and {"size", "counts"} <= set(segmentation):
        yield from _check_runs(segmentation, size, where)
    else:
        yield Finding("malformed annotation", where, "it has neither polygons nor run lengths")


def _check_polygons(
    polygons: Sequence[Any], size: tuple[int, int], where: str
) -> Iterator[Finding]:
    for polygon in polygons:
        points = _points(polygon)
        if points is None:
            yield Finding("degenerate polygon", where, f"{str(polygon)[:60]}: x, y of 3 points")
            continue
        if not polygon_area(points):
            yield Finding("degenerate polygon", where, f"{str(polygon)[:60]} has no area")
        (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        beyond = max(-left, -top, right - size[1], bottom - size[0])
        if beyond > BOX_TOLERANCE:
            yield Finding("polygon outside image", where, f"by {beyond:g} pixels")


def _points(polygon: Any) -> np.ndarray | None:
    """(P, 2) float64 of a list x, y, x, y, ... of three points or more; None of anything else."""
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        return None
    try:
        values = np.array(polygon)
    except ValueError:  # lists in it
        return None
    if values.ndim != 1 or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        return None
    return values.astype(np.float64).reshape(-1, 2)


def polygon_area(points: np.ndarray) -> float:
    """The area inside the (P, 2) ``points``, by the shoelace formula."""
    x, y = (points - points[0]).T
    # The first point is the origin: its products with the last one vanish.
    return float(abs(np.dot(x[:-1], y[1:]) - np.dot(y[:-1], x[1:]))) / 2


def _check_runs(segmentation: Record, size: tuple[int, int], where: str) -> Iterator[Finding]:
    if list(segmentation["size"]) != list(size):
        yield Finding(
            "run lengths of another size", where, f"{segmentation['size']}, the image {list(size)}"
        )
        return
    counts = segmentation["counts"]
    try:
        runs = expand_counts(counts) if isinstance(counts, str) else list(counts)
        total = sum(runs) if min(runs, default=0) >= 0 else -1
    except (TypeError, ValueError, IndexError):
        total = -1
    if total != size[0] * size[1]:
        text = f"they cover {total} of {size[0] * size[1]} pixels" if total >= 0 else "not readable"
        yield Finding("corrupt run lengths", where, text)


def _check_against_mask(annotation: Record, size: tuple[int, int], where: str) -> Iterator[Finding]:
    segmentation = annotation["segmentation"]
    pixels, box = measure(segmentation, size)
    if not pixels:
        yield Finding("empty mask", where, "it covers no pixel")
        return
    stated = annotation["bbox"]
    corners = np.array([stated[0], stated[1], stated[0] + stated[2], stated[1] + stated[3]])
    difference = np.abs(corners - (box[0], box[1], box[0] + box[2], box[1] + box[3])).max()
    if difference > MASK_BOX_TOLERANCE:
        yield Finding("box differs from mask", where, f"{stated}, the mask's {box}")
    area = annotation.get("area")
    if isinstance(area, bool) or not isinstance(area, int | float):
        yield Finding("wrong area", where, f"{area!r} is no number")
        return
    if annotation.get("iscrowd"):
        return  # never a target: COCO itself gives them areas that are not those of their masks
    # Area of the outline or number of pixels: they differ by about half the outline.
    tolerance = 0.05 * pixels + _outline(segmentation) + 2
    if abs(area - pixels) > tolerance:
        yield Finding("wrong area", where, f"{area:g}, the mask has {pixels} pixels")


def measure(segmentation: Any, size: tuple[int, int]) -> tuple[int, list[int]]:
    """Pixels and box (left, top, width, height) of a sound segmentation, from its run lengths."""
    runs = encode_segmentation(segmentation, size)
    return int(coco_mask.area(runs)), [int(v) for v in coco_mask.toBbox(runs)]


def _outline(segmentation: Any) -> float:
    """Length of the polygons in pixels; 0 for run lengths, whose area is exact."""
    if not isinstance(segmentation, list):
        return 0.0
    length = 0.0
    for polygon in segmentation:
        points = np.array(polygon).reshape(-1, 2)
        steps = np.diff(points, axis=0, append=points[:1])
        length += float(np.hypot(steps[:, 0], steps[:, 1]).sum())
    return length

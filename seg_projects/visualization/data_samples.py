"""Annotated images of a data set for the data doctor's page, whichever kind it is of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seg_projects.data.class_masks import read_class_masks
from seg_projects.data.conversion.annotated import MALFORMED
from seg_projects.data.conversion.coco_instances import decode_segmentation
from seg_projects.data.conversion.image_files import read_pixels
from seg_projects.data.doctor import Finding
from seg_projects.data.panoptic_ids import read_panoptic_ids
from seg_projects.visualization.class_masks import combined_categories, painted_classes
from seg_projects.visualization.overlay import (
    Category,
    categories_from_coco,
    flatten_masks,
    instance_overlay,
    panoptic_overlay,
    semantic_overlay,
)
from seg_projects.visualization.pictures import CARD_SIDE, read_picture, shrunk

Record = Mapping[str, Any]
Picture = np.ndarray


def annotated_samples(
    content: Mapping[str, Any],
    images: Path,
    masks: Path,
    findings: Sequence[Finding],
    *,
    label_table: np.ndarray | None = None,
    count: int = 8,
) -> list[tuple[str, Picture]]:
    """``count`` images without errors, evenly spread, each with what annotates it.

    Args:
        content: of a COCO file.
        images: folder of the images.
        masks: of the PNG files of a panoptic set.
        findings: whose errors leave out their images.
        label_table: of a data set of label maps or masks of classes, whose image records name
            their files: value in the file -> class, or 0, 1 or ignored.
        count: at most so many.
    """
    wrong = {f.image for f in findings if f.severity == "error"}
    wrong |= {f.where for f in findings if f.severity == "error"}
    by_image: dict[Any, list[Record]] = defaultdict(list)
    for annotation in content["annotations"]:
        by_image[annotation.get("image_id")].append(annotation)
    usable = [
        record
        for record in content["images"]
        if record.get("file_name") not in wrong and by_image[record.get("id")]
    ]
    chosen = np.linspace(0, len(usable) - 1, min(count, len(usable))).round().astype(int)
    categories = _colored(content["categories"])

    def paint(record: Record) -> Picture:
        image = np.asarray(read_picture(images / record["file_name"]))
        if "class_mask_file_names" in record:
            return _paint_classes(image, record, label_table, categories)
        if label_table is not None:
            labels = label_table[read_pixels(Path(record["sem_seg_file_name"]))]
            return semantic_overlay(*_card_sized(image, labels.astype(np.int32)), categories)
        return _paint_objects(image, by_image[record["id"]], masks, categories)

    samples = []
    for record in (usable[i] for i in chosen):
        try:
            samples.append((record["file_name"], paint(record)))
        except MALFORMED:  # among the findings, though they name no image
            continue
    return samples


def _card_sized(image: Picture, ids: np.ndarray) -> tuple[Picture, np.ndarray]:
    """Both in the size of a card, so that names stay legible."""
    if max(ids.shape) <= CARD_SIDE:
        return image, ids
    small = np.asarray(shrunk(Image.fromarray(image)))
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip(small.shape[:2], ids.shape, strict=True)
    )
    return small, ids[rows[:, None], columns]


def _colored(records: Sequence[Record]) -> dict[int, Category]:
    things = [{"isthing": 1, **record} for record in records if {"id", "name"} <= set(record)]
    return categories_from_coco(things)


def _paint_classes(
    image: Picture, record: Record, table: np.ndarray | None, categories: dict[int, Category]
) -> Picture:
    assert table is not None
    ids, segments = painted_classes(read_class_masks(record, table))
    combined = combined_categories(list(categories.values()), segments)
    return instance_overlay(*_card_sized(image, ids), segments, combined)


def _paint_objects(
    image: Picture, annotations: Sequence[Record], masks: Path, categories: dict[int, Category]
) -> Picture:
    first = annotations[0]
    if "segments_info" in first:
        ids = read_panoptic_ids(masks / first["file_name"])
        return panoptic_overlay(*_card_sized(image, ids), first["segments_info"], categories)
    size = (image.shape[0], image.shape[1])
    rows = sorted(annotations, key=lambda a: -float(a.get("area") or 0))
    decoded = np.stack([decode_segmentation(a["segmentation"], size) for a in rows])
    ids, segments = flatten_masks(decoded, [a["category_id"] for a in rows])
    return instance_overlay(*_card_sized(image, ids), segments, categories)

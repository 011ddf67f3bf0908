"""What can be put right without a choice: areas, boxes, and ``isthing`` of segments.

They follow from the pixels and the categories. Everything else is left to the person who knows.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from seg_projects.data.conversion.coco_panoptic import measure_segments
from seg_projects.data.doctor.findings import Record
from seg_projects.data.doctor.images import sound_images
from seg_projects.data.doctor.instances import check_annotation, check_segmentation, measure
from seg_projects.data.panoptic_ids import read_panoptic_ids
from seg_projects.errors import UserError

_BY_MASK = {"box differs from mask", "box outside image", "malformed box", "wrong area"}


def corrected(content: Record, masks: Path) -> tuple[Record, Counter[str]]:
    """A corrected copy of a COCO file's ``content``, and how often each field was set.

    Args:
        content: instances or panoptic; left as it is.
        masks: folder of the PNG files of a panoptic set.
    """
    content = copy.deepcopy(content)
    images = sound_images(content)
    categories = {c["id"]: c for c in content["categories"] if "id" in c}
    changed: Counter[str] = Counter()
    for annotation in content["annotations"]:
        image = images.get(annotation.get("image_id"))
        if image is None:
            continue
        if "segments_info" in annotation:
            changed.update(_correct_segments(annotation, image, categories, masks))
        elif {"id", "category_id"} <= set(annotation):
            changed.update(_correct_annotation(annotation, image, categories))
    return content, changed


def _correct_annotation(
    annotation: Record, image: Record, categories: dict[int, Record]
) -> Iterator[str]:
    size = (image["height"], image["width"])
    if any(
        f.severity == "error" for f in check_segmentation(annotation.get("segmentation"), size, "")
    ):
        return
    found = {f.kind for f in check_annotation(annotation, image, set(categories))}
    pixels, box = measure(annotation["segmentation"], size)
    if not pixels:
        return
    if found & (_BY_MASK - {"wrong area"}):
        annotation["bbox"] = box
        yield "bbox"
        # Only a sound box lets the area be compared with the mask.
        found |= {f.kind for f in check_annotation(annotation, image, set(categories))}
    if "wrong area" in found:
        annotation["area"] = pixels
        yield "area"


def _correct_segments(
    annotation: Record, image: Record, categories: dict[int, Record], masks: Path
) -> Iterator[str]:
    try:
        ids = read_panoptic_ids(masks / str(annotation.get("file_name")))
    except UserError:
        return
    measured = measure_segments(ids) if ids.shape == (image["height"], image["width"]) else {}
    for segment in annotation["segments_info"] or ():
        category = categories.get(segment.get("category_id"))
        if category is not None and "isthing" in segment:
            is_thing = category.get("isthing")
            if bool(segment["isthing"]) != bool(is_thing):
                segment["isthing"] = is_thing
                yield "isthing"
        if segment.get("id") in measured:
            area, box = measured[segment["id"]]
            for key, value in (("area", area), ("bbox", box)):
                if key in segment and segment[key] != value:
                    segment[key] = value
                    yield key

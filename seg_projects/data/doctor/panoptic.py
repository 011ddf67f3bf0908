"""Checks of COCO panoptic annotations: the JSON against the PNG files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from seg_projects.data.conversion.coco_panoptic import measure_segments
from seg_projects.data.doctor.findings import Finding, Record
from seg_projects.data.doctor.images import in_threads, is_whole, repeated, sound_images
from seg_projects.data.panoptic_ids import ids_from_image

MAX_ID = 2**24 - 1


def check_panoptic(
    content: Record, masks: Path, *, divisor: int, workers: int
) -> Iterator[Finding]:
    """Every annotation and its PNG in ``masks``; at most ``divisor`` - 1 instances of a class."""
    annotations = content["annotations"]
    images = sound_images(content)
    annotated = {a.get("image_id") for a in annotations}
    for image_id, record in images.items():
        if image_id not in annotated:
            yield Finding("image without annotation", record["file_name"], f"image {image_id}")
    yield from check_segment_records(content, divisor=divisor)

    def check(annotation: Record) -> list[Finding]:
        image = images[annotation["image_id"]]
        found = _check_png(annotation, image, masks)
        return [finding._replace(image=image["file_name"]) for finding in found]

    usable = [a for a in annotations if _is_sound(a) and a["image_id"] in images]
    for found in in_threads(check, usable, workers):
        yield from found


def check_segment_records(content: Record, *, divisor: int) -> Iterator[Finding]:
    """The annotations of a panoptic file by themselves; no PNG is opened."""
    annotations = content["annotations"]
    images = sound_images(content)
    unsound = {i.get("id") for i in content["images"]} - set(images)
    for value in repeated(a.get("image_id") for a in annotations):
        yield Finding("image annotated twice", "annotations", f"image {value}")
    things = {c["id"]: bool(c.get("isthing")) for c in content["categories"] if "id" in c}
    for number, annotation in enumerate(annotations):
        where = str(annotation.get("file_name", f"annotations[{number}]"))
        if not _is_sound(annotation):
            text = "needs 'image_id', 'file_name' and 'segments_info' with 'id', 'category_id'"
            yield Finding("malformed annotation", where, text)
        elif annotation["image_id"] in images:
            name = images[annotation["image_id"]]["file_name"]
            for finding in _check_segments(annotation["segments_info"], things, where, divisor):
                yield finding._replace(image=name)
        elif annotation["image_id"] not in unsound:
            yield Finding("annotation without image", where, f"image {annotation['image_id']}")


def _is_sound(annotation: Record) -> bool:
    segments = annotation.get("segments_info")
    if "image_id" not in annotation or not isinstance(annotation.get("file_name"), str):
        return False
    return isinstance(segments, list) and all(
        is_whole(s.get("id")) and "category_id" in s for s in segments
    )


def _check_segments(
    segments: Sequence[Record], things: Mapping[int, bool], where: str, divisor: int
) -> Iterator[Finding]:
    """``segments_info`` by itself."""
    for segment in segments:
        if not 0 < segment["id"] <= MAX_ID:
            yield Finding("segment id out of range", where, f"id {segment['id']}; 0 is void")
        category = segment["category_id"]
        if category not in things:
            yield Finding("unknown category", where, f"id {category} of segment {segment['id']}")
        elif bool(segment.get("isthing", things[category])) != things[category]:
            text = f"segment {segment['id']} contradicts its category {category}"
            yield Finding("contradicting isthing", where, text)
        if segment.get("iscrowd", 0) not in (0, 1):
            yield Finding("invalid iscrowd", where, f"segment {segment['id']}")
    for value in repeated(s["id"] for s in segments):
        yield Finding("duplicate segment id", where, f"id {value}")
    for category, count in Counter(s["category_id"] for s in segments).items():
        if count > 1 and things.get(category) is False:
            text = f"category {category} in {count} segments; one is usual"
            yield Finding("stuff in several segments", where, text)
        elif count >= divisor:
            text = f"{count} of category {category}, the divisor is {divisor}"
            yield Finding("more instances than the divisor", where, text)


def _check_png(annotation: Record, image: Record, masks: Path) -> list[Finding]:
    name = annotation["file_name"]
    path = masks / name
    if not path.is_file():
        return [Finding("missing PNG", name, f"{path} does not exist")]
    try:
        with Image.open(path) as opened:
            kind = opened.mode
            ids = ids_from_image(opened)
    except (OSError, SyntaxError, ValueError) as error:
        return [Finding("unreadable PNG", name, str(error))]
    findings = []
    if kind not in ("RGB", "RGBA", "P"):
        text = f"its mode is {kind}; ids are R + 256 G + 65536 B"
        findings.append(Finding("PNG without colour", name, text))
    elif ids.shape != (image["height"], image["width"]):
        text = f"{ids.shape[1]} x {ids.shape[0]}, JSON {image['width']} x {image['height']} pixels"
        findings.append(Finding("PNG of another size", name, text))
    else:
        findings += _check_pixels(ids, annotation["segments_info"], name)
    return findings


def _check_pixels(ids: np.ndarray, segments: Sequence[Record], where: str) -> Iterator[Finding]:
    measured = measure_segments(ids)
    for segment in segments:
        if segment["id"] not in measured:
            yield Finding("segment not in PNG", where, f"id {segment['id']}")
            continue
        area, box = measured[segment["id"]]
        shape = {"bbox": box}
        if segment.get("area", area) != area:
            text = f"segment {segment['id']}: {segment['area']}, the PNG has {area} pixels"
            yield Finding("wrong segment area", where, text, shape=shape)
        if "bbox" in segment and list(segment["bbox"]) != box:
            text = f"segment {segment['id']}: {segment['bbox']}, in the PNG {box}"
            yield Finding("wrong segment box", where, text, shape=shape)
    for unlisted in sorted(set(measured) - {s["id"] for s in segments}):
        area, box = measured[unlisted]
        text = f"id {unlisted}: {area} pixels"
        yield Finding("segment not in JSON", where, text, shape={"bbox": box})

"""COCO instances: the writer, and the reader of COCO's own files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from seg_projects.data.conversion.annotated import (
    MALFORMED,
    AnnotatedImage,
    BoxMask,
    ConversionLog,
    MaskedObject,
    ReaderOptions,
    Record,
)
from seg_projects.data.conversion.categories import CategoryChoice
from seg_projects.data.conversion.image_files import checked_size, locate_image, read_json
from seg_projects.data.conversion.output import OutputFolder
from seg_projects.errors import UserError
from seg_projects.files import write_json

# Coordinates in pixels.
_FARTHEST = 1e6
_LONGEST_OUTLINE = 4e6


def write_coco_instances(
    images: Iterable[AnnotatedImage],
    choice: CategoryChoice,
    output: OutputFolder,
    log: ConversionLog,
) -> Path:
    """Writes the things of ``images``; returns the JSON.

    Objects keep the pixels that others hide. Polygons stay polygons; everything else, objects
    with holes and crowds too, becomes run lengths. Areas and boxes are those of the pixels.
    """
    image_records: list[Record] = []
    annotations: list[Record] = []
    for image in images:
        record = output.add_image(image, len(image_records) + 1)
        image_records.append(record)
        for item in image.objects:
            if choice.role(item.label) != "thing":
                continue
            if not item.mask.area:
                log.note("object without pixels", f"{image.file_name}: {item.label!r}; left out")
                continue
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": record["id"],
                    "category_id": item.label,
                    **shape_record(item, image.size),
                }
            )
    output.require_images(image_records)
    choice.raise_for_unknown()
    categories = [record for record in choice.records() if record["isthing"]]
    ids = {record["name"]: record["id"] for record in categories}
    for annotation in annotations:
        annotation["category_id"] = ids[annotation["category_id"]]
    for record in categories:
        del record["isthing"]
    content = {"images": image_records, "annotations": annotations, "categories": categories}
    write_json(output.json_file, content)
    return output.json_file


def shape_record(item: MaskedObject, size: tuple[int, int]) -> Record:
    """COCO's ``segmentation``, ``area``, ``bbox``, ``iscrowd`` of an object with pixels."""
    return {
        "segmentation": _segmentation(item, size),
        "area": item.mask.area,
        "bbox": item.mask.box_xywh,
        "iscrowd": int(item.is_crowd),
    }


def _segmentation(item: MaskedObject, size: tuple[int, int]) -> list[list[float]] | Record:
    if item.polygons and not item.is_crowd:
        return item.polygons
    encoded = coco_mask.encode(np.asfortranarray(item.mask.full(size), dtype=np.uint8))
    return {"size": encoded["size"], "counts": encoded["counts"].decode("ascii")}


def read_coco_instances(
    source: Path, options: ReaderOptions, log: ConversionLog
) -> Iterator[AnnotatedImage]:
    """The images of the COCO instances file ``source``; larger objects are drawn first."""
    content = read_coco_json(source, "bbox", "a COCO instances file")
    folder = options.images or source.parent
    names = {record["id"]: record["name"] for record in content["categories"]}
    by_image: dict[int, list[Record]] = defaultdict(list)
    for annotation in content["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    for record in content["images"]:
        image = listed_image(record, folder, log)
        if image is not None:
            annotations = by_image[record["id"]]
            image.objects.extend(_read_objects(annotations, names, image.size, log))
            yield image


def listed_image(record: Record, folder: Path, log: ConversionLog) -> AnnotatedImage | None:
    """The image of a COCO ``record``, yet without objects; None, with a note, if unusable."""
    try:
        path, name = locate_image(folder, record["file_name"])
    except ValueError as error:
        log.note("missing image", f"image {record['id']}: {error}; left out")
        return None
    size = checked_size(path, name, log, (record["height"], record["width"]))
    if size is None:
        return None
    return AnnotatedImage(file_name=name, source=path, size=size, objects=[], image_id=record["id"])


def read_coco_json(source: Path, key: str, what: str) -> dict[str, Any]:
    """A COCO file with the parts that all of them have; annotations, if any, hold ``key``.

    Raises:
        UserError: it is none.
    """
    content = read_json(source)
    parts = ("images", "annotations", "categories")
    if not isinstance(content, dict) or any(part not in content for part in parts):
        raise UserError(f"{source} is not {what}: it needs {', '.join(parts)}.")
    for part, fields in (
        ("images", {"id": int | str, "file_name": str, "height": int, "width": int}),
        ("categories", {"id": int, "name": str}),
        ("annotations", {"image_id": int | str}),
    ):
        _check_records(content[part], fields, f"{source}: {part}")
    if content["annotations"] and key not in content["annotations"][0]:
        raise UserError(f"{source} is not {what}: its annotations have no {key!r}.")
    return content


def _check_records(records: Any, fields: Mapping[str, Any], where: str) -> None:
    if not isinstance(records, list):
        raise UserError(f"{where} is no list.")
    for number, record in enumerate(records):
        for field, kind in fields.items():
            if not isinstance(record, dict) or not isinstance(record.get(field), kind):
                raise UserError(
                    f"{where}[{number}] has no sound {field!r}; tools/inspect_data.py lists all "
                    "defects."
                )


def decode_segmentation(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """The (H, W) bool mask of polygons or run lengths, as pycocotools decodes them.

    Raises:
        ValueError: the segmentation is empty, or of another image size.
    """
    return coco_mask.decode(encode_segmentation(segmentation, size)).astype(bool)


def encode_segmentation(segmentation: Any, size: tuple[int, int]) -> Record:
    """Polygons or run lengths of an image of ``size`` (H, W) as compressed run lengths.

    Raises:
        ValueError: the segmentation is empty, or of another image size.
    """
    height, width = size
    if isinstance(segmentation, list):
        if not segmentation or any(len(p) < 6 or len(p) % 2 for p in segmentation):
            raise ValueError("its polygons have fewer than three points")
        # pycocotools would crash, or take for ever.
        if not all((np.abs(np.asarray(p, dtype=float)) < _FARTHEST).all() for p in segmentation):
            raise ValueError("a point of its polygons lies outside every image")
        if sum(_outline_length(p) for p in segmentation) > _LONGEST_OUTLINE:
            raise ValueError(f"its polygons are longer than {_LONGEST_OUTLINE:.0f} pixels")
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    if list(segmentation["size"]) != [height, width]:
        raise ValueError(f"its run lengths are of the size {segmentation['size']}")
    counts = segmentation["counts"]
    # pycocotools believes run lengths, and crashes on wrong ones.
    if isinstance(counts, bytes):
        counts = counts.decode("ascii")
    runs = expand_counts(counts) if isinstance(counts, str) else list(counts)
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(f"its run lengths do not cover the {height * width} pixels")
    if isinstance(counts, list):
        return coco_mask.frPyObjects(segmentation, height, width)
    return segmentation


def _outline_length(polygon: Sequence[float]) -> float:
    """Steps of pycocotools along the outline, each of which costs it memory."""
    points = np.asarray(polygon, dtype=float).reshape(-1, 2)
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())


def expand_counts(text: str) -> list[int]:
    """The run lengths in COCO's compressed string.

    Raises:
        ValueError: the text ends within a number.
    """
    runs: list[int] = []
    value = shift = 0
    for byte in text.encode("ascii"):
        digit = byte - 48
        value |= (digit & 0x1F) << shift
        shift += 5
        if digit & 0x20:
            continue
        if digit & 0x10:
            value |= -1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("the text ends within a number")
    return runs


def _largest_first(annotation: Record) -> float:
    area = annotation.get("area")
    return -area if isinstance(area, int | float) else 0.0


def _read_objects(
    annotations: list[Record], names: dict[int, str], size: tuple[int, int], log: ConversionLog
) -> Iterator[MaskedObject]:
    for annotation in sorted(annotations, key=_largest_first):
        try:
            label = names[annotation["category_id"]]
            segmentation = annotation["segmentation"]
            mask = BoxMask.from_full(decode_segmentation(segmentation, size))
        except MALFORMED as error:
            log.note("unusable annotation", f"id {annotation.get('id')}: {error!r}; left out")
            continue
        yield MaskedObject(
            label=label,
            mask=mask,
            polygons=segmentation if isinstance(segmentation, list) else None,
            is_crowd=bool(annotation.get("iscrowd", 0)),
        )

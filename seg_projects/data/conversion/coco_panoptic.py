"""COCO panoptic: the writer, and the reader of COCO's own files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

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
from seg_projects.data.conversion.coco_instances import listed_image, read_coco_json
from seg_projects.data.conversion.image_files import locate_image
from seg_projects.data.conversion.output import OutputFolder
from seg_projects.data.panoptic_ids import read_panoptic_ids, rgb_from_ids
from seg_projects.errors import UserError
from seg_projects.files import write_atomically, write_json

# In which order objects are painted; the last one lies on top.
OVERLAP_RULES: dict[str, Callable[[Sequence[MaskedObject]], list[MaskedObject]]] = {
    "later-on-top": list,
    "earlier-on-top": lambda objects: list(reversed(objects)),
    "smaller-on-top": lambda objects: sorted(objects, key=lambda item: -item.mask.area),
}


def write_coco_panoptic(
    images: Iterable[AnnotatedImage],
    choice: CategoryChoice,
    output: OutputFolder,
    log: ConversionLog,
    *,
    overlap: str = "later-on-top",
    unlabelled: str | None = None,
) -> Path:
    """Writes ``images``; returns the JSON.

    Each pixel belongs to one segment, things one per object, stuff one per class and image. Areas
    and boxes are counted after overlaps were resolved.

    Args:
        images: what to write.
        choice: every label is a thing, stuff or ignored; ignored objects are void.
        output: where to write.
        log: takes the objects that are hidden whole.
        overlap: a key of ``OVERLAP_RULES``; things lie on stuff all the same.
        unlabelled: stuff class of the pixels that no object covers; None makes them void.

    Raises:
        UserError: a label has no role, ``unlabelled`` is no stuff, or no image was converted.
    """
    choice.require_stuff(unlabelled)
    rules = PaintRules(choice, overlap, unlabelled)
    written = [
        write_panoptic_image(image, number, rules, output, log)
        for number, image in enumerate(images, start=1)
    ]
    return write_panoptic_json(written, choice, output)


class PaintRules(NamedTuple):
    """How objects become segments, see :func:`write_coco_panoptic`."""

    choice: CategoryChoice
    overlap: str = "later-on-top"
    unlabelled: str | None = None


def write_panoptic_image(
    image: AnnotatedImage, number: int, rules: PaintRules, output: OutputFolder, log: ConversionLog
) -> tuple[Record, Record]:
    """Copies ``image``, writes its PNG file; returns its records, with labels for category ids."""
    record = output.add_image(image, number)
    choice, overlap, unlabelled = rules
    ids, segments = paint_segments(image, choice, overlap=overlap, unlabelled=unlabelled)
    _note_hidden(image, segments, log)
    segments = [segment for segment in segments if segment["area"]]
    mask_name = output.mask_name(image.file_name)
    write_png(output.masks / mask_name, rgb_from_ids(ids))
    return record, {"image_id": record["id"], "file_name": mask_name, "segments_info": segments}


def write_panoptic_json(
    written: Sequence[tuple[Record, Record]], choice: CategoryChoice, output: OutputFolder
) -> Path:
    """Writes the records of :func:`write_panoptic_image`; returns the JSON.

    Raises:
        UserError: a label has no role, or there is no image.
    """
    output.require_images([record for record, _ in written])
    choice.raise_for_unknown()
    categories = choice.records()
    category_ids = {record["name"]: record["id"] for record in categories}
    for _, annotation in written:
        for segment in annotation["segments_info"]:
            segment["category_id"] = category_ids[segment["category_id"]]
    content = {
        "images": [record for record, _ in written],
        "annotations": [annotation for _, annotation in written],
        "categories": categories,
    }
    write_json(output.json_file, content)
    return output.json_file


def paint_segments(
    image: AnnotatedImage, choice: CategoryChoice, *, overlap: str, unlabelled: str | None
) -> tuple[np.ndarray, list[Record]]:
    """(H, W) int32 segment ids and ``segments_info``, labels in place of category ids.

    Segments that others hide whole are listed with area 0.
    """
    ids = np.zeros(image.size, dtype=np.int32)
    segments: list[Record] = []
    stuff_ids: dict[str, int] = {}

    def new_segment(label: str, is_crowd: bool) -> int:
        segments.append({"id": len(segments) + 1, "category_id": label, "iscrowd": int(is_crowd)})
        return len(segments)

    if unlabelled is not None:
        ids[:] = stuff_ids[unlabelled] = new_segment(unlabelled, False)
    ordered = OVERLAP_RULES[overlap](image.objects)
    with_roles = [(choice.role(item.label), item) for item in ordered]
    # A stable sort: things lie on stuff, whatever was drawn first.
    for role, item in sorted(with_roles, key=lambda pair: pair[0] != "stuff"):
        if role in (None, "ignored"):
            segment_id = 0
        elif role == "stuff":
            if item.label not in stuff_ids:
                stuff_ids[item.label] = new_segment(item.label, False)
            segment_id = stuff_ids[item.label]
        else:
            segment_id = new_segment(item.label, item.is_crowd)
        ids[item.mask.region][item.mask.pixels] = segment_id
    for segment, area, box in zip(segments, *areas_and_boxes(ids, len(segments)), strict=True):
        segment.update(area=area, bbox=box)
    return ids, segments


def areas_and_boxes(ids: np.ndarray, count: int) -> tuple[list[int], list[list[int]]]:
    """Pixels and box (left, top, width, height) of the ids 1 to ``count`` of an (H, W) map.

    Zeros where an id has no pixel.
    """
    measured = measure_segments(ids)
    pairs = [measured.get(i, (0, [0, 0, 0, 0])) for i in range(1, count + 1)]
    return [area for area, _ in pairs], [box for _, box in pairs]


def measure_segments(ids: np.ndarray) -> dict[int, tuple[int, list[int]]]:
    """Pixels and box (left, top, width, height) of each id but 0 of an (H, W) map.

    Works on the runs of equal ids in the rows, of which there are few.
    """
    if not ids.size:
        return {}
    width = ids.shape[1]
    begins = np.ones(ids.shape, dtype=bool)
    np.not_equal(ids[:, 1:], ids[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    lasts = np.append(starts[1:], ids.size) - 1
    values = ids.ravel()[starts]
    order = np.argsort(values, kind="stable")
    starts, lasts = starts[order], lasts[order]
    present, first = np.unique(values[order], return_index=True)
    areas = np.add.reduceat(lasts - starts + 1, first)
    left = np.minimum.reduceat(starts % width, first)
    right = np.maximum.reduceat(lasts % width, first)
    # Within an id the order of the rows is kept: they begin with its first run.
    top, bottom = starts[first] // width, starts[np.append(first[1:], len(starts)) - 1] // width
    boxes = np.stack([left, top, right - left + 1, bottom - top + 1], axis=1)
    rows = zip(present.tolist(), areas.tolist(), boxes.tolist(), strict=True)
    return {value: (area, box) for value, area, box in rows if value}


def _note_hidden(image: AnnotatedImage, segments: Sequence[Record], log: ConversionLog) -> None:
    for segment in segments:
        if not segment["area"]:
            label = segment["category_id"]
            log.note(
                "hidden object", f"{image.file_name}: {label!r} has no visible pixel; left out"
            )


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Writes (H, W) or (H, W, 3) uint8 or (H, W) uint16 pixels, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())


def read_coco_panoptic(
    source: Path, options: ReaderOptions, log: ConversionLog
) -> Iterator[AnnotatedImage]:
    """The images of the COCO panoptic file ``source``.

    The PNG files lie in the folder of the JSON's name, with or without ``_masks``.
    """
    content = read_coco_json(source, "segments_info", "a COCO panoptic file")
    folder = options.images or source.parent
    # As our own conversions name it, else as COCO does: beside ours, the other holds the images.
    masks = source.with_name(f"{source.stem}_masks")
    if not masks.is_dir():
        masks = source.with_suffix("")
    if not masks.is_dir():
        raise UserError(f"The PNG files of {source} are neither in {masks}_masks nor in {masks}.")
    names = {record["id"]: record["name"] for record in content["categories"]}
    images = {record["id"]: record for record in content["images"]}
    for annotation in content["annotations"]:
        record = images.get(annotation["image_id"])
        if record is None:
            log.note("annotation without image", f"image {annotation['image_id']}; left out")
            continue
        image = listed_image(record, folder, log)
        if image is not None:
            image.objects.extend(_read_segments(masks, annotation, names, log))
            yield image


def _read_segments(
    folder: Path, annotation: Record, names: dict[int, str], log: ConversionLog
) -> list[MaskedObject]:
    png = folder
    try:
        png, _ = locate_image(folder, annotation["file_name"])
        ids = read_panoptic_ids(png)
        listed = {int(segment["id"]): segment for segment in annotation["segments_info"]}
        labels = {i: names.get(segment["category_id"]) for i, segment in listed.items()}
    except MALFORMED as error:
        log.note("unusable annotation", f"{png}: {error}; its image is void")
        return []
    masks = split_ids(ids)
    for missing in sorted(set(masks) - set(listed)):
        log.note("unlisted segment", f"{png}: id {missing} is in no segments_info; void")
    return [
        MaskedObject(
            label=label,
            mask=masks[segment_id],
            is_crowd=bool(segment.get("iscrowd", 0)),
        )
        for segment_id, segment in listed.items()
        if segment_id in masks and (label := labels[segment_id]) is not None
    ]


def split_ids(ids: np.ndarray) -> dict[int, BoxMask]:
    """The mask of each id but 0 of an (H, W) map."""
    return {
        value: BoxMask(ids[y : y + height, x : x + width] == value, x, y)
        for value, (_, (x, y, width, height)) in measure_segments(ids).items()
    }

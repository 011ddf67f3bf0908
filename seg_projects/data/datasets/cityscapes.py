"""Cityscapes from its raw files: label ids 0-33 and 16-bit instance ids.

    cityscapes/leftImg8bit/{train,val}/CITY/*_leftImg8bit.png
    cityscapes/gtFine/{train,val}/CITY/*_gtFine_{labelIds,instanceIds}.png

An instance id is 1000 times the label id plus a number. Below 1000 it is a label id: stuff, or a
group of things that could not be told apart, which neither training nor scores count.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from detectron2.data.datasets.builtin_meta import CITYSCAPES_CATEGORIES
from seg_projects.data.conversion.annotated import BoxMask, MaskedObject
from seg_projects.data.conversion.coco_instances import shape_record
from seg_projects.data.conversion.coco_panoptic import areas_and_boxes, write_png
from seg_projects.data.conversion.image_files import displayed_size, read_pixels
from seg_projects.data.datasets.panoptic import load_panoptic_records
from seg_projects.data.datasets.preparation import (
    Record,
    in_parallel,
    require_files,
    write_instances_json,
)
from seg_projects.data.panoptic_ids import rgb_from_ids
from seg_projects.errors import UserError
from seg_projects.files import write_json

SPLITS = ("train", "val")
INSTANCE_FACTOR = 1000
PREPARE = "run `python datasets/prepare_cityscapes.py` first"
TRAIN_IDS = {c["id"]: c["trainId"] for c in CITYSCAPES_CATEGORIES}
CATEGORIES = [
    {key: c[key] for key in ("id", "name", "isthing", "color")} for c in CITYSCAPES_CATEGORIES
]
THING_CATEGORIES = [{"id": c["id"], "name": c["name"]} for c in CATEGORIES if c["isthing"]]
_THING_IDS = {c["id"] for c in THING_CATEGORIES}


class CityscapesImage(NamedTuple):
    """One image and its two label files."""

    name: str
    """CITY_SEQUENCE_FRAME."""
    image: Path
    label_ids: Path
    instance_ids: Path


def cityscapes_images(root: Path, split: str) -> list[CityscapesImage]:
    """The images of a split below ``root``, ordered by city and name.

    Raises:
        UserError: the folder is missing, there is no image, or one lacks a label file.
    """
    folder, truth = root / "leftImg8bit" / split, root / "gtFine" / split
    remedy = "unpack leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip there"
    require_files([folder, truth], remedy)
    images = []
    for image in sorted(folder.glob("*/*_leftImg8bit.png")):
        name = image.name.removesuffix("_leftImg8bit.png")
        stem = truth / image.parent.name / f"{name}_gtFine"
        labels = [stem.with_name(f"{stem.name}_{kind}.png") for kind in ("labelIds", "instanceIds")]
        require_files(labels, remedy)
        images.append(CityscapesImage(name, image, *labels))
    if not images:
        raise UserError(f"{folder} holds no CITY/*_leftImg8bit.png.")
    return images


def load_cityscapes_panoptic(root: Path, split: str) -> list[Record]:
    """Panoptic records; the JSON names images without their city.

    Raises:
        UserError: the split is not prepared, or an image is missing.
    """
    annotations = panoptic_json(root, split)
    require_files([annotations], PREPARE)
    folder = root / "leftImg8bit" / split
    records = load_panoptic_records(
        annotations, image_root=folder, panoptic_root=annotations.with_suffix("")
    )
    for record in records:
        city = record["image_id"].split("_")[0]
        record["file_name"] = str(folder / city / f"{record['image_id']}_leftImg8bit.png")
    return records


def panoptic_json(root: Path, split: str) -> Path:
    """Where the panoptic annotations are: where cityscapesScripts writes them, too."""
    return root / "gtFine" / f"cityscapes_panoptic_{split}.json"


def instances_json(root: Path, split: str) -> Path:
    """Where the COCO instances annotations are."""
    return root / "gtFine" / f"cityscapes_instances_{split}.json"


def prepare_cityscapes(root: Path) -> list[Path]:
    """Writes both JSON files of each split, the panoptic PNG files and the maps of train ids.

    A split whose JSON files are there is left alone. Returns the JSON files.
    """
    written = []
    for split in SPLITS:
        files = [panoptic_json(root, split), instances_json(root, split)]
        written += files
        if all(path.is_file() for path in files):
            continue
        images = cityscapes_images(root, split)
        prepare = partial(_prepare_image, masks=files[0].with_suffix(""))
        parts = in_parallel(prepare, images, split)
        records = [part[0] for part in parts]
        content = {
            "images": records,
            "annotations": [part[1] for part in parts],
            "categories": CATEGORIES,
        }
        write_json(files[0], content)
        numbered = [
            record | {"id": number, "file_name": f"{i.image.parent.name}/{i.image.name}"}
            for number, (record, i) in enumerate(zip(records, images, strict=True), start=1)
        ]
        write_instances_json(files[1], numbered, [part[2] for part in parts], THING_CATEGORIES)
    return written


def _prepare_image(item: CityscapesImage, masks: Path) -> tuple[Record, Record, list[Record]]:
    """Image record, panoptic annotation and instance annotations, under cityscapesScripts' names.

    Raises:
        UserError: a label file is no map of the image's size.
    """
    labels, ids = read_pixels(item.label_ids), read_pixels(item.instance_ids).astype(np.int64)
    height, width = displayed_size(item.image)
    for path, values in ((item.label_ids, labels), (item.instance_ids, ids)):
        if values.shape != (height, width):
            raise UserError(f"{path} has the shape {values.shape}, the image {(height, width)}.")
    train_ids = np.full(256, 255, dtype=np.uint8)
    train_ids[list(TRAIN_IDS)] = list(TRAIN_IDS.values())
    write_png(item.label_ids.with_name(f"{item.name}_gtFine_labelTrainIds.png"), train_ids[labels])
    rgb, segments, objects = split_instance_ids(ids)
    write_png(masks / f"{item.name}_gtFine_panoptic.png", rgb)
    image = {
        "id": item.name,
        "file_name": f"{item.name}_gtFine_leftImg8bit.png",
        "height": height,
        "width": width,
    }
    annotation = {
        "image_id": item.name,
        "file_name": f"{item.name}_gtFine_panoptic.png",
        "segments_info": segments,
    }
    return image, annotation, objects


def split_instance_ids(ids: np.ndarray) -> tuple[np.ndarray, list[Record], list[Record]]:
    """What the (H, W) instance ids of an image say.

    Returns:
        The (H, W, 3) uint8 panoptic PNG, whose segment ids are the instance ids; its
        ``segments_info``, groups being crowds; COCO annotations of things and groups, less ``id``
        and ``image_id``.
    """
    present = np.flatnonzero(np.bincount(ids.ravel()))
    categories = np.where(present < INSTANCE_FACTOR, present, present // INSTANCE_FACTOR)
    known = np.isin(categories, list(TRAIN_IDS))
    present, categories = present[known], categories[known]
    table = np.zeros(int(ids.max()) + 1, dtype=np.int64)
    table[present] = np.arange(1, len(present) + 1)
    places = table[ids]
    segments: list[Record] = []
    objects: list[Record] = []
    measured = zip(*areas_and_boxes(places, len(present)), strict=True)
    for place, (segment_id, category, (area, box)) in enumerate(
        zip(present.tolist(), categories.tolist(), measured, strict=True), start=1
    ):
        crowd = segment_id < INSTANCE_FACTOR and category in _THING_IDS
        segments.append(
            {
                "id": segment_id,
                "category_id": category,
                "area": area,
                "bbox": box,
                "iscrowd": int(crowd),
            }
        )
        if category in _THING_IDS:
            x, y, w, h = box
            mask = BoxMask(places[y : y + h, x : x + w] == place, x, y)
            item = MaskedObject(label="", mask=mask, is_crowd=crowd)
            shape: dict[str, Any] = shape_record(item, ids.shape)
            objects.append({"category_id": category, **shape})
    return rgb_from_ids(np.where(places > 0, ids, 0)), segments, objects

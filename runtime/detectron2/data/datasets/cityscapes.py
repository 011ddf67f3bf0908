"""Cityscapes' annotations of instances and of classes.

The folders are as published: ``leftImg8bit/<split>/<city>/<stem>_leftImg8bit.png`` and, beside it,
``gtFine/<split>/<city>/<stem>_gtFine_{polygons.json, instanceIds.png, labelTrainIds.png}``.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from detectron2.data.catalog import Metadata
from detectron2.data.datasets.annotation_files import missing_data_error
from detectron2.data.datasets.builtin_meta import CITYSCAPES_CATEGORIES
from detectron2.data.datasets.preview import save_drawings
from detectron2.structures import BoxMode
from detectron2.utils.comm import get_world_size
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import setup_logger

logger = logging.getLogger(__name__)

Record = dict[str, Any]

IMAGE_SUFFIX = "leftImg8bit.png"
# Below this many images, starting processes takes longer than they save.
MIN_IMAGES_FOR_PROCESSES = 64

_THINGS = [category for category in CITYSCAPES_CATEGORIES if category["isthing"]]
_CLASS_BY_LABEL_ID = {category["id"]: index for index, category in enumerate(_THINGS)}
_CLASS_BY_NAME = {category["name"]: index for index, category in enumerate(_THINGS)}
# Drawn on top of its vehicle, and no label of its own (label id -1).
_NOT_A_LABEL = "license plate"


def cityscapes_files(image_dir: str, gt_dir: str) -> list[tuple[str, str]]:
    """Finds (image, common beginning of its annotation files), by city and name."""
    try:
        cities = sorted(PathManager.ls(image_dir))
    except FileNotFoundError:
        raise missing_data_error(image_dir, None) from None
    files = []
    for city in cities:
        for name in sorted(PathManager.ls(os.path.join(image_dir, city))):
            if not name.endswith(IMAGE_SUFFIX):
                raise AssertionError(
                    f"{os.path.join(image_dir, city, name)} does not end in {IMAGE_SUFFIX!r}: only"
                    " images belong into this folder."
                )
            annotation = os.path.join(gt_dir, city, name.removesuffix(IMAGE_SUFFIX) + "gtFine_")
            files.append((os.path.join(image_dir, city, name), annotation))
    if not files:
        raise AssertionError(f"No images found in {image_dir}.")
    return files


def load_cityscapes_instances(
    image_dir: str, gt_dir: str, from_json: bool = True, to_polygons: bool = True
) -> list[Record]:
    """Reads the instances of a split.

    Args:
        image_dir: e.g. "cityscapes/leftImg8bit/train".
        gt_dir: e.g. "cityscapes/gtFine/train".
        from_json: read the polygons, less what nearer objects hide, instead of the instance maps.
        to_polygons: give masks as polygons instead of RLE; those of an instance map are its outer
            contours. Polygon files give polygons only.

    Returns:
        One record for each image, by city and name. Groups, such as "cargroup", have ``iscrowd``.
    """
    if from_json and not to_polygons:
        raise AssertionError(
            "Cityscapes' JSON files hold polygons; to_polygons=False needs from_json=False."
        )
    if from_json:
        convert: Callable[[tuple[str, str]], Record] = _record_from_polygons
    else:
        convert = partial(_record_from_instance_map, to_polygons=to_polygons)
    files = cityscapes_files(image_dir, gt_dir)
    logger.info("Reading Cityscapes' annotations from %s ...", gt_dir)
    if len(files) < MIN_IMAGES_FOR_PROCESSES:
        records = [convert(file) for file in files]
    else:
        with multiprocessing.Pool(max(1, (os.cpu_count() or 1) // get_world_size())) as pool:
            records = pool.map(convert, files)
    logger.info("Loaded %d images from %s", len(records), image_dir)
    return records


def load_cityscapes_semantic(image_dir: str, gt_dir: str) -> list[Record]:
    """Reads the semantic maps of a split.

    Args:
        image_dir: e.g. "cityscapes/leftImg8bit/train".
        gt_dir: e.g. "cityscapes/gtFine/train"; a map's values are train ids, 255 is ignored.

    Returns:
        ``{"file_name", "sem_seg_file_name", "height", "width"}`` for each image, by city and name.
    """
    from PIL import Image

    records = []
    for image_file, annotation in cityscapes_files(image_dir, gt_dir):
        label_file = _existing(annotation + "labelTrainIds.png")
        with Image.open(label_file) as image:  # Reads the header alone.
            width, height = image.size
        records.append(
            {
                "file_name": image_file,
                "sem_seg_file_name": label_file,
                "height": height,
                "width": width,
            }
        )
    return records


def _existing(path: str) -> str:
    if not PathManager.isfile(path):
        raise AssertionError(
            f"{path} does not exist. The package cityscapesScripts makes labelTrainIds.png with"
            " cityscapesscripts/preparation/createTrainIdLabelImgs.py; other annotation files are"
            " part of gtFine_trainvaltest.zip."
        )
    return path


def _record(file: str, height: int, width: int, annotations: list[Record]) -> Record:
    return {
        "file_name": file,
        "image_id": os.path.basename(file),
        "height": height,
        "width": width,
        "annotations": annotations,
    }


def _record_from_polygons(file: tuple[str, str]) -> Record:
    content = json.loads(Path(_existing(file[1] + "polygons.json")).read_text())
    annotations = list(_visible_polygons(content["objects"]))
    return _record(file[0], content["imgHeight"], content["imgWidth"], annotations)


def _visible_polygons(objects: list[Record]) -> Iterator[Record]:
    """Annotations of the visible parts, nearest object first: later objects lie on top."""
    from shapely.geometry import Polygon

    hidden = Polygon()
    for item in reversed(objects):
        if "deleted" in item or item["label"] == _NOT_A_LABEL:
            continue
        # The corners are pixel indices: their centres, grown by half a pixel to the pixel's edge.
        corners = np.asarray(item["polygon"]) + 0.5
        outline = Polygon(corners).buffer(0.5, quad_segs=4)
        label = item["label"]
        name = label if label in _CLASS_BY_NAME else label.removesuffix("group")
        visible = outline.difference(hidden)
        hidden = hidden.union(outline)
        if name not in _CLASS_BY_NAME or visible.is_empty:
            continue
        parts = visible.geoms if visible.geom_type == "MultiPolygon" else [visible]
        yield {
            "iscrowd": label != name,
            "category_id": _CLASS_BY_NAME[name],
            "segmentation": [np.asarray(part.exterior.coords).ravel().tolist() for part in parts],
            "bbox": visible.bounds,
            "bbox_mode": BoxMode.XYXY_ABS,
        }


def _record_from_instance_map(file: tuple[str, str], *, to_polygons: bool) -> Record:
    from PIL import Image

    with Image.open(_existing(file[1] + "instanceIds.png")) as image:
        ids = np.asarray(image).astype(np.int32)
    annotations = list(_instances_of_map(ids, to_polygons))
    return _record(file[0], ids.shape[0], ids.shape[1], annotations)


def _instances_of_map(ids: np.ndarray, to_polygons: bool) -> Iterator[Record]:
    """Annotations of an instance map; a label id alone, without a number, marks a group."""
    for instance_id in np.unique(ids):
        is_group = instance_id < 1000
        label_id = int(instance_id if is_group else instance_id // 1000)
        if label_id not in _CLASS_BY_LABEL_ID:
            continue
        mask = ids == instance_id
        rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
        box = [int(side) for side in (columns[0], rows[0], columns[-1], rows[-1])]
        if box[2] <= box[0] or box[3] <= box[1]:
            continue
        yield {
            "iscrowd": bool(is_group),
            "category_id": _CLASS_BY_LABEL_ID[label_id],
            "bbox": box,
            "bbox_mode": BoxMode.XYXY_ABS,
            "segmentation": _outer_contours(mask) if to_polygons else _encode(mask),
        }


def _outer_contours(mask: np.ndarray) -> list[list[int]]:
    import cv2

    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    # A polygon needs three points: specks have fewer.
    return [contour.ravel().tolist() for contour in contours if len(contour) >= 3]


def _encode(mask: np.ndarray) -> Record:
    from pycocotools import mask as mask_api

    return mask_api.encode(np.asfortranarray(mask.view(np.uint8)))


def main() -> None:
    """Reads a split and draws it: ``python -m detectron2.data.datasets.cityscapes``."""
    parser = argparse.ArgumentParser(description="Draw a split of Cityscapes.")
    parser.add_argument("image_dir", help="e.g. cityscapes/leftImg8bit/val")
    parser.add_argument("gt_dir", help="e.g. cityscapes/gtFine/val")
    parser.add_argument("--type", choices=["instance", "semantic"], default="instance")
    parser.add_argument("--output", default="cityscapes-data-vis", help="folder of the drawings")
    args = parser.parse_args()
    setup_logger(name="detectron2")
    names = [category["name"] for category in CITYSCAPES_CATEGORIES]
    things = [category["name"] for category in _THINGS]
    metadata = Metadata(thing_classes=things, stuff_classes=names)
    load = load_cityscapes_instances if args.type == "instance" else load_cityscapes_semantic
    save_drawings(load(args.image_dir, args.gt_dir), metadata, args.output)


if __name__ == "__main__":
    main()

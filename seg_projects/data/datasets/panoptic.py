"""Data sets in the COCO panoptic format: one JSON, a folder of images, a folder of id PNGs.

Labels follow the convention of Panoptic FPN (arXiv:1901.02446): things have the contiguous ids
0 to T - 1; semantic label 0 stands for all things, stuff has the labels 1 to S.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from seg_projects.colors import spread_color
from seg_projects.data.datasets.declared import (
    dataset_root,
    declared_entries,
    forget_dataset,
    require_present,
)
from seg_projects.data.datasets.joint_classes import join_classes_where_needed
from seg_projects.errors import UserError

logger = logging.getLogger(__name__)

IGNORE_LABEL = 255
REQUIRED_KEYS = ("NAME", "IMAGES", "PANOPTIC_JSON", "PANOPTIC_MASKS")
OPTIONAL_KEYS = ("INSTANCES_JSON", "IMAGE_IDS")


def declare_panoptic_datasets(cfg: CfgNode) -> None:
    """Registers every entry of ``cfg.DATASETS.PANOPTIC``; the same entry twice is no error.

    For Panoptic-DeepLab, the panoptic data sets of ``cfg`` get joint classes.
    """
    root = dataset_root(cfg)
    for entry in declared_entries(cfg, "PANOPTIC", REQUIRED_KEYS, OPTIONAL_KEYS):
        instances_json = entry.get("INSTANCES_JSON")
        register_panoptic(
            entry["NAME"],
            image_root=root / entry["IMAGES"],
            panoptic_json=root / entry["PANOPTIC_JSON"],
            panoptic_root=root / entry["PANOPTIC_MASKS"],
            instances_json=root / instances_json if instances_json else None,
            image_ids=entry.get("IMAGE_IDS"),
        )
    join_classes_where_needed(cfg)


def register_panoptic(
    name: str,
    *,
    image_root: Path,
    panoptic_json: Path,
    panoptic_root: Path,
    instances_json: Path | None = None,
    image_ids: Sequence[int] | None = None,
) -> None:
    """Registers the data set ``name``, its classes taken from the JSON's ``categories``.

    Args:
        name: for ``DATASETS.TRAIN`` and ``DATASETS.TEST``.
        image_root: folder of the images.
        panoptic_json: the COCO panoptic annotation file.
        panoptic_root: folder of the id PNGs.
        instances_json: COCO instances file, the ground truth of AP where it is given.
        image_ids: only these images, in this order; all of the JSON where None.

    Raises:
        UserError: a path is missing, the JSON is not of this format, an image id is not in it.
    """
    paths = (image_root, panoptic_root, panoptic_json, instances_json)
    require_present(name, paths=filter(None, paths))
    categories = read_panoptic_json(panoptic_json)["categories"]
    if not categories:
        raise UserError(f"Data set {name!r}: {panoptic_json} lists no categories.")
    forget_dataset(name)
    catalog_panoptic(
        name,
        lambda: load_panoptic_records(
            panoptic_json, image_root=image_root, panoptic_root=panoptic_root, image_ids=image_ids
        ),
        categories=categories,
        image_root=image_root,
        panoptic_json=panoptic_json,
        panoptic_root=panoptic_root,
        instances_json=instances_json,
    )
    MetadataCatalog.get(name).set(image_ids=None if image_ids is None else set(image_ids))


def catalog_panoptic(
    name: str,
    load: Callable[[], list[dict[str, Any]]],
    *,
    categories: Sequence[dict[str, Any]],
    image_root: Path,
    panoptic_json: Path,
    panoptic_root: Path,
    instances_json: Path | None = None,
) -> None:
    """Puts a panoptic data set into the catalogs; no file is opened.

    Args:
        name: not yet in the catalogs.
        load: gives the records; called when they are asked for.
        categories: ``id``, ``name``, ``isthing``, perhaps ``color`` of each.
        image_root: folder of the images.
        panoptic_json: the COCO panoptic annotation file.
        panoptic_root: folder of the id PNGs.
        instances_json: COCO instances file, the ground truth of AP where it is given.
    """
    DatasetCatalog.register(name, load)
    if instances_json is not None:
        MetadataCatalog.get(name).set(json_file=str(instances_json))
    MetadataCatalog.get(name).set(
        image_root=str(image_root),
        panoptic_root=str(panoptic_root),
        panoptic_json=str(panoptic_json),
        evaluator_type="panoptic",
        ignore_label=IGNORE_LABEL,
        **category_metadata(categories),
    )


@lru_cache(maxsize=4)
def _parse(path: str, modified_ns: int, required: tuple[str, ...]) -> dict[str, Any]:
    """The JSON at ``path``, parsed once per state of the file; callers do not change it."""
    try:
        content = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}.") from error
    for key in required:
        if not isinstance(content, dict) or key not in content:
            raise UserError(f"{path} is not a COCO panoptic file: it has no {key!r}.")
        if not isinstance(content[key], list):
            raise UserError(f"{path}: {key} is {content[key]!r:.50}, not a list.")
    first = content["annotations"][0] if content["annotations"] else {"segments_info": []}
    if not isinstance(first, dict) or "segments_info" not in first:
        raise UserError(
            f"{path} has no 'segments_info': it looks like a COCO instances file, not a "
            "panoptic one."
        )
    return content


def read_panoptic_json(
    path: Path, required: tuple[str, ...] = ("images", "annotations", "categories")
) -> dict[str, Any]:
    """The parsed panoptic JSON at ``path``, shared between callers: do not change it.

    ``required`` keys have to be in it.
    """
    return _parse(str(path), path.stat().st_mtime_ns, required)


def category_metadata(categories: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Names, colours and contiguous ids of COCO panoptic ``categories``, for the catalog."""
    categories = sorted(categories, key=lambda category: category["id"])
    things = [c for c in categories if c["isthing"]]
    stuff = [c for c in categories if not c["isthing"]]
    palette = {c["id"]: list(c.get("color") or spread_color(i)) for i, c in enumerate(categories)}
    return {
        "thing_classes": [c["name"] for c in things],
        "thing_colors": [palette[c["id"]] for c in things],
        "thing_dataset_id_to_contiguous_id": {c["id"]: i for i, c in enumerate(things)},
        "stuff_classes": ["things", *(c["name"] for c in stuff)],
        "stuff_colors": [[82, 18, 128], *(palette[c["id"]] for c in stuff)],
        # As in Detectron2's separated COCO: 0, no category of the file, stands for all things.
        "stuff_dataset_id_to_contiguous_id": {0: 0} | {c["id"]: i + 1 for i, c in enumerate(stuff)},
    }


def load_panoptic_records(
    panoptic_json: Path,
    *,
    image_root: Path,
    panoptic_root: Path,
    image_ids: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """Detectron2 records: the image, ``pan_seg_file_name`` and the JSON's own ``segments_info``.

    Category ids in ``segments_info`` stay those of the file.

    Raises:
        UserError: an id of ``image_ids`` has no image or no annotation in the file, or a segment
            has a category that the file does not list.
    """
    content = read_panoptic_json(panoptic_json)
    images = {image["id"]: image for image in content["images"]}
    annotations = {a["image_id"]: a for a in content["annotations"]}
    wanted = list(annotations) if image_ids is None else list(image_ids)
    for image_id in wanted:
        if image_id not in annotations or image_id not in images:
            raise UserError(f"Image {image_id} is not annotated in {panoptic_json}.")
    known = {c["id"] for c in content["categories"]}
    for image_id in wanted:
        for segment in annotations[image_id]["segments_info"]:
            if segment["category_id"] not in known:
                raise UserError(
                    f"{panoptic_json}: segment {segment['id']} of image {image_id} has category "
                    f"{segment['category_id']}, which its `categories` do not list."
                )
    return [
        {
            "file_name": str(image_root / images[image_id]["file_name"]),
            "image_id": image_id,
            "height": images[image_id]["height"],
            "width": images[image_id]["width"],
            "pan_seg_file_name": str(panoptic_root / annotations[image_id]["file_name"]),
            "segments_info": annotations[image_id]["segments_info"],
        }
        for image_id in wanted
    ]

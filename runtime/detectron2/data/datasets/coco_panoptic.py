"""COCO's panoptic annotation format: a PNG of segment ids and a JSON record for each image."""

from __future__ import annotations

import os
from typing import Any

from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.annotation_files import missing_data_error, read_json
from detectron2.data.datasets.coco import load_coco_json, pair_sem_seg
from detectron2.utils.file_io import PathManager

__all__ = ["register_coco_panoptic", "register_coco_panoptic_separated"]

Record = dict[str, Any]
IGNORE_LABEL = 255
LABEL_DIVISOR = 1000


def load_coco_panoptic_json(
    json_file: str, image_dir: str, gt_dir: str, meta: dict[str, Any]
) -> list[Record]:
    """Reads a file in COCO's panoptic format.

    Args:
        json_file: the annotations.
        image_dir: folder of the images, JPEG files named like the PNG files.
        gt_dir: folder of the PNG files; a segment's id is R + 256 G + 65536 B.
        meta: ``thing_dataset_id_to_contiguous_id`` and ``stuff_dataset_id_to_contiguous_id``.

    Returns:
        One record for each annotation, in the order of the file: ``file_name``, ``image_id``,
        ``pan_seg_file_name`` and ``segments_info``, whose ``category_id`` is contiguous and which
        say ``isthing``.
    """
    return _panoptic_records(json_file, image_dir, gt_dir, meta, dataset_name=None)


def _panoptic_records(
    json_file: str,
    image_dir: str,
    gt_dir: str,
    meta: dict[str, Any],
    *,
    dataset_name: str | None,
) -> list[Record]:
    things: dict[int, int] = meta["thing_dataset_id_to_contiguous_id"]
    stuff: dict[int, int] = meta["stuff_dataset_id_to_contiguous_id"]

    def contiguous(segment: Record) -> Record:
        number = segment["category_id"]
        if number not in things and number not in stuff:
            raise KeyError(
                f"category_id={number} of segment {segment['id']} in {json_file} is neither a thing"
                " nor stuff by the metadata's *_dataset_id_to_contiguous_id."
            )
        isthing = number in things
        index = things[number] if isthing else stuff[number]
        return {**segment, "category_id": index, "isthing": isthing}

    annotations = read_json(json_file, dataset_name)["annotations"]
    if not annotations:
        raise AssertionError(f"{json_file} has no annotations, so that no image is found.")
    records: list[Record] = [
        {
            "file_name": os.path.join(image_dir, os.path.splitext(ann["file_name"])[0] + ".jpg"),
            "image_id": int(ann["image_id"]),
            "pan_seg_file_name": os.path.join(gt_dir, ann["file_name"]),
            "segments_info": [contiguous(segment) for segment in ann["segments_info"]],
        }
        for ann in annotations
    ]
    # Looking at the first one finds a wrong folder without touching 100000 files.
    for key in ("file_name", "pan_seg_file_name"):
        if not PathManager.isfile(records[0][key]):
            raise AssertionError(str(missing_data_error(records[0][key], dataset_name)))
    return records


def register_coco_panoptic(
    name: str,
    metadata: dict[str, Any],
    image_root: str,
    panoptic_root: str,
    panoptic_json: str,
    instances_json: str | None = None,
) -> None:
    """Registers a panoptic data set in which one set of classes numbers things and stuff.

    This is what a model with one semantic head over all classes learns from, e.g. Panoptic-DeepLab.

    Args:
        name: the name of the data set, e.g. "coco_2017_train_panoptic".
        metadata: what is known about it: class names and the two id maps.
        image_root: folder of the images.
        panoptic_root: folder of the panoptic PNG files.
        panoptic_json: the panoptic annotations.
        instances_json: the instance annotations of the same images, for an evaluation of instances.
    """
    DatasetCatalog.register(
        name,
        lambda: _panoptic_records(
            panoptic_json, image_root, panoptic_root, metadata, dataset_name=name
        ),
    )
    MetadataCatalog.get(name).set(
        panoptic_root=panoptic_root,
        image_root=image_root,
        panoptic_json=panoptic_json,
        json_file=instances_json,
        evaluator_type="coco_panoptic_seg",
        ignore_label=IGNORE_LABEL,
        label_divisor=LABEL_DIVISOR,
        **metadata,
    )


def register_coco_panoptic_separated(
    name: str,
    metadata: dict[str, Any],
    image_root: str,
    panoptic_root: str,
    panoptic_json: str,
    sem_seg_root: str,
    instances_json: str,
) -> None:
    """Registers a panoptic data set as instances beside semantic maps of stuff (Panoptic FPN).

    Two data sets follow: ``<name>_separated`` with ``annotations`` and ``sem_seg_file_name``, and
    ``<name>_stuffonly`` with the semantic maps alone.

    Args:
        name: the common part of the names, e.g. "coco_2017_train_panoptic".
        metadata: what is known about both: class names and the two id maps.
        image_root: folder of the images.
        panoptic_root: folder of the panoptic PNG files.
        panoptic_json: the panoptic annotations; only for the evaluation.
        sem_seg_root: folder of the semantic maps, in which class 0 stands for all things.
        instances_json: the instance annotations.
    """

    def load_stuff(dataset_name: str) -> list[Record]:
        return pair_sem_seg(sem_seg_root, image_root, "png", "jpg", dataset_name=dataset_name)

    separated, stuff_only = f"{name}_separated", f"{name}_stuffonly"
    DatasetCatalog.register(
        separated,
        lambda: merge_to_panoptic(
            load_coco_json(instances_json, image_root, separated), load_stuff(separated)
        ),
    )
    MetadataCatalog.get(separated).set(
        panoptic_root=panoptic_root,
        image_root=image_root,
        panoptic_json=panoptic_json,
        sem_seg_root=sem_seg_root,
        json_file=instances_json,
        evaluator_type="coco_panoptic_seg",
        ignore_label=IGNORE_LABEL,
        **metadata,
    )
    DatasetCatalog.register(stuff_only, lambda: load_stuff(stuff_only))
    MetadataCatalog.get(stuff_only).set(
        sem_seg_root=sem_seg_root,
        image_root=image_root,
        evaluator_type="sem_seg",
        ignore_label=IGNORE_LABEL,
        **metadata,
    )


def merge_to_panoptic(detection_dicts: list[Record], sem_seg_dicts: list[Record]) -> list[Record]:
    """Adds the keys of the semantic records to the detection records of the same ``file_name``.

    Returns:
        One new record for each detection record; the arguments are left alone.
    """
    if not sem_seg_dicts:
        raise AssertionError("There are no semantic records to merge with the detection records.")
    by_file = {record["file_name"]: record for record in sem_seg_dicts}
    merged = []
    for record in detection_dicts:
        if record["file_name"] not in by_file:
            raise KeyError(
                f"{record['file_name']} has instances but no semantic map. Make the missing map, or"
                " leave the image out."
            )
        merged.append({**record, **by_file[record["file_name"]]})
    return merged

"""Panoptic data sets with one class per category, things and stuff numbered together.

Panoptic-DeepLab has one semantic head over all categories. Panoptic data sets of ours follow
Panoptic FPN, in which semantic label 0 stands for all things; here they are given the convention
that Detectron2 has for ``coco_2017_*_panoptic``: things have the classes 0 to T - 1, as they have
anyway, stuff those from T on, and ``segments_info`` of the records names classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from seg_projects.deeplab_config import needs_joint_classes

LABEL_DIVISOR = 1000
ALL_THINGS = 0  # semantic label, and "category" of the file, of Panoptic FPN's one class of things

Record = dict[str, Any]


def join_classes_where_needed(cfg: CfgNode) -> None:
    """Registers anew, joint, the data sets of ``cfg`` whose model is Panoptic-DeepLab."""
    if not needs_joint_classes(cfg):
        return
    for name in {*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST} & {*DatasetCatalog.list()}:
        if MetadataCatalog.get(name).get("evaluator_type") == "panoptic":
            _register_joint(name)


def _register_joint(name: str) -> None:
    metadata = MetadataCatalog.get(name).as_dict()
    things = metadata["thing_dataset_id_to_contiguous_id"]
    if ALL_THINGS not in metadata["stuff_dataset_id_to_contiguous_id"]:
        return  # it is joint already
    # Panoptic FPN's labels of stuff begin with 1.
    stuff = {
        category: len(things) + label - 1
        for category, label in metadata["stuff_dataset_id_to_contiguous_id"].items()
        if category != ALL_THINGS
    }
    load = DatasetCatalog[name]
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)
    DatasetCatalog.register(name, lambda: _with_classes(load, things | stuff))
    joint = {
        "stuff_classes": [*metadata["thing_classes"], *metadata["stuff_classes"][1:]],
        "stuff_colors": [*metadata["thing_colors"], *metadata["stuff_colors"][1:]],
        "stuff_dataset_id_to_contiguous_id": stuff,
        "label_divisor": LABEL_DIVISOR,
    }
    del metadata["name"]
    MetadataCatalog.get(name).set(**metadata | joint)


def _with_classes(load: Callable[[], list[Record]], classes: Mapping[int, int]) -> list[Record]:
    return [
        {
            **record,
            "segments_info": [
                # Files may leave out `iscrowd`, which the targets ask for.
                {"iscrowd": 0, **segment, "category_id": classes[segment["category_id"]]}
                for segment in record["segments_info"]
            ],
        }
        for record in load()
    ]

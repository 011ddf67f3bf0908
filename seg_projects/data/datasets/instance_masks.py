"""Data sets of object masks: one PNG per object, or maps that number the objects."""

from __future__ import annotations

import copy
import logging
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from seg_projects.colors import spread_color
from seg_projects.data.datasets.declared import (
    dataset_root,
    declared_entries,
    forget_dataset,
    require_present,
)
from seg_projects.errors import UserError

if TYPE_CHECKING:
    from seg_projects.data.conversion import ConversionLog

logger = logging.getLogger(__name__)

REQUIRED_KEYS = ("NAME", "MASKS", "CLASS")
OPTIONAL_KEYS = ("IMAGES",)


def declare_instance_masks(cfg: CfgNode) -> None:
    """Registers every entry of ``cfg.DATASETS.INSTANCE_MASKS``; the same twice is no error."""
    root = dataset_root(cfg)
    for entry in declared_entries(cfg, "INSTANCE_MASKS", REQUIRED_KEYS, OPTIONAL_KEYS):
        masks, label = root / entry["MASKS"], str(entry["CLASS"])
        if "IMAGES" in entry:
            register_instance_maps(entry["NAME"], masks, images=root / entry["IMAGES"], label=label)
        else:
            register_mask_folders(entry["NAME"], masks, label=label)


def register_mask_folders(name: str, source: Path, *, label: str) -> None:
    """Registers ``source/IMAGE/images/*`` and ``source/IMAGE/masks/*``, a PNG per object.

    Args:
        name: for ``DATASETS.TRAIN`` and ``DATASETS.TEST``.
        source: the folder.
        label: the class of all objects.
    """
    _register(name, "mask-folders", source, None, label)


def register_instance_maps(name: str, masks: Path, *, images: Path, label: str) -> None:
    """Registers a folder of 8- or 16-bit maps: 0 is background, each other value one object.

    Args:
        name: for ``DATASETS.TRAIN`` and ``DATASETS.TEST``.
        masks: folder of the maps.
        images: folder of the images, of the same names less the suffix.
        label: the class of all objects.
    """
    _register(name, "instance-maps", masks, images, label)


Layout = Literal["mask-folders", "instance-maps"]


def _register(name: str, layout: Layout, source: Path, images: Path | None, label: str) -> None:
    require_present(name, folders=filter(None, (source, images)))
    forget_dataset(name)
    read_masks.cache_clear()
    DatasetCatalog.register(name, lambda: load_instance_records(layout, source, images, label))
    MetadataCatalog.get(name).set(
        image_root=str(images or source),
        mask_root=str(source),
        mask_layout=layout,
        evaluator_type="instances",
        thing_classes=[label],
        thing_colors=[list(spread_color(0))],
        thing_dataset_id_to_contiguous_id={1: 0},
    )


def load_instance_records(
    layout: Layout, source: Path, images: Path | None, label: str
) -> list[dict[str, Any]]:
    """Detectron2 records whose ``annotations`` are run lengths: ``INPUT.MASK_FORMAT`` "bitmask".

    What cannot be used is left out and named in a warning.

    Raises:
        UserError: nothing can be used.
    """
    records, log = read_masks(layout, source, images, label)
    if log.entries:
        logger.warning("%s:\n%s", source, log.table())
    if not records:
        raise UserError(f"{source}: no image could be used. {log.table(examples=1)}")
    return copy.deepcopy(records)


class MaskRecords(NamedTuple):
    """What a folder of masks holds."""

    records: list[dict[str, Any]]
    log: ConversionLog
    """What was left out, and why."""


@lru_cache(maxsize=8)
def read_masks(layout: Layout, source: Path, images: Path | None, label: str) -> MaskRecords:
    """Every mask read once, for training, evaluation and checks alike: do not change the result."""
    # Imported here: the readers are for those alone who load such a set.
    from seg_projects.data.conversion import READERS, ConversionLog, ReaderOptions
    from seg_projects.data.conversion.coco_instances import shape_record

    log = ConversionLog()
    options = ReaderOptions(images=images, default_label=label)
    records = [
        {
            "file_name": str(image.source),
            "image_id": image.file_name,
            "height": image.size[0],
            "width": image.size[1],
            "annotations": [
                {**shape_record(item, image.size), "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
                for item in image.objects
                if item.mask.area
            ],
        }
        for image in READERS[layout](source, options, log)
    ]
    return MaskRecords(records, log)

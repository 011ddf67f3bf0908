"""PASCAL VOC 2012 segmentation, from the publisher's layout.

VOC2012/{JPEGImages,SegmentationClass,SegmentationObject,ImageSets/Segmentation}
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seg_projects.data.conversion.annotated import ConversionLog
from seg_projects.data.conversion.coco_instances import shape_record
from seg_projects.data.conversion.image_files import displayed_size, read_pixels
from seg_projects.data.conversion.mask_folders import VOC_NAMES, voc_objects
from seg_projects.data.datasets.preparation import (
    Record,
    in_parallel,
    require_files,
    write_instances_json,
)
from seg_projects.data.datasets.semantic import label_map_records
from seg_projects.errors import UserError

SPLITS = ("train", "val", "trainval")
CLASSES = ("background", *VOC_NAMES)
BORDER = 255
CATEGORIES = [{"id": value, "name": name} for value, name in enumerate(VOC_NAMES, start=1)]
_REMEDY = "unpack VOCtrainval_11-May-2012.tar and move its VOCdevkit/VOC2012 there"


def voc_stems(root: Path, split: str) -> list[str]:
    """Names of the images of a split, as its list has them.

    Raises:
        UserError: there is no such list, or it is empty.
    """
    path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    require_files([path], _REMEDY)
    stems = path.read_text(encoding="utf-8-sig").split()
    if not stems:
        raise UserError(f"{path} lists no image.")
    return stems


def load_voc_sem_seg(root: Path, split: str) -> list[Record]:
    """Records of image and palette PNG; the indices are classes, 255 is the border."""
    files = [
        (s, root / "JPEGImages" / f"{s}.jpg", root / "SegmentationClass" / f"{s}.png")
        for s in voc_stems(root, split)
    ]
    require_files((path for _, *paths in files for path in paths), _REMEDY)
    return label_map_records(files)


def instances_json(root: Path, split: str) -> Path:
    """Where the COCO instances annotations are."""
    return root / "annotations" / f"instances_{split}.json"


def prepare_voc(root: Path) -> list[Path]:
    """Writes the objects of each split as COCO instances; a file that is there stays."""
    files = [instances_json(root, split) for split in SPLITS]
    for split, path in zip(SPLITS, files, strict=True):
        if not path.is_file():
            stems = voc_stems(root, split)
            parts = in_parallel(lambda stem: _read_image(root, stem), stems, split)
            images = [{"id": n, **part[0]} for n, part in enumerate(parts, start=1)]
            write_instances_json(path, images, [part[1] for part in parts], CATEGORIES)
    return files


def _read_image(root: Path, stem: str) -> tuple[Record, list[Record]]:
    image = root / "JPEGImages" / f"{stem}.jpg"
    maps = [root / f"Segmentation{kind}" / f"{stem}.png" for kind in ("Class", "Object")]
    require_files([image, *maps], _REMEDY)
    size = displayed_size(image)
    classes, instances = (read_pixels(path).astype(np.int32) for path in maps)
    for path, values in zip(maps, (classes, instances), strict=True):
        if values.shape != size:
            raise UserError(f"{path} has the shape {values.shape}, its image {size}.")
    classes[classes == 0] = BORDER
    instances[instances == BORDER] = 0
    names = dict(enumerate(VOC_NAMES, start=1))
    numbers = {name: value for value, name in names.items()}
    log = ConversionLog()
    objects = [
        {"category_id": numbers[item.label], **shape_record(item, size)}
        for item in voc_objects(classes, instances, names, maps[1], log)
    ]
    if log.entries:
        raise UserError(log.table(examples=1).replace("\n", " "))
    return {"file_name": image.name, "height": size[0], "width": size[1]}, objects

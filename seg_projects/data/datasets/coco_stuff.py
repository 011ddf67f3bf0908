"""COCO's label maps: COCO-Stuff's pixel maps, and the stuff of its panoptic annotations.

coco/{train,val}2017/*.jpg
coco/stuffthingmaps/{train,val}2017/*.png       things 0-90, stuff 91-181, 255 is unlabelled
coco/annotations/panoptic_{train,val}2017.json  and coco/panoptic_{train,val}2017/*.png
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES
from seg_projects.data.conversion.annotated import AnnotatedImage, ConversionLog
from seg_projects.data.conversion.categories import CategoryChoice
from seg_projects.data.conversion.coco_panoptic import (
    PaintRules,
    write_panoptic_image,
    write_panoptic_json,
    write_png,
)
from seg_projects.data.conversion.image_files import (
    displayed_size,
    find_image,
    list_images,
    read_pixels,
)
from seg_projects.data.conversion.mask_folders import pair_objects
from seg_projects.data.conversion.output import OutputFolder
from seg_projects.data.datasets.panoptic import (
    IGNORE_LABEL,
    category_metadata,
    load_panoptic_records,
    read_panoptic_json,
)
from seg_projects.data.datasets.preparation import Record, in_parallel, require_files
from seg_projects.data.datasets.semantic import load_semantic_records
from seg_projects.data.panoptic_ids import read_panoptic_ids, semantic_labels
from seg_projects.errors import UserError

logger = logging.getLogger(__name__)

SPLITS = ("train", "val")
FIRST_STUFF = 91
STUFF_NAMES = (
    *("banner", "blanket", "branch", "bridge", "building-other", "bush", "cabinet", "cage"),
    *("cardboard", "carpet", "ceiling-other", "ceiling-tile", "cloth", "clothes", "clouds"),
    *("counter", "cupboard", "curtain", "desk-stuff", "dirt", "door-stuff", "fence"),
    *("floor-marble", "floor-other", "floor-stone", "floor-tile", "floor-wood", "flower", "fog"),
    *("food-other", "fruit", "furniture-other", "grass", "gravel", "ground-other", "hill"),
    *("house", "leaves", "light", "mat", "metal", "mirror-stuff", "moss", "mountain", "mud"),
    *("napkin", "net", "paper", "pavement", "pillow", "plant-other", "plastic", "platform"),
    *("playingfield", "railing", "railroad", "river", "road", "rock", "roof", "rug", "salad"),
    *("sand", "sea", "shelf", "sky-other", "skyscraper", "snow", "solid-other", "stairs"),
    *("stone", "straw", "structural-other", "table", "tent", "textile-other", "towel", "tree"),
    *("vegetable", "wall-brick", "wall-concrete", "wall-other", "wall-panel", "wall-stone"),
    *("wall-tile", "wall-wood", "water-other", "waterdrops", "window-blind", "window-other"),
    "wood",
)
# Value in the file -> name: the file's values are COCO's category ids less one.
NAMES = {c["id"] - 1: c["name"] for c in COCO_CATEGORIES if c["isthing"]} | {
    FIRST_STUFF + number: name for number, name in enumerate(STUFF_NAMES)
}
CLASSES = tuple(NAMES[value] for value in sorted(NAMES))
VALUE_MAP = {value: label for label, value in enumerate(sorted(NAMES))}


def load_coco_stuff(root: Path, split: str) -> list[Record]:
    """Records of image and label map of COCO-Stuff.

    Raises:
        UserError: a folder or a label map is missing.
    """
    images, labels = root / f"{split}2017", root / "stuffthingmaps" / f"{split}2017"
    require_files([images, labels], "unpack the images and stuffthingmaps_trainval2017.zip there")
    return load_semantic_records(images, labels)


def prepare_pairs(source: Path, output: Path) -> Path:
    """COCO-Stuff as pairs of maps, ``{train,val}_{img,label,inst}``, to COCO panoptic.

    The maps of instances are not the official ones: only the pair of class and number tells
    segments apart. A split whose JSON is there is left alone.

    Raises:
        UserError: a folder, an image or a map is missing, or a map has another size.
    """
    known = [
        {"id": value + 1, "name": name, "isthing": int(value < FIRST_STUFF)}
        for value, name in sorted(NAMES.items())
    ]
    output.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        folders = {kind: source / f"{split}_{kind}" for kind in ("img", "label", "inst")}
        require_files(folders.values(), "it is one of {train,val}_{img,label,inst}")
        target = OutputFolder(output, split)
        if not target.json_file.is_file():
            _prepare_pairs_of(folders, CategoryChoice(known=known), target)
    return output


def _prepare_pairs_of(
    folders: Mapping[str, Path], choice: CategoryChoice, target: OutputFolder
) -> None:
    log = ConversionLog()
    rules = PaintRules(choice)

    def write(item: tuple[int, Path]) -> tuple[Record, Record]:
        number, label = item
        image = _read_pair(label, folders["img"], folders["inst"] / label.name, log)
        return write_panoptic_image(image, number, rules, target, log)

    items = list(enumerate(list_images(folders["label"]), start=1))
    if not items:
        raise UserError(f"{folders['label']} holds no label maps.")
    write_panoptic_json(in_parallel(write, items, target.name), choice, target)
    if log.entries:
        logger.warning("%s:\n%s", folders["label"], log.table())


def _read_pair(label: Path, images: Path, instances: Path, log: ConversionLog) -> AnnotatedImage:
    """The objects of a class map and the instance map beside it.

    Raises:
        UserError: the image or the instance map is missing, or a map has another size.
    """
    image = find_image(images, label.stem)
    if image is None:
        raise UserError(f"{images} has no image {label.stem!r}, whose label map is {label}.")
    require_files([instances], f"it belongs to {label}")
    size = displayed_size(image)
    classes, numbers = (read_pixels(path).astype(np.int32) for path in (label, instances))
    for path, values in ((label, classes), (instances, numbers)):
        if values.shape != size:
            raise UserError(f"{path} has the shape {values.shape}, its image {size}.")
    objects = list(pair_objects(classes, numbers, NAMES, label.name, log))
    return AnnotatedImage(file_name=image.name, source=image, size=size, objects=objects)


def prepare_panoptic_stuff(root: Path) -> list[Path]:
    """Writes ``panoptic_stuff_*`` of each panoptic split below ``root``; returns the folders.

    That is what Detectron2's ``coco_2017_*_panoptic_separated`` and ``..._stuffonly`` read: 0 is
    all things, stuff counts from 1 in the order of the category ids, 255 is void. A file that is
    there is not written again.

    Raises:
        UserError: there is no panoptic JSON, or it lacks its PNG files.
    """
    files = sorted((root / "annotations").glob("panoptic_*.json"))
    remedy = "unpack the panoptic annotations of COCO there, and the archives of PNG files in them"
    require_files(files or [root / "annotations" / "panoptic_val2017.json"], remedy)
    folders = []
    for path in files:
        split = path.stem.removeprefix("panoptic_")
        masks, output = root / path.stem, root / f"panoptic_stuff_{split}"
        require_files([masks], f"move {path.with_suffix('')} there, where Detectron2 looks for it")
        _prepare_split(path, masks, output)
        folders.append(output)
    return folders


def _prepare_split(path: Path, masks: Path, output: Path) -> None:
    metadata = category_metadata(read_panoptic_json(path)["categories"])
    things = metadata["thing_dataset_id_to_contiguous_id"]
    stuff = metadata["stuff_dataset_id_to_contiguous_id"]

    def write(record: Record) -> None:
        target = output / Path(record["pan_seg_file_name"]).name
        if target.is_file():
            return
        ids = read_panoptic_ids(record["pan_seg_file_name"])
        if ids.shape != (record["height"], record["width"]):
            raise UserError(
                f"{record['pan_seg_file_name']} has the shape {ids.shape}, its image "
                f"{(record['height'], record['width'])}."
            )
        labels = semantic_labels(
            ids, record["segments_info"], things, stuff, ignore_label=IGNORE_LABEL
        )
        write_png(target, labels.astype(np.uint8))

    in_parallel(
        write, load_panoptic_records(path, image_root=masks, panoptic_root=masks), path.stem
    )

"""Small data sets in the layouts of their publishers, for the scripts ``datasets/prepare_*.py``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from converted_sets import save_image

from seg_projects.data.conversion.coco_panoptic import write_png
from seg_projects.data.panoptic_ids import rgb_from_ids

WIDTH, HEIGHT = 6, 4
COUNT = 3  # images of a split


class Layout(NamedTuple):
    """A generated data set and the arguments of its script."""

    arguments: list[str]
    output: Path
    needed: list[Path]
    """Some of the publisher's files, each of which the preparation cannot do without."""


def _map(*values: int, dtype: type = np.uint8) -> np.ndarray:
    """A label map: as many columns of each value as fit."""
    row = np.repeat(values, -(-WIDTH // len(values)))[:WIDTH]
    return np.tile(row, (HEIGHT, 1)).astype(dtype)


def write_pets(root: Path) -> Layout:
    """Cats and dogs: trimaps and two lists."""
    for split in ("trainval", "test"):
        names = [f"Cat_{split}_{n}" for n in range(COUNT)]
        for name in names:
            save_image(root / "images" / f"{name}.jpg", WIDTH, HEIGHT)
            write_png(root / "annotations" / "trimaps" / f"{name}.png", _map(1, 2, 3))
        lines = "".join(f"{name} 1 1 1\n" for name in names)
        (root / "annotations" / f"{split}.txt").write_text(f"#Image CLASS-ID SPECIES\n{lines}")
    output = root.parent / "prepared"
    needed = [root / "annotations" / "test.txt", root / "images" / "Cat_test_2.jpg"]
    return Layout([str(root), "--output", str(output)], output, needed)


def write_camvid(root: Path) -> Layout:
    """Three lists with another machine's folders before the paths."""
    for split in ("train", "val", "test"):
        lines = []
        for number in range(COUNT):
            name = f"{split}_{number}.png"
            save_image(root / split / name, WIDTH, HEIGHT)
            write_png(root / f"{split}annot" / name, _map(0, 5, 11))
            lines.append(f"/SegNet/CamVid/{split}/{name} /SegNet/CamVid/{split}annot/{name}\n")
        (root / f"{split}.txt").write_text("".join(lines))
    output = root.parent / "prepared"
    needed = [root / "val.txt", root / "valannot" / "val_1.png"]
    return Layout([str(root), "--output", str(output)], output, needed)


def write_ade(root: Path) -> Layout:
    """Folders of images and label maps, names in a table."""
    for split in ("training", "validation"):
        for number in range(COUNT):
            save_image(root / "images" / split / f"ADE_{number}.jpg", WIDTH, HEIGHT)
            write_png(root / "annotations" / split / f"ADE_{number}.png", _map(0, 1, 3))
    rows = "".join(f"{n}\t0.1\t10\t5\tname {n}, other\n" for n in range(1, 151))
    (root / "objectInfo150.txt").write_text(f"Idx\tRatio\tTrain\tVal\tName\n{rows}")
    output = root.parent / "prepared"
    needed = [root / "objectInfo150.txt", root / "annotations" / "validation" / "ADE_2.png"]
    return Layout([str(root), "--output", str(output)], output, needed)


def write_cityscapes(root: Path) -> Layout:
    """Two cities per split: raw label ids and instance ids; a group of cars, void, stuff."""
    ids = _map(7, 26001, 26002, 26, 4, 24000, dtype=np.uint16)
    labels = np.where(ids < 1000, ids, ids // 1000).astype(np.uint8)
    for split in ("train", "val"):
        for city in ("aachen", "bonn"):
            for number in range(COUNT):
                stem = f"{city}_00000{number}_000019"
                image = root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png"
                save_image(image, WIDTH, HEIGHT)
                truth = root / "gtFine" / split / city
                write_png(truth / f"{stem}_gtFine_labelIds.png", labels)
                write_png(truth / f"{stem}_gtFine_instanceIds.png", ids)
    needed = [root / "gtFine" / "val" / "bonn" / "bonn_000002_000019_gtFine_labelIds.png"]
    return Layout([str(root)], root, [root / "leftImg8bit" / "train", *needed])


def write_voc(root: Path) -> Layout:
    """Lists of each split; class and object maps."""
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    stems = [f"2007_{n:06}" for n in range(2 * COUNT)]
    for stem in stems:
        save_image(root / "JPEGImages" / f"{stem}.jpg", WIDTH, HEIGHT)
        write_png(root / "SegmentationClass" / f"{stem}.png", _map(0, 15, 255))
        write_png(root / "SegmentationObject" / f"{stem}.png", _map(0, 1, 255))
    for split, part in {"train": stems[:COUNT], "val": stems[COUNT:], "trainval": stems}.items():
        (lists / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in part))
    needed = [lists / "val.txt", root / "SegmentationObject" / f"{stems[-1]}.png"]
    return Layout([str(root)], root, needed)


def write_coco_stuff(root: Path) -> Layout:
    """Pairs of class and instance maps."""
    for split in ("train", "val"):
        for number in range(COUNT):
            save_image(root / f"{split}_img" / f"{number}.jpg", WIDTH, HEIGHT)
            write_png(root / f"{split}_label" / f"{number}.png", _map(0, 91, 255))
            write_png(root / f"{split}_inst" / f"{number}.png", _map(1, 91, 255))
    output = root.parent / "prepared"
    needed = [root / "val_inst", root / "val_img" / "2.jpg"]
    return Layout([str(root), "--output", str(output)], output, needed)


def write_coco_panoptic_separated(root: Path) -> Layout:
    """The panoptic files of two splits."""
    kinds = ((1, "person", 1), (92, "banner", 0))
    categories = [{"id": i, "name": name, "isthing": isthing} for i, name, isthing in kinds]
    (root / "annotations").mkdir(parents=True)
    segments = [{"id": 256, "category_id": 1}, {"id": 2, "category_id": 92}]
    for split in ("train2017", "val2017"):
        images, annotations = [], []
        for number in range(COUNT):
            write_png(
                root / f"panoptic_{split}" / f"{number}.png",
                rgb_from_ids(_map(0, 2, 256, dtype=np.int32)),
            )
            record = {"id": number, "file_name": f"{number}.jpg"}
            images.append(record | {"width": WIDTH, "height": HEIGHT})
            named = {"image_id": number, "file_name": f"{number}.png"}
            annotations.append(named | {"segments_info": segments})
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(content))
    needed = [root / "panoptic_val2017", root / "panoptic_val2017" / "2.png"]
    return Layout([str(root)], root, needed)


LAYOUTS: dict[str, Callable[[Path], Layout]] = {
    "pets": write_pets,
    "camvid": write_camvid,
    "ade": write_ade,
    "cityscapes": write_cityscapes,
    "voc": write_voc,
    "coco_stuff": write_coco_stuff,
    "coco_panoptic_separated": write_coco_panoptic_separated,
}

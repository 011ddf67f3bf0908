"""Publishers' layouts of Oxford-IIIT Pet, CamVid and ADE20K, as images and label maps.

Written are ``images/SPLIT/*``, ``labels/SPLIT/*.png`` (classes from 0, 255 is ignored) and, last,
``classes.txt``. A file that is there is not written again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from seg_projects.data.conversion.coco_panoptic import write_png
from seg_projects.data.conversion.image_files import list_images, read_pixels, require_folder
from seg_projects.data.datasets.preparation import in_parallel
from seg_projects.errors import UserError
from seg_projects.files import copy_atomically, write_atomically

IGNORED = 255
PET_CLASSES = ("background", "cat", "dog")
CAMVID_CLASSES = (
    *("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car"),
    *("pedestrian", "bicyclist"),
)


class LabelledImage(NamedTuple):
    """An image, its label map, and what the map's values become."""

    split: str
    image: Path
    label: Path
    classes: Mapping[int, int]
    """Value in the file -> class, or 255."""


def prepare_pets(source: Path, output: Path) -> Path:
    """``images/*.jpg``, ``annotations/{trimaps/*.png,trainval.txt,test.txt}``: cats and dogs."""
    images = require_folder(source / "images", "Oxford-IIIT Pet keeps its images there")
    trimaps = require_folder(source / "annotations" / "trimaps", "its label maps lie there")
    items = []
    for split, name in (("train", "trainval"), ("val", "test")):
        for line in _lines(source / "annotations" / f"{name}.txt"):
            stem, _, species, *_ = line.split()
            # 1 is the animal, 2 the background, 3 the border between them.
            classes = {1: int(species), 2: 0, 3: IGNORED}
            items.append(
                LabelledImage(split, images / f"{stem}.jpg", trimaps / f"{stem}.png", classes)
            )
    return _prepare(items, PET_CLASSES, output)


def prepare_camvid(source: Path, output: Path) -> Path:
    """``{train,val,test}.txt``, whose paths may begin with another machine's folders."""
    classes = {value: value for value in range(len(CAMVID_CLASSES))} | {11: IGNORED}
    items = []
    for split in ("train", "val", "test"):
        for line in _lines(source / f"{split}.txt"):
            # Of both paths, the folder and the name belong to the set.
            image, label = (source.joinpath(*PurePosixPath(p).parts[-2:]) for p in line.split())
            items.append(LabelledImage(split, image, label, classes))
    return _prepare(items, CAMVID_CLASSES, output)


def prepare_ade(source: Path, output: Path) -> Path:
    """``{images,annotations}/{training,validation}`` and ``objectInfo150.txt``: 150 classes."""
    rows = [line.split("\t") for line in _lines(source / "objectInfo150.txt")[1:]]
    names = [row[-1].split(",")[0].strip() for row in rows]
    # 0 is what belongs to no class.
    classes = {0: IGNORED} | {value: value - 1 for value in range(1, len(names) + 1)}
    items = []
    for folder, split in (("training", "train"), ("validation", "val")):
        images = require_folder(source / "images" / folder, "ADE20K keeps its images there")
        for image in list_images(images):
            label = source / "annotations" / folder / f"{image.stem}.png"
            items.append(LabelledImage(split, image, label, classes))
    return _prepare(items, names, output)


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}.") from error
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _prepare(items: Sequence[LabelledImage], classes: Sequence[str], output: Path) -> Path:
    missing = [path for item in items for path in (item.image, item.label) if not path.is_file()]
    if missing:
        raise UserError(f"{len(missing)} files are missing, the first is {missing[0]}.")
    if not items:
        raise UserError("The source lists no images.")
    in_parallel(lambda item: _prepare_one(item, output), items, output.name)
    names = "".join(f"{name}\n" for name in classes).encode()
    if not (output / "classes.txt").is_file() or (output / "classes.txt").read_bytes() != names:
        write_atomically(output / "classes.txt", names)
    return output


def _prepare_one(item: LabelledImage, output: Path) -> None:
    image = output / "images" / item.split / item.image.name
    if not image.is_file():
        image.parent.mkdir(parents=True, exist_ok=True)
        copy_atomically(item.image, image)
    label = output / "labels" / item.split / f"{item.image.stem}.png"
    if not label.is_file():
        write_png(label, _classes_of(item))


def _classes_of(item: LabelledImage) -> np.ndarray:
    """The (H, W) uint8 classes of a label map.

    Raises:
        UserError: it has colours, or a value that the data set does not know.
    """
    values = read_pixels(item.label)
    if values.ndim != 2 or values.dtype != np.uint8:
        raise UserError(f"{item.label} is no label map of one 8-bit channel.")
    if unknown := sorted(set(np.flatnonzero(np.bincount(values.ravel()))) - set(item.classes)):
        raise UserError(f"{item.label} holds the value {unknown[0]}, which is no class.")
    table = np.full(256, IGNORED, dtype=np.uint8)
    for value, label in item.classes.items():
        table[value] = label
    return table[values]

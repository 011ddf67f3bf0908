"""Checks of binary masks of classes beside their images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from seg_projects.data.class_masks import mask_values, other_values
from seg_projects.data.datasets.class_masks import class_mask_record, find_class_masks
from seg_projects.data.doctor.findings import Finding, Record
from seg_projects.data.doctor.label_maps import check_subfolders, images_by_stem
from seg_projects.errors import UserError


def match_class_masks(
    images: Path, masks: Path, classes: Sequence[str]
) -> tuple[list[Record], list[Finding]]:
    """The records of the images that have masks, and what is wrong with the others.

    Args:
        images: folder of the images.
        masks: folder of ``CLASS/NAME.png`` or ``NAME/CLASS.png``.
        classes: names of the classes.
    """
    by_stem, findings = images_by_stem(images)
    records = []
    for stem, files in find_class_masks(masks, classes, list(by_stem)):
        path = by_stem[stem]
        if not any(files):
            text = f"{masks} has no mask of it, of whichever class"
            findings.append(Finding("missing class mask", path.name, text, image=path.name))
            continue
        try:
            records.append(class_mask_record(stem, path, files))
        except UserError as error:
            findings.append(Finding("unreadable image", path.name, str(error)))
    for name in classes:
        folder = masks / name
        strays = images_by_stem(folder)[0].keys() - by_stem.keys() if folder.is_dir() else ()
        for stem in sorted(strays):
            text = f"the mask {name}/{stem} has no image in {images}"
            findings.append(Finding("missing image", stem, text))
    return records, [*findings, *check_subfolders(images, masks)]


def check_class_masks(
    record: Record, table: np.ndarray, areas: dict[int, int] | None = None
) -> Iterator[Finding]:
    """The masks of one image, decoded.

    Args:
        record: of the data set: ``class_mask_file_names``, ``file_name``, ``height``, ``width``.
        table: from :func:`mask_table`.
        areas: takes the pixels of each class that occurs.
    """
    image, size = record["file_name"], (record["height"], record["width"])
    for label, file in enumerate(record["class_mask_file_names"]):
        if file is None:
            continue
        where = "/".join(Path(file).parts[-2:])
        try:
            values = mask_values(Path(file))
        except UserError as error:
            yield Finding("unreadable class mask", where, str(error), image=image)
            continue
        if values.shape != size:
            text = f"{values.shape[1]} x {values.shape[0]}, its image {size[1]} x {size[0]} pixels"
            yield Finding("class mask of another size", where, text, image=image)
        known = table[values]
        if (known < 0).any():
            text = f"it {other_values(values[known < 0])}"
            yield Finding("value in a class mask", where, text, image=image)
        pixels = int(np.count_nonzero(known == 1))
        if pixels and areas is not None:
            areas[label] = pixels


def check_occurring(classes: set[int], names: Sequence[str]) -> Iterator[Finding]:
    """Classes that no image shows.

    Args:
        classes: that occur, see :func:`check_class_masks`.
        names: of all classes.
    """
    for label, name in enumerate(names):
        if label not in classes:
            text = "no mask has a pixel of it: is its folder or file called otherwise?"
            yield Finding("class without pixels", name, text)

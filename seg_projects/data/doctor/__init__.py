"""The data doctor: finds the defects of COCO instances and COCO panoptic files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from seg_projects.data.conversion.image_files import list_images, read_json
from seg_projects.data.label_maps import IGNORED
from seg_projects.errors import UserError

from .class_masks import check_class_masks, check_occurring, match_class_masks
from .conversion import Converted, read_converted
from .corrections import corrected
from .findings import KINDS, Finding, Record, findings_table, has_errors
from .images import (
    ImageFacts,
    check_categories,
    check_image_files,
    check_image_records,
    check_splits,
    in_threads,
)
from .instances import check_instances
from .label_maps import check_classes, check_label_map, match_label_maps
from .near_duplicates import check_near_duplicates, check_near_splits
from .panoptic import check_panoptic
from .statistics import CategoryCount, DataStatistics, data_statistics

__all__ = [
    "KINDS",
    "CategoryCount",
    "Converted",
    "DataStatistics",
    "Finding",
    "ImageFacts",
    "corrected",
    "data_statistics",
    "findings_table",
    "has_errors",
    "image_records",
    "inspect_class_masks",
    "inspect_data",
    "inspect_label_maps",
    "match_class_masks",
    "match_label_maps",
    "read_annotations",
    "read_converted",
]


def read_annotations(path: Path) -> Record:
    """The COCO file at ``path``.

    Raises:
        UserError: it is none.
    """
    content = read_json(path)
    parts = ("images", "annotations", "categories")
    if not isinstance(content, dict):
        raise UserError(f"{path} is no COCO file: it holds a list.")
    for part in parts:
        records = content.get(part)
        if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
            raise UserError(f"{path} is no COCO file: {part!r} is not a list of objects.")
    return content


def inspect_label_maps(
    records: Sequence[Record],
    table: np.ndarray,
    **options: Any,
) -> list[Finding]:
    """All findings of label maps and their images.

    Args:
        records: of the data set, see :func:`match_label_maps`.
        table: value in the file -> class, see :func:`class_table`.
        options: as :func:`_inspect_maps` takes them.
    """
    return _inspect_maps(records, partial(check_label_map, table=table), check_classes, **options)


def inspect_class_masks(
    records: Sequence[Record], table: np.ndarray, names: Sequence[str], **options: Any
) -> list[Finding]:
    """All findings of masks of classes and their images.

    Args:
        records: of the data set, see :func:`match_class_masks`.
        table: from :func:`mask_table`.
        names: of the classes.
        options: as :func:`_inspect_maps` takes them.
    """
    check = partial(check_class_masks, table=table)
    return _inspect_maps(records, check, partial(check_occurring, names=names), **options)


def _inspect_maps(
    records: Sequence[Record],
    check_map: Callable[..., Iterator[Finding]],
    check_set: Callable[[set[int]], Iterator[Finding]],
    *,
    other: Path | None = None,
    workers: int = 4,
    mirror: bool = False,
    facts: ImageFacts | None = None,
    areas: list[Record] | None = None,
) -> list[Finding]:
    """All findings of images and of what labels their pixels.

    Args:
        records: of the data set.
        check_map: of a record; ``areas`` takes the pixels of each class that occurs.
        check_set: of the classes that occur.
        other: folder of the images of another split, which must share none.
        workers: threads.
        mirror: whether mirror images count as near-duplicates.
        facts: takes what was seen of the images.
        areas: takes ``image_id``, ``category_id`` and ``area`` of each class in each image.
    """
    images = image_records(records)
    folder = Path(records[0]["file_name"]).parent if records else Path()
    facts = ImageFacts() if facts is None else facts
    findings = list(check_image_files(images, folder, facts, workers=workers))
    findings += check_near_duplicates(facts.fingerprints, folder, mirror=mirror)
    if other is not None:
        names = [path.relative_to(other).as_posix() for path in list_images(other)]
        listed = [{"id": n, "file_name": n, "height": 1, "width": 1} for n in names]
        findings += _compare(facts, (listed, other), workers=workers, mirror=mirror)

    def check(record: Record) -> tuple[list[Finding], dict[int, int]]:
        pixels: dict[int, int] = {}
        return list(check_map(record, areas=pixels)), pixels

    classes: set[int] = set()
    for record, (found, pixels) in zip(records, in_threads(check, records, workers), strict=True):
        findings += found
        classes.update(pixels)
        if areas is not None:
            areas += [
                {"image_id": record["image_id"], "category_id": label, "area": area}
                for label, area in pixels.items()
                if label != IGNORED
            ]
    return [*findings, *check_set(classes)]


def image_records(records: Sequence[Record]) -> list[Record]:
    """COCO image records of the records of a data set of label maps or masks of classes."""
    return [{**r, "id": r["image_id"], "file_name": Path(r["file_name"]).name} for r in records]


def inspect_data(
    content: Record,
    images: Path,
    masks: Path,
    *,
    num_classes: int | None = None,
    divisor: int = 1000,
    other: tuple[Record, Path] | None = None,
    workers: int = 4,
    mirror: bool = False,
    facts: ImageFacts | None = None,
) -> list[Finding]:
    """All findings of an annotation file, its images and, if panoptic, its PNG files.

    Args:
        content: of the COCO file, instances or panoptic.
        images: folder of the images.
        masks: folder of the PNG files of a panoptic set; not looked at otherwise.
        num_classes: thing classes that the config expects.
        divisor: panoptic label divisor of the model: more than the instances of a class.
        other: content and image folder of another split, which must share no image.
        workers: threads.
        mirror: whether mirror images count as near-duplicates.
        facts: takes what was seen of the images.
    """
    panoptic = any("segments_info" in annotation for annotation in content["annotations"])
    findings = list(
        check_categories(content["categories"], panoptic=panoptic, num_classes=num_classes)
    )
    findings += check_image_records(content["images"])
    facts = ImageFacts() if facts is None else facts
    findings += check_image_files(content["images"], images, facts, workers=workers)
    findings += check_near_duplicates(facts.fingerprints, images, mirror=mirror)
    if other is not None:
        findings += _compare(facts, (other[0]["images"], other[1]), workers=workers, mirror=mirror)
    if panoptic:
        findings += check_panoptic(content, masks, divisor=divisor, workers=workers)
    else:
        findings += check_instances(content)
    return findings


def _compare(
    facts: ImageFacts, other: tuple[Sequence[Record], Path], *, workers: int, mirror: bool
) -> list[Finding]:
    """Images that occur in another split, too: its records and its folder."""
    records, folder = other
    others = ImageFacts()
    # Findings about the other split belong to its own inspection.
    list(check_image_files(records, folder, others, workers=workers))
    shared = {name for digest, name in facts.names.items() if digest in others.names}
    fresh = {name: value for name, value in facts.fingerprints.items() if name not in shared}
    return [
        *check_splits(facts.names, others.names, folder),
        *check_near_splits(fresh, others.fingerprints, folder, mirror=mirror),
    ]

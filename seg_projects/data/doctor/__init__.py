"""The data doctor: finds the defects of COCO instances and COCO panoptic files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seg_projects.data.conversion.image_files import read_json
from seg_projects.errors import UserError

from .conversion import read_converted
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
from .label_maps import check_gaps, check_label_map
from .near_duplicates import check_near_duplicates, check_near_splits
from .panoptic import check_panoptic
from .statistics import CategoryCount, DataStatistics, data_statistics

__all__ = [
    "KINDS",
    "CategoryCount",
    "DataStatistics",
    "Finding",
    "ImageFacts",
    "corrected",
    "data_statistics",
    "findings_table",
    "has_errors",
    "inspect_data",
    "inspect_label_maps",
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
    *,
    workers: int = 4,
    mirror: bool = False,
    facts: ImageFacts | None = None,
) -> list[Finding]:
    """All findings of label maps and their images.

    Args:
        records: of the data set, see :func:`load_semantic_records`.
        table: value in the file -> class, see :func:`class_table`.
        workers: threads.
        mirror: whether mirror images count as near-duplicates.
        facts: takes what was seen of the images.
    """
    images = [{**r, "id": r["image_id"], "file_name": Path(r["file_name"]).name} for r in records]
    folder = Path(records[0]["file_name"]).parent if records else Path()
    facts = facts or ImageFacts()
    findings = list(check_image_files(images, folder, facts, workers=workers))
    findings += check_near_duplicates(facts.fingerprints, folder, mirror=mirror)
    classes: set[int] = set()

    def check(record: Record) -> list[Finding]:
        return list(check_label_map(record, table, classes))

    for found in in_threads(check, records, workers):
        findings += found
    return [*findings, *check_gaps(classes)]


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
    facts = facts or ImageFacts()
    findings += check_image_files(content["images"], images, facts, workers=workers)
    findings += check_near_duplicates(facts.fingerprints, images, mirror=mirror)
    if other is not None:
        others, folder = ImageFacts(), other[1]
        # Findings about the other split belong to its own inspection.
        list(check_image_files(other[0]["images"], folder, others, workers=workers))
        findings += check_splits(facts.names, others.names, folder)
        fresh = _less_shared(facts, others)
        findings += check_near_splits(fresh, others.fingerprints, folder, mirror=mirror)
    if panoptic:
        findings += check_panoptic(content, masks, divisor=divisor, workers=workers)
    else:
        findings += check_instances(content)
    return findings


def _less_shared(facts: ImageFacts, others: ImageFacts) -> dict[str, bytes]:
    """The fingerprints of images whose content does not occur in the other split."""
    shared = {name for digest, name in facts.names.items() if digest in others.names}
    return {name: print_ for name, print_ in facts.fingerprints.items() if name not in shared}

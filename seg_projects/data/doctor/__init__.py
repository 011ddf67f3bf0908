"""The data doctor: finds the defects of COCO instances and COCO panoptic files."""

from __future__ import annotations

from pathlib import Path

from seg_projects.data.conversion.image_files import read_json
from seg_projects.errors import UserError

from .corrections import corrected
from .findings import KINDS, Finding, Record, findings_table, has_errors
from .images import check_categories, check_image_files, check_image_records, check_splits
from .instances import check_instances
from .panoptic import check_panoptic
from .statistics import CategoryCount, DataStatistics, data_statistics

__all__ = [
    "KINDS",
    "CategoryCount",
    "DataStatistics",
    "Finding",
    "corrected",
    "data_statistics",
    "findings_table",
    "has_errors",
    "inspect_data",
    "read_annotations",
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


def inspect_data(
    content: Record,
    images: Path,
    masks: Path,
    *,
    num_classes: int | None = None,
    divisor: int = 1000,
    other: tuple[Record, Path] | None = None,
    workers: int = 4,
    colors: dict[str, tuple[float, ...]] | None = None,
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
        colors: takes the mean colour of each image by its file name.
    """
    panoptic = any("segments_info" in annotation for annotation in content["annotations"])
    findings = list(
        check_categories(content["categories"], panoptic=panoptic, num_classes=num_classes)
    )
    findings += check_image_records(content["images"])
    digests: dict[str, str] = {}
    findings += check_image_files(
        content["images"], images, digests, workers=workers, colors=colors
    )
    if other is not None:
        others: dict[str, str] = {}
        # Findings about the other split belong to its own inspection.
        list(check_image_files(other[0]["images"], other[1], others, workers=workers))
        findings += check_splits(digests, others)
    if panoptic:
        findings += check_panoptic(content, masks, divisor=divisor, workers=workers)
    else:
        findings += check_instances(content)
    return findings

"""Annotations of other tools, as the doctor sees them: what a conversion would make of them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from seg_projects.data.conversion import READERS, ConversionLog, ReaderOptions
from seg_projects.data.conversion.coco_instances import shape_record
from seg_projects.data.doctor.findings import Finding, Record
from seg_projects.errors import UserError


def left_out(log: ConversionLog) -> list[Finding]:
    """A finding for each note of a reader."""
    return [
        Finding("left out by the reader", kind, text)
        for kind, texts in log.entries.items()
        for text in texts
    ]


class Converted(NamedTuple):
    """What :func:`read_converted` gives."""

    content: Record
    """As of a COCO instances file; categories are the labels in the order of their names."""
    images: Path
    """The folder from which the names of the images start."""
    findings: list[Finding]
    """What the reader left out."""


def read_converted(tool: str, source: Path, options: ReaderOptions) -> Converted:
    """The COCO instances file that a conversion of ``source`` would write.

    Args:
        tool: one of ``READERS``.
        source: its file or folder.
        options: what the files do not say.

    Raises:
        UserError: nothing can be used, or an annotation file embeds its image.
    """
    log = ConversionLog()
    folder = options.images or (source if source.is_dir() else source.parent)
    images: list[Record] = []
    annotations: list[Record] = []
    for image in READERS[tool](source, options, log):
        if not isinstance(image.source, Path):
            raise UserError(
                f"{image.file_name} is embedded in its annotations: run tools/convert.py first."
            )
        record = {
            "id": len(images) + 1,
            "file_name": _relative(image.source, folder),
            "height": image.size[0],
            "width": image.size[1],
        }
        images.append(record)
        for item in image.objects:
            if item.mask.area:
                shape = shape_record(item, image.size)
            else:
                log.note("object without pixels", f"{image.file_name}: {item.label!r}")
                continue
            annotations.append(
                {"id": len(annotations) + 1, "image_id": record["id"], "category_id": item.label}
                | shape
            )
    if not images:
        raise UserError(f"{source}: no image could be used. {log.table(examples=1)}")
    labels = sorted({annotation["category_id"] for annotation in annotations})
    ids = {label: number for number, label in enumerate(labels, start=1)}
    for annotation in annotations:
        annotation["category_id"] = ids[annotation["category_id"]]
    categories = [{"id": number, "name": label} for label, number in ids.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return Converted(content, folder, left_out(log))


def _relative(path: Path, folder: Path) -> str:
    path = path.resolve()
    inside = path.is_relative_to(folder.resolve())
    return (path.relative_to(folder.resolve()) if inside else path).as_posix()

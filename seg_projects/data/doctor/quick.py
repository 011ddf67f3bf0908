"""The doctor's quick part, for the start of a training: what is written, and which files exist.

Every record of the annotation file is looked at that the data set uses, every image has to exist,
and of some of the files the size is compared; nothing but a few label maps, and the masks of a data
set that has no other truth, is decoded.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

from PIL import Image

from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog
from seg_projects.data.conversion.image_files import displayed_size, read_json
from seg_projects.data.datasets.instance_masks import read_masks
from seg_projects.data.datasets.instances import read_instances_json
from seg_projects.data.datasets.panoptic import read_panoptic_json
from seg_projects.data.doctor.class_masks import check_class_masks
from seg_projects.data.doctor.conversion import left_out
from seg_projects.data.doctor.findings import Finding, Record, has_errors
from seg_projects.data.doctor.images import (
    check_categories,
    check_image_records,
    check_size,
    sound_images,
)
from seg_projects.data.doctor.instances import check_fields, check_instance_records
from seg_projects.data.doctor.label_maps import check_label_map
from seg_projects.data.doctor.panoptic import check_segment_records
from seg_projects.errors import UserError

# Files whose size is read, and label maps that are decoded, spread over the data set.
NUM_HEADERS = 256
NUM_LABEL_MAPS = 16
DIVISOR = 1000

Item = TypeVar("Item")


def require_sound(name: str) -> None:
    """Raises if the quick part finds an error in the registered data set ``name``.

    Raises:
        UserError: it tells what was found and how to see the rest.
    """
    errors = [f for f in quick_findings(name) if f.severity == "error"]
    if not errors:
        return
    kinds = Counter(f.kind for f in errors)
    listed = ", ".join(f"{kind} ({count})" for kind, count in kinds.items())
    first = errors[0]
    raise UserError(
        f"Data set {name!r} has errors: {listed}. The first: {first.where}: {first.text}. All of "
        f"them: `{tool_command(MetadataCatalog.get(name))}`. DATASETS.CHECK False trains all the "
        "same."
    )


def tool_command(metadata: Metadata) -> str:
    """The command line of the whole doctor for a data set."""
    images = f"--images {metadata.get('image_root')}"
    if path := metadata.get("panoptic_json"):
        masks = f"--masks {metadata.get('panoptic_root')}"
        return f"python tools/inspect_data.py {path} {images} {masks}"
    if path := metadata.get("json_file") or metadata.get("instances_json"):
        return f"python tools/inspect_data.py {path} {images}"
    if layout := metadata.get("mask_layout"):
        command = f"python tools/inspect_data.py {metadata.mask_root} --tool {layout}"
        return command if layout == "mask-folders" else f"{command} {images}"
    folder = metadata.get("image_root")
    if metadata.get("evaluator_type") == "class_masks":
        classes = quote(",".join(metadata.stuff_classes))
        masks = f"--class-masks {metadata.mask_root} --classes {classes}"
        return f"python tools/inspect_data.py {folder} {masks}"
    labels, count = metadata.get("sem_seg_root"), len(metadata.get("stuff_classes", ()))
    return f"python tools/inspect_data.py {folder} --labels {labels} --num-classes {count}"


def quick_findings(name: str) -> list[Finding]:
    """What the quick part finds in a data set of the kinds that this project trains on.

    Of others, none: their own loaders judge them.
    """
    metadata = MetadataCatalog.get(name)
    kind = metadata.get("evaluator_type")
    if kind == "panoptic":
        return _check_panoptic(name, metadata)
    if kind in ("instances", "coco"):
        if metadata.get("mask_layout"):
            return _check_masks(metadata)
        return _check_instances(metadata)
    if kind == "class_masks":
        return _check_class_masks(DatasetCatalog.get(name), metadata)
    if kind == "label_maps":
        return _check_label_maps(DatasetCatalog.get(name), metadata)
    return []


def _check_panoptic(name: str, metadata: Metadata) -> list[Finding]:
    path = Path(metadata.panoptic_json)
    if not path.is_file():
        DatasetCatalog.get(name)  # says how the file is made
    content = used_part(read_panoptic_json(path), metadata.get("image_ids"))
    findings = [
        *check_categories(content["categories"], panoptic=True, num_classes=None),
        *check_image_records(content["images"]),
        *check_segment_records(content, divisor=DIVISOR),
    ]
    if has_errors(findings):
        return findings
    records = DatasetCatalog.get(name)
    pngs = [r | {"file_name": r["pan_seg_file_name"]} for r in records]
    return [
        *findings,
        *_check_files(records, missing="missing image", unreadable="unreadable image"),
        *(
            f._replace(kind="PNG of another size") if f.kind == "size mismatch" else f
            for f in _check_files(pngs, missing="missing PNG", unreadable="unreadable PNG")
        ),
    ]


def used_part(content: Record, image_ids: Container[Any] | None) -> Record:
    """The images of ``image_ids`` and what annotates them; all where it is None."""
    if image_ids is None:
        return content
    return content | {
        "images": [i for i in content["images"] if i.get("id") in image_ids],
        "annotations": [a for a in content["annotations"] if a.get("image_id") in image_ids],
    }


def _check_masks(metadata: Metadata) -> list[Finding]:
    """What the reader of the masks had to leave out; the training would miss it."""
    folder = Path(metadata.image_root)
    maps = metadata.mask_layout == "instance-maps"
    read = read_masks(
        metadata.mask_layout,
        Path(metadata.mask_root),
        folder if maps else None,
        metadata.thing_classes[0],
    )
    return left_out(read.log)


def _check_instances(metadata: Metadata) -> list[Finding]:
    registered = metadata.get("instances_json")
    path = registered or metadata.get("json_file")
    folder = Path(metadata.get("image_root", ""))
    if not path or not Path(path).is_file() or not folder.is_dir():
        return []  # its loader names what is missing
    # The registration has parsed the file already.
    content = read_instances_json(Path(path)) if registered else read_json(Path(path))
    content = used_part(content, metadata.get("image_ids"))
    findings = [
        *check_categories(content["categories"], panoptic=False, num_classes=None),
        *check_image_records(content["images"]),
        *check_instance_records(content, check_fields),
    ]
    images = [
        record | {"file_name": str(folder / record["file_name"])}
        for record in sound_images(content).values()
    ]
    findings += _check_files(images, missing="missing image", unreadable="unreadable image")
    return findings


def _check_label_maps(records: Sequence[Record], metadata: Metadata) -> list[Finding]:
    labels = [r | {"file_name": r["sem_seg_file_name"]} for r in records]
    findings = [
        *_missing([r["file_name"] for r in records], "missing image"),
        *_missing([r["file_name"] for r in labels], "missing label map"),
    ]
    if not findings:
        for record in spread(records, NUM_LABEL_MAPS):
            findings += check_label_map(record, metadata.label_table)
    return findings


def _check_class_masks(records: Sequence[Record], metadata: Metadata) -> list[Finding]:
    findings = list(_missing([r["file_name"] for r in records], "missing image"))
    for record in spread(records, NUM_LABEL_MAPS):
        findings += check_class_masks(record, metadata.label_table)
    return findings


def _check_files(records: Sequence[Record], *, missing: str, unreadable: str) -> list[Finding]:
    """Whether all files exist; of some, whether the size is that of the record."""
    findings = list(_missing([record["file_name"] for record in records], missing))
    absent = {finding.where for finding in findings}
    for record in spread(records, NUM_HEADERS):
        name = record["file_name"]
        if name in absent:
            continue
        try:
            size = displayed_size(Path(name))
        except OSError as error:
            findings.append(Finding(unreadable, name, str(error)))
            continue
        findings += check_size(record, size, partial(_stored_size, name))
    return findings


def _stored_size(path: str) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.height, image.width


def _missing(paths: Iterable[str], kind: str) -> Iterator[Finding]:
    """One listing per folder, which is much faster than a question per file."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        folder, name = os.path.split(path)
        by_folder[folder].append(name)
    for folder, names in by_folder.items():
        present = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        for name in names:
            if name not in present:
                path = os.path.join(folder, name)
                yield Finding(kind, path, "it does not exist")


def spread(items: Sequence[Item], number: int) -> list[Item]:
    """At most ``number`` of ``items``, evenly spaced, the first and the last among them."""
    if len(items) <= number:
        return list(items)
    step = (len(items) - 1) / (number - 1)
    return [items[round(i * step)] for i in range(number)]

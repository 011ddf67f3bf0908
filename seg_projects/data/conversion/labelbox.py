"""Labelbox: NDJSON of data rows, or the older JSON list; masks behind links are not fetched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from seg_projects.data.conversion import shapes
from seg_projects.data.conversion.annotated import (
    MALFORMED,
    AnnotatedImage,
    ConversionLog,
    MaskedObject,
    ReaderOptions,
    Record,
)
from seg_projects.data.conversion.image_files import (
    checked_size,
    find_image,
    is_file,
    locate_image,
)
from seg_projects.errors import UserError


def read_labelbox(
    source: Path, options: ReaderOptions, log: ConversionLog
) -> Iterator[AnnotatedImage]:
    """The images of the export ``source``, found by name in ``images`` or beside the file."""
    folder = options.images or source.parent
    for number, row in enumerate(_rows(source)):
        try:
            name, stated, entries = _row_parts(row, log)
            path = _image(folder, name)
        except MALFORMED as error:
            log.note("unreadable annotation", f"{source}: row {number}: {error!r}; left out")
            continue
        size = checked_size(path, name, log, stated)
        if size is not None:
            yield AnnotatedImage(
                file_name=path.name,
                source=path,
                size=size,
                objects=list(_objects(name, entries, size, log)),
            )


def _rows(source: Path) -> list[Any]:
    try:
        text = source.read_text(encoding="utf-8-sig").strip()
        if text.startswith("["):
            return list(json.loads(text))
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except OSError as error:
        raise UserError(f"The Labelbox export {source} cannot be read: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source} is neither NDJSON nor a JSON list: {error}.") from error


def _image(folder: Path, name: str) -> Path:
    """The image of that name; external ids may lack the suffix."""
    path, _ = locate_image(folder, name)
    return path if is_file(path) else find_image(folder, name) or path


def _row_parts(row: Record, log: ConversionLog) -> tuple[str, tuple[int, int] | None, list[Record]]:
    """Image name, (H, W) where it is given, and objects of one data row, new or old form."""
    if "data_row" in row:
        data = row["data_row"]
        link = data.get("external_id") or data.get("global_key") or data["row_data"]
        attributes = row.get("media_attributes") or {}
        height, width = attributes.get("height"), attributes.get("width")
        labels = [label for p in row["projects"].values() for label in p["labels"]]
        if len(labels) > 1:
            log.note("several labels", f"{link}: {len(labels)} of one image; the first is taken")
        entries = [e for label in labels[:1] for e in label["annotations"].get("objects", [])]
    else:
        link = row.get("External ID") or row["Labeled Data"]
        height = width = None
        entries = (row.get("Label") or {}).get("objects", [])
    name = PurePosixPath(urlsplit(link).path).name
    return name, (height, width) if height and width else None, entries


def _objects(
    name: str, entries: list[Record], size: tuple[int, int], log: ConversionLog
) -> Iterator[MaskedObject]:
    for number, entry in enumerate(entries):
        try:
            shape = _shape(entry, size)
            label = str(entry.get("name") or entry.get("title") or entry["value"])
        except MALFORMED as error:
            log.note("unusable shape", f"{name}: object {number}: {error}; left out")
            continue
        yield MaskedObject(label=label, mask=shape.mask, polygons=shape.polygons)


def _shape(entry: Record, size: tuple[int, int]) -> shapes.Shape:
    if "polygon" in entry:
        return shapes.polygon([(p["x"], p["y"]) for p in entry["polygon"]], size)
    if "line" in entry:
        return shapes.line([(p["x"], p["y"]) for p in entry["line"]], size)
    box = entry.get("bounding_box") or entry.get("bbox")
    if box is not None:
        right, lower = box["left"] + box["width"], box["top"] + box["height"]
        return shapes.rectangle((box["left"], box["top"]), (right, lower), size)
    if any(key in entry for key in ("mask", "composite_mask", "instanceURI")):
        raise ValueError("its mask lies behind a link: download the masks, then use mask-folders")
    raise ValueError("it has no polygon, line or box")

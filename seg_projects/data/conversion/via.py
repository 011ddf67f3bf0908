"""VGG Image Annotator, versions 1 to 3: one JSON or CSV file for a folder of images."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
    is_file,
    locate_image,
    read_json,
)
from seg_projects.data.conversion.via_3 import project_entries
from seg_projects.data.conversion.via_csv import read_via_csv
from seg_projects.errors import UserError


def read_via(source: Path, options: ReaderOptions, log: ConversionLog) -> Iterator[AnnotatedImage]:
    """The images of the VIA file ``source``, or of the only JSON or CSV in that folder."""
    file = _find_file(source)
    entries = _entries(file, log)
    attribute = options.class_attribute or _class_attribute(file, entries, options)
    for entry in entries.values():
        try:
            path, name = _image(entry, options.images or file.parent)
        except ValueError as error:
            log.note("unreadable annotation", f"{file}: {error}; left out")
            continue
        size = checked_size(path, name, log)
        if size is None:
            continue
        objects = []
        for number, region in enumerate(_regions(entry)):
            where = f"{name}: region {number}"
            try:
                shape = _shape(region["shape_attributes"], size)
                attributes = region.get("region_attributes") or {}
                label = _label(attributes, attribute, where, options, log)
            except MALFORMED as error:
                log.note("unusable shape", f"{where}: {error!r}; left out")
                continue
            if label is not None:
                objects.append(MaskedObject(label=label, mask=shape.mask, polygons=shape.polygons))
        yield AnnotatedImage(file_name=name, source=path, size=size, objects=objects)


def _find_file(source: Path) -> Path:
    if not source.is_dir():
        return source
    files = sorted(source.glob("*.json")) or sorted(source.glob("*.csv"))
    if len(files) != 1:
        raise UserError(f"{source} holds {len(files)} JSON or CSV files; name the one of VIA.")
    return files[0]


def _entries(file: Path, log: ConversionLog) -> Record:
    """A record per image, as version 2 has them."""
    content = read_via_csv(file, log) if file.suffix.lower() == ".csv" else read_json(file)
    if isinstance(content, dict) and {"file", "view", "metadata"} <= set(content):
        return project_entries(content, file, log)
    entries = content.get("_via_img_metadata", content) if isinstance(content, dict) else None
    if not isinstance(entries, dict) or not all(
        isinstance(entry, dict) and "filename" in entry for entry in entries.values()
    ):
        raise UserError(f"{file} is not a VIA file: its entries have no 'filename'.")
    return entries


def _image(entry: Record, folder: Path) -> tuple[Path | bytes, str]:
    """The image's file, or its content where the entry holds that alone, and its name.

    Raises:
        ValueError: there is no name, or the content is damaged.
    """
    path, name = locate_image(folder, str(entry["filename"]))
    kind, _, data = str(entry.get("base64_img_data") or "").partition(";base64,")
    if kind.startswith("data:image/") and not is_file(path):
        return base64.b64decode(data), name
    return path, name


def _regions(entry: Record) -> list[Any]:
    """Version 1 numbers the regions in a dict, version 2 has a list."""
    regions = entry.get("regions") or []
    if isinstance(regions, dict):
        return list(regions.values())
    return regions if isinstance(regions, list) else []


def _class_attribute(file: Path, entries: Record, options: ReaderOptions) -> str | None:
    """The one attribute that the regions have; None where they have none."""
    used: Counter[str] = Counter()
    regions = [region for entry in entries.values() for region in _regions(entry)]
    for region in regions:
        attributes = region.get("region_attributes") if isinstance(region, dict) else None
        used.update(list(attributes) if isinstance(attributes, dict) else [])
    if len(used) > 1:
        raise UserError(
            f"The regions of {file} have the attributes {sorted(used)}: name the one that holds "
            "the class by --class-attribute."
        )
    if regions and not used and options.default_label is None:
        raise UserError(
            f"The regions of {file} have no attributes, so no class: name it by --default-label."
        )
    return next(iter(used), None)


def _label(
    attributes: Record,
    attribute: str | None,
    where: str,
    options: ReaderOptions,
    log: ConversionLog,
) -> str | None:
    value = attributes.get(attribute) if attribute is not None else None
    if value is None and len(attributes) == 1:
        other, value = next(iter(attributes.items()))
        log.note("class under another attribute", f"{where}: {other!r}, not {attribute!r}; taken")
    if isinstance(value, dict):  # a checkbox: {option: True}
        value = "+".join(option for option, chosen in value.items() if chosen)
    if value:
        return str(value)
    if options.default_label is None:
        log.note("object without class", f"{where}: give it one by --default-label; left out")
    return options.default_label


def _shape(attributes: Record, size: tuple[int, int]) -> shapes.Shape:
    kind = attributes["name"]
    if kind not in _SHAPES:
        raise ValueError(f"the shape {kind!r} has no area")
    return _SHAPES[kind](attributes, size)


def _polygon(a: Record, size: tuple[int, int]) -> shapes.Shape:
    points = list(zip(a["all_points_x"], a["all_points_y"], strict=True))
    if len(points) > 3 and points[0] == points[-1]:
        points.pop()  # version 1 repeats the first point
    return shapes.polygon(points, size)


def _rectangle(a: Record, size: tuple[int, int]) -> shapes.Shape:
    right, lower = a["x"] + a["width"], a["y"] + a["height"]
    return shapes.rectangle((a["x"], a["y"]), (right, lower), size)


def _ellipse(a: Record, size: tuple[int, int]) -> shapes.Shape:
    return shapes.ellipse((a["cx"], a["cy"]), (a["rx"], a["ry"]), a.get("theta", 0.0), size)


_SHAPES: dict[str, Callable[[Record, tuple[int, int]], shapes.Shape]] = {
    "polygon": _polygon,
    "rect": _rectangle,
    "circle": lambda a, size: shapes.circle((a["cx"], a["cy"]), a["r"], size),
    "ellipse": _ellipse,
}

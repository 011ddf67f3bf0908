"""CVAT for images 1.1: one XML for a folder of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from seg_projects.data.conversion import shapes
from seg_projects.data.conversion.annotated import (
    MALFORMED,
    AnnotatedImage,
    ConversionLog,
    MaskedObject,
    ReaderOptions,
)
from seg_projects.data.conversion.image_files import checked_size
from seg_projects.errors import UserError


def read_cvat(source: Path, options: ReaderOptions, log: ConversionLog) -> Iterator[AnnotatedImage]:
    """The images of the XML ``source``, or of ``source/annotations.xml`` and ``source/images``."""
    file = source / "annotations.xml" if source.is_dir() else source
    try:
        root = ElementTree.parse(file).getroot()
    except FileNotFoundError:
        raise UserError(f"{file} does not exist.") from None
    except ElementTree.ParseError as error:
        raise UserError(f"{file} is not XML: {error}.") from error
    entries = root.findall("image")
    if not entries:
        raise UserError(f"{file} has no <image>: export 'CVAT for images 1.1'.")
    inner = file.parent / "images"
    folder = options.images or (inner if inner.is_dir() else file.parent)
    for entry in entries:
        name = entry.get("name", "").replace("\\", "/")
        stated = (_whole(entry, "height"), _whole(entry, "width"))
        size = checked_size(folder / name, name, log, stated)
        if size is not None:
            objects = _objects(name, entry, size, log)
            yield AnnotatedImage(file_name=name, source=folder / name, size=size, objects=objects)


def _objects(
    name: str, image: ElementTree.Element, size: tuple[int, int], log: ConversionLog
) -> list[MaskedObject]:
    """Ordered by ``z_order``; shapes of equal label and group are one object."""
    elements = [element for element in image if element.tag != "tag"]
    elements.sort(key=lambda element: _whole(element, "z_order"))
    groups: dict[tuple[str, object], list[shapes.Shape]] = {}
    for number, element in enumerate(elements):
        try:
            if element.tag not in _SHAPES:
                raise ValueError(f"<{element.tag}> has no area")
            shape = _SHAPES[element.tag](element, size)
        except MALFORMED as error:
            log.note("unusable shape", f"{name}: shape {number}: {error}; left out")
            continue
        group = element.get("group_id", "0")
        key: object = ("alone", number) if group in ("", "0") else group
        groups.setdefault((element.get("label", ""), key), []).append(shape)
    return [shapes.as_object(label, parts, size) for (label, _), parts in groups.items()]


def _whole(element: ElementTree.Element, name: str) -> int:
    """An attribute; 0 where it is no whole number."""
    try:
        return int(element.get(name, 0))
    except ValueError:
        return 0


def _numbers(element: ElementTree.Element, *names: str) -> list[float]:
    values = [element.get(name) for name in names]
    if None in values:
        raise ValueError(f"<{element.tag}> lacks one of {names}")
    return [float(value) for value in values if value is not None]


def _points(element: ElementTree.Element) -> list[tuple[float, float]]:
    pairs = (pair.split(",") for pair in element.get("points", "").split(";") if pair)
    return [(float(x), float(y)) for x, y in pairs]


def _box(element: ElementTree.Element, size: tuple[int, int]) -> shapes.Shape:
    left, top, right, bottom = _numbers(element, "xtl", "ytl", "xbr", "ybr")
    return shapes.rectangle((left, top), (right, bottom), size)


def _ellipse(element: ElementTree.Element, size: tuple[int, int]) -> shapes.Shape:
    x, y, rx, ry = _numbers(element, "cx", "cy", "rx", "ry")
    return shapes.ellipse((x, y), (rx, ry), 0.0, size)


def _mask(element: ElementTree.Element, size: tuple[int, int]) -> shapes.Shape:
    """Run lengths, row by row within the box, the first of zeros."""
    left, top, width, height = (int(v) for v in _numbers(element, "left", "top", "width", "height"))
    runs = [int(run) for run in element.get("rle", "").split(",")]
    if sum(runs) != width * height:
        raise ValueError(f"run lengths of {sum(runs)} pixels for a box of {width} x {height}")
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    return shapes.bitmap(pixels, left, top, size)


_SHAPES: dict[str, Callable[[ElementTree.Element, tuple[int, int]], shapes.Shape]] = {
    "polygon": lambda element, size: shapes.polygon(_points(element), size),
    "polyline": lambda element, size: shapes.line(_points(element), size),
    "box": _box,
    "ellipse": _ellipse,
    "mask": _mask,
}

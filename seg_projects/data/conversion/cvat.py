"""CVAT for images 1.1, and for video 1.1 with its frames: one XML for a folder of images."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
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
from seg_projects.data.conversion.image_files import checked_size, find_image, locate_image
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
    inner = file.parent / "images"
    folder = options.images or (inner if inner.is_dir() else file.parent)
    found = _pictures(root, folder)
    if not found:
        raise UserError(f"{file} has no <image> and no <track>: export 'CVAT for images 1.1'.")
    for picture in found:
        try:
            path, name = locate_image(folder, picture.name)
        except ValueError as error:
            log.note("unreadable annotation", f"{file}: {error}; left out")
            continue
        size = checked_size(path, name, log, picture.stated)
        if size is not None:
            objects = _objects(name, picture.elements, size, log)
            yield AnnotatedImage(file_name=name, source=path, size=size, objects=objects)


class _Picture(NamedTuple):
    name: str
    stated: tuple[int, int] | None
    elements: list[ElementTree.Element]


def _pictures(root: ElementTree.Element, folder: Path) -> list[_Picture]:
    """Each ``<image>`` with its shapes; of a video, each frame with the shapes of all tracks."""
    pictures = [
        _Picture(
            entry.get("name", ""), (_whole(entry, "height"), _whole(entry, "width")), list(entry)
        )
        for entry in root.findall("image")
    ]
    frames: dict[int, list[ElementTree.Element]] = defaultdict(list)
    for track in root.findall("track"):
        for element in track:
            if element.get("outside") != "1":
                element.set("label", track.get("label", ""))
                frames[_whole(element, "frame")].append(element)
    # As CVAT names the frames of the videos that it exports with their images.
    for number, elements in sorted(frames.items()):
        stem = f"frame_{number:06d}"
        path = find_image(folder, stem)
        pictures.append(_Picture(path.name if path else f"{stem}.png", None, elements))
    return pictures


def _objects(
    name: str,
    elements: list[ElementTree.Element],
    size: tuple[int, int],
    log: ConversionLog,
) -> list[MaskedObject]:
    """Ordered by ``z_order``; shapes of equal label and group are one object."""
    drawn = [element for element in elements if element.tag != "tag"]
    drawn.sort(key=lambda element: _whole(element, "z_order"))
    groups: dict[tuple[str, object], list[shapes.Shape]] = {}
    for number, element in enumerate(drawn):
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


def _angle(element: ElementTree.Element) -> float:
    """Radians, clockwise on screen."""
    return math.radians(float(element.get("rotation", 0)))


def _box(element: ElementTree.Element, size: tuple[int, int]) -> shapes.Shape:
    left, top, right, bottom = _numbers(element, "xtl", "ytl", "xbr", "ybr")
    angle = _angle(element)
    if angle == 0:
        return shapes.rectangle((left, top), (right, bottom), size)
    x, y, cos, sin = (left + right) / 2, (top + bottom) / 2, math.cos(angle), math.sin(angle)
    corners = [(left - x, top - y), (right - x, top - y), (right - x, bottom - y)]
    corners.append((left - x, bottom - y))
    return shapes.polygon(
        [(x + dx * cos - dy * sin, y + dx * sin + dy * cos) for dx, dy in corners], size
    )


def _ellipse(element: ElementTree.Element, size: tuple[int, int]) -> shapes.Shape:
    x, y, rx, ry = _numbers(element, "cx", "cy", "rx", "ry")
    return shapes.ellipse((x, y), (rx, ry), _angle(element), size)


def _mask(element: ElementTree.Element, size: tuple[int, int]) -> shapes.Shape:
    """Run lengths, row by row within the box, the first of zeros."""
    left, top, width, height = (int(v) for v in _numbers(element, "left", "top", "width", "height"))
    if not (0 < width <= size[1] and 0 < height <= size[0]):
        raise ValueError(f"a box of {width} x {height} pixels does not fit into the image")
    runs = [int(run) for run in element.get("rle", "").split(",")]
    if min(runs) < 0:
        raise ValueError("a run length is negative")
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

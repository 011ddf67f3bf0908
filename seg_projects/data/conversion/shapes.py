"""Drawn shapes as masks: what the outline touches belongs to the object, as in LabelMe."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from seg_projects.data.conversion.annotated import BoxMask, MaskedObject, union

Point = tuple[float, float]
Points = Sequence[Sequence[float]]
# Coordinates in pixels: beyond, drawing would take for ever.
_FARTHEST = 1e6


class Shape(NamedTuple):
    """A rasterised shape, with its outline where polygons describe it."""

    mask: BoxMask
    polygons: list[list[float]] | None


def as_object(label: str, parts: Sequence[Shape], size: tuple[int, int]) -> MaskedObject:
    """One object of all ``parts``, in an image of ``size`` (H, W)."""
    polygons = [p for part in parts for p in part.polygons or []]
    whole = all(part.polygons is not None for part in parts)
    mask = union([part.mask for part in parts], size)
    return MaskedObject(label=label, mask=mask, polygons=polygons if whole else None)


def polygon(points: Points, size: tuple[int, int], holes: Sequence[Points] = ()) -> Shape:
    """The polygon through ``points`` (x, y), less ``holes``, in an image of ``size`` (H, W).

    Raises:
        ValueError: a ring has fewer than three points.
    """
    outer = _ring_mask(points, size)
    if not holes:
        return Shape(outer, [flat(points)])
    pixels = outer.pixels.copy()
    for hole in holes:
        _erase(pixels, outer, _ring_mask(hole, size))
    return Shape(BoxMask.placed(pixels, outer.x, outer.y, size), None)


def _ring_mask(points: Points, size: tuple[int, int]) -> BoxMask:
    if len(points) < 3:
        raise ValueError(f"a polygon of {len(points)} points has no area")
    return _rasterise(points, size, 0, lambda draw, xy: draw.polygon(xy, outline=1, fill=1))


def _erase(pixels: np.ndarray, outer: BoxMask, hole: BoxMask) -> None:
    """Clears the pixels of ``hole`` in the ``pixels`` of ``outer``, in place."""
    height, width = pixels.shape
    inside = hole.full((outer.y + height, outer.x + width)) if hole.area else None
    if inside is not None:
        pixels &= ~inside[outer.y :, outer.x :]


def rectangle(first: Sequence[float], second: Sequence[float], size: tuple[int, int]) -> Shape:
    """The rectangle between two opposite corners (x, y)."""
    (left, right), (top, bottom) = (sorted(pair) for pair in zip(first, second, strict=True))
    corners = [(left, top), (right, bottom)]
    mask = _rasterise(corners, size, 0, lambda draw, xy: draw.rectangle(xy, outline=1, fill=1))
    return Shape(mask, [[left, top, right, top, right, bottom, left, bottom]])


def circle(center: Sequence[float], radius: float, size: tuple[int, int]) -> Shape:
    """The disc of ``radius`` pixels around ``center`` (x, y)."""
    return _axis_ellipse(center, radius, radius, size)


def _axis_ellipse(center: Sequence[float], rx: float, ry: float, size: tuple[int, int]) -> Shape:
    x, y = center
    corners = [(x - rx, y - ry), (x + rx, y + ry)]
    mask = _rasterise(corners, size, 0, lambda draw, xy: draw.ellipse(xy, outline=1, fill=1))
    return Shape(mask, [flat(_ellipse_points(center, rx, ry, 0.0))])


def ellipse(
    center: Sequence[float], radii: Sequence[float], angle: float, size: tuple[int, int]
) -> Shape:
    """The ellipse around ``center`` (x, y), turned by ``angle`` radians, clockwise on screen."""
    if angle == 0:
        return _axis_ellipse(center, radii[0], radii[1], size)
    return polygon(_ellipse_points(center, radii[0], radii[1], angle), size)


def _ellipse_points(center: Sequence[float], rx: float, ry: float, angle: float) -> list[Point]:
    if not max(rx, ry) < _FARTHEST:
        raise ValueError("it is larger than every image")
    # One point per two pixels of the outline: finer than the pixels can show.
    count = max(12, math.ceil(math.pi * max(rx, ry)))
    cos, sin = math.cos(angle), math.sin(angle)
    steps = [2 * math.pi * i / count for i in range(count)]
    return [
        (
            center[0] + rx * math.cos(t) * cos - ry * math.sin(t) * sin,
            center[1] + rx * math.cos(t) * sin + ry * math.sin(t) * cos,
        )
        for t in steps
    ]


def line(points: Points, size: tuple[int, int], *, thickness: int = 10) -> Shape:
    """The line through ``points`` (x, y), ``thickness`` pixels thick."""
    if len(points) < 2:
        raise ValueError(f"a line of {len(points)} points has no pixels")
    mask = _rasterise(
        points, size, thickness, lambda draw, xy: draw.line(xy, fill=1, width=thickness)
    )
    return Shape(mask, None)


def dot(point: Sequence[float], size: tuple[int, int], *, radius: int = 5) -> Shape:
    """The point (x, y) as a disc of ``radius`` pixels."""
    return Shape(circle(point, radius, size).mask, None)


def bitmap(pixels: np.ndarray, x: int, y: int, size: tuple[int, int]) -> Shape:
    """(h, w) bool ``pixels`` whose upper left corner is at column ``x``, row ``y``."""
    return Shape(BoxMask.placed(pixels, x, y, size), None)


def flat(points: Points) -> list[float]:
    """COCO's x, y, x, y, ... of ``points``."""
    return [float(value) for point in points for value in point[:2]]


def _rasterise(
    points: Points,
    size: tuple[int, int],
    margin: int,
    draw: Callable[[ImageDraw.ImageDraw, list[Point]], None],
) -> BoxMask:
    """What ``draw`` paints with ``points``, inside the box around these and the image."""
    height, width = size
    coordinates = np.asarray([point[:2] for point in points], dtype=np.float64)
    if not (np.abs(coordinates) < _FARTHEST).all():
        raise ValueError("a point lies outside every image")
    low = np.clip(np.floor(coordinates.min(axis=0)) - margin - 1, 0, (width, height)).astype(int)
    high = np.clip(np.ceil(coordinates.max(axis=0)) + margin + 2, 0, (width, height)).astype(int)
    if (high <= low).any():
        return BoxMask(np.zeros((0, 0), dtype=bool), 0, 0)
    canvas = Image.new("L", tuple((high - low).tolist()))
    draw(ImageDraw.Draw(canvas), [(float(x), float(y)) for x, y in coordinates - low])
    return BoxMask.placed(np.asarray(canvas) > 0, int(low[0]), int(low[1]), size)

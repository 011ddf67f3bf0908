"""Supervisely: ``meta.json``, and per data set of the project the folders ``img`` and ``ann``."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from pathlib import Path

from seg_projects.data.conversion import shapes
from seg_projects.data.conversion.annotated import (
    MALFORMED,
    AnnotatedImage,
    ConversionLog,
    MaskedObject,
    ReaderOptions,
    Record,
)
from seg_projects.data.conversion.image_files import checked_size, read_json, read_pixels
from seg_projects.errors import UserError

_LARGEST_BITMAP = 1 << 28  # bytes


def read_supervisely(
    source: Path, options: ReaderOptions, log: ConversionLog
) -> Iterator[AnnotatedImage]:
    """The images of all data sets of the project ``source``.

    Classes are joined by their title: their numbers differ between ``meta.json`` and annotations.
    """
    files = sorted(source.glob("*/ann/*.json")) or sorted(source.glob("ann/*.json"))
    if not files:
        raise UserError(f"{source} holds no Supervisely project: no */ann/*.json.")
    for file in files:
        dataset = file.parents[1]
        name = file.stem  # the annotation of a.jpg is a.jpg.json
        path = (options.images or dataset / "img") / name
        relative = name if dataset == source else f"{dataset.name}/{name}"
        try:
            content = read_json(file)
            stated = (content["size"]["height"], content["size"]["width"])
            entries = list(content["objects"])
        except MALFORMED as error:
            log.note("unreadable annotation", f"{file}: {error}; left out")
            continue
        size = checked_size(path, relative, log, stated)
        if size is not None:
            objects = list(_objects(file, entries, size, log))
            yield AnnotatedImage(file_name=relative, source=path, size=size, objects=objects)


def _objects(
    file: Path, entries: list[Record], size: tuple[int, int], log: ConversionLog
) -> Iterator[MaskedObject]:
    for number, entry in enumerate(entries):
        try:
            shape = _shape(entry, size)
            label = str(entry["classTitle"])
        except MALFORMED as error:
            log.note("unusable shape", f"{file}: object {number}: {error}; left out")
            continue
        yield MaskedObject(label=label, mask=shape.mask, polygons=shape.polygons)


def _shape(entry: Record, size: tuple[int, int]) -> shapes.Shape:
    if entry.get("bitmap"):
        pixels = read_pixels(_decompress(base64.b64decode(entry["bitmap"]["data"])))
        x, y = entry["bitmap"]["origin"]
        # The mask is the alpha channel, or the only one.
        return shapes.bitmap((pixels if pixels.ndim == 2 else pixels[..., -1]) > 0, x, y, size)
    kind = entry.get("geometryType")
    points = entry["points"]["exterior"]
    if kind == "polygon":
        return shapes.polygon(points, size, entry["points"].get("interior") or ())
    if kind == "rectangle":
        return shapes.rectangle(points[0], points[1], size)
    if kind == "line":
        return shapes.line(points, size)
    if kind == "point":
        return shapes.dot(points[0], size)
    raise ValueError(f"unknown geometry {kind!r}")


def _decompress(data: bytes) -> bytes:
    """Of a PNG, which is compressed itself: what grows beyond all measure is none."""
    stream = zlib.decompressobj()
    content = stream.decompress(data, _LARGEST_BITMAP)
    if stream.unconsumed_tail:
        raise ValueError(f"its bitmap has more than {_LARGEST_BITMAP} bytes")
    return content

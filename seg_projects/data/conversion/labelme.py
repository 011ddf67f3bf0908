"""LabelMe: one JSON per image, every shape type, groups, embedded images."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
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
    read_json,
    read_pixels,
    same_file,
)
from seg_projects.errors import UserError


def read_labelme(
    source: Path, options: ReaderOptions, log: ConversionLog
) -> Iterator[AnnotatedImage]:
    """The images of the LabelMe files at ``source``: one JSON, or a folder of them."""
    files = [source] if source.is_file() else sorted(source.rglob("*.json"))
    if not files:
        raise UserError(f"{source} holds no LabelMe file (*.json).")
    root = source.parent if source.is_file() else source
    for file in files:
        image = _read_file(file, root, options, log)
        if image is not None:
            yield image


def _read_file(
    file: Path, root: Path, options: ReaderOptions, log: ConversionLog
) -> AnnotatedImage | None:
    try:
        content = read_json(file)
    except UserError as error:
        log.note("unreadable annotation", str(error))
        return None
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        log.note("other JSON", f"{file} is no LabelMe file: it has no list of 'shapes'; left out")
        return None
    found = _find_image(file, content, options, log)
    if found is None:
        return None
    source, name = found
    height, width = content.get("imageHeight"), content.get("imageWidth")
    stated = (height, width) if height and width else None
    size = checked_size(source, str(file), log, stated)
    if size is None:
        return None
    folder = PurePosixPath(file.parent.relative_to(root).as_posix())
    return AnnotatedImage(
        file_name=str(folder / name),
        source=source,
        size=size,
        objects=_objects(file, content["shapes"], size, log),
    )


def _find_image(
    file: Path, content: Record, options: ReaderOptions, log: ConversionLog
) -> tuple[Path | bytes, str] | None:
    """The image's file or content, and its name; None, with a note, where neither is there."""
    stated = str(content.get("imagePath") or "").replace("\\", "/")
    name = PurePosixPath(stated).name
    for path in (file.parent / stated, (options.images or file.parent) / name):
        found = same_file(path) if name and path.suffix != ".json" else None
        if found is not None:
            return found, found.name
    if not content.get("imageData"):
        log.note("missing image", f"{file}: {stated or 'no imagePath'} does not exist; left out")
        return None
    try:
        data = base64.b64decode(content["imageData"])
    except (binascii.Error, ValueError, TypeError) as error:
        log.note("unreadable image", f"{file}: imageData: {error}; left out")
        return None
    # imagePath may name the JSON file itself.
    if not name or name.endswith(".json"):
        name = file.stem + (".png" if data.startswith(b"\x89PNG") else ".jpg")
    return data, name


def _objects(
    file: Path, entries: list[Any], size: tuple[int, int], log: ConversionLog
) -> list[MaskedObject]:
    """The shapes of equal label and group are one object, at the place of the first."""
    groups: dict[tuple[str, object], list[shapes.Shape]] = {}
    for number, entry in enumerate(entries):
        try:
            shape = _shape(entry, size)
            label, group = str(entry["label"]), entry.get("group_id")
        except MALFORMED as error:
            log.note("unusable shape", f"{file}: shape {number}: {error}; left out")
            continue
        key = (label, ("alone", number) if group is None else str(group))
        groups.setdefault(key, []).append(shape)
    return [shapes.as_object(label, parts, size) for (label, _), parts in groups.items()]


def _shape(entry: Record, size: tuple[int, int]) -> shapes.Shape:
    kind = entry.get("shape_type") or "polygon"
    if kind not in _SHAPES:
        raise ValueError(f"unknown shape type {kind!r}")
    return _SHAPES[kind](entry, entry["points"], size)


def _circle(entry: Record, points: Any, size: tuple[int, int]) -> shapes.Shape:
    center, rim = points
    return shapes.circle(center, math.dist(center, rim), size)


def _mask(entry: Record, points: Any, size: tuple[int, int]) -> shapes.Shape:
    pixels = read_pixels(base64.b64decode(entry["mask"]))
    pixels = pixels if pixels.ndim == 2 else pixels[..., 0]
    return shapes.bitmap(pixels > 0, round(points[0][0]), round(points[0][1]), size)


_SHAPES: dict[str, Callable[[Record, Any, tuple[int, int]], shapes.Shape]] = {
    "polygon": lambda entry, points, size: shapes.polygon(points, size),
    "rectangle": lambda entry, points, size: shapes.rectangle(points[0], points[1], size),
    "circle": _circle,
    "line": lambda entry, points, size: shapes.line(points, size),
    "linestrip": lambda entry, points, size: shapes.line(points, size),
    "point": lambda entry, points, size: shapes.dot(points[0], size),
    "mask": _mask,
}

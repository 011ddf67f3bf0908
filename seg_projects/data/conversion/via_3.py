"""Projects of VGG Image Annotator 3 as entries of version 2: a file with its regions each."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from seg_projects.data.conversion.annotated import MALFORMED, ConversionLog, Record

# Kinds of files.
IMAGE, VIDEO, AUDIO = 2, 4, 8
_MEDIA = {VIDEO: "a video", AUDIO: "an audio file"}
# Where a file lies: at a path; in the project.
_AT_PATH, _INLINE = 3, 4
# Kinds of attributes: the others hold the key of an option.
_TEXT, _CHECKBOX = 1, 2


def project_entries(content: Record, file: Path, log: ConversionLog) -> dict[str, Record]:
    """The images of the project ``content`` of ``file``, with their regions as in version 2.

    Videos, audio files and views of several files are noted in ``log`` and left out.
    """
    regions: dict[str, list[Any]] = defaultdict(list)
    for number, item in enumerate(_records(content["metadata"]).values()):
        try:
            if item["xy"]:  # without, it describes the whole file
                attributes = _attributes(item.get("av") or {}, content.get("attribute"))
                shape = {"shape_attributes": _shape(item["xy"]), "region_attributes": attributes}
                regions[str(item["vid"])].append(shape)
        except MALFORMED as error:
            log.note("unusable shape", f"{file}: metadata {number}: {error!r}; left out")
    views = _records(content["view"])
    for key in regions.keys() - views.keys():
        log.note(
            "unreadable annotation", f"{file}: {len(regions[key])} regions of no view; left out"
        )
    entries = {}
    for key, view in views.items():
        try:
            entry = _entry([content["file"][str(fid)] for fid in view["fid_list"]], log)
        except MALFORMED as error:
            log.note("unreadable annotation", f"{file}: view {key}: {error!r}; left out")
            continue
        if entry is not None:
            entries[key] = {**entry, "regions": regions[key]}
    return entries


def _records(value: Any) -> dict[str, Any]:
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else {}


def _entry(files: Sequence[Record], log: ConversionLog) -> Record | None:
    """Name and content of a view's image; None, with a note, if that is not what it shows."""
    names = [str(file["fname"]) for file in files]
    if len(files) != 1:
        log.note("view of several files", f"{', '.join(names)}: which one is meant is unknown")
        return None
    file, name = files[0], names[0]
    if file["type"] in _MEDIA:
        media = _MEDIA[file["type"]]
        log.note("video or audio", f"{name} is {media}: annotate its frames as images; left out")
        return None
    source = str(file.get("src") or "")
    if file.get("loc") == _AT_PATH and source:
        name = source
    return {"filename": name, "base64_img_data": source if file.get("loc") == _INLINE else ""}


def _attributes(values: Record, definitions: Any) -> Record:
    """The values by the names of their attributes, options by what they are called."""
    named = {}
    for key, value in values.items():
        definition = _records(definitions).get(key) or {}
        options = {} if definition.get("type") == _TEXT else definition.get("options") or {}
        # A checkbox holds the keys of what is chosen, with commas between.
        chosen = str(value).split(",") if definition.get("type") == _CHECKBOX else [str(value)]
        label = "+".join(str(options.get(option, option)) for option in chosen)
        named[str(definition.get("aname", key))] = label
    return named


def _shape(xy: Sequence[Any]) -> Record:
    kind, *numbers = xy
    if kind not in _SHAPES:
        raise ValueError(f"there is no shape {kind!r}")
    return _SHAPES[kind](numbers)


def _named(name: str, *keys: str) -> Callable[[Sequence[Any]], Record]:
    def shape(numbers: Sequence[Any]) -> Record:
        return {"name": name, **dict(zip(keys, numbers, strict=True))}

    return shape


def _points(name: str) -> Callable[[Sequence[Any]], Record]:
    def shape(numbers: Sequence[Any]) -> Record:
        return {"name": name, "all_points_x": numbers[::2], "all_points_y": numbers[1::2]}

    return shape


def _extreme_rectangle(numbers: Sequence[float]) -> Record:
    """The rectangle of which a point on each side is known."""
    xs, ys = numbers[::2], numbers[1::2]
    left, top = min(xs), min(ys)
    return {"name": "rect", "x": left, "y": top, "width": max(xs) - left, "height": max(ys) - top}


def _extreme_circle(numbers: Sequence[float]) -> Record:
    """The circle through three points."""
    (ax, ay), (bx, by), (cx, cy) = zip(numbers[::2], numbers[1::2], strict=True)
    # Seen from the first point, both others are as far from the centre (x, y) as that itself.
    bx, by, cx, cy = bx - ax, by - ay, cx - ax, cy - ay
    twice = 2 * (bx * cy - by * cx)
    if not twice:
        raise ValueError("the three points of the circle lie on a line")
    b, c = bx * bx + by * by, cx * cx + cy * cy
    x, y = (cy * b - by * c) / twice, (bx * c - cx * b) / twice
    return {"name": "circle", "cx": ax + x, "cy": ay + y, "r": math.hypot(x, y)}


# The first number of a region's coordinates says what the others are.
_SHAPES: dict[int, Callable[[Sequence[Any]], Record]] = {
    1: _named("point", "cx", "cy"),
    2: _named("rect", "x", "y", "width", "height"),
    3: _named("circle", "cx", "cy", "r"),
    4: _named("ellipse", "cx", "cy", "rx", "ry"),
    5: _points("line"),
    6: _points("polyline"),
    7: _points("polygon"),
    8: _extreme_rectangle,
    9: _extreme_circle,
}

"""What may be wrong with an entry of a COCO instances or result JSON."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from seg_projects.errors import UserError
from seg_projects.evaluation.run_lengths import damaged_run_lengths


def check_instances(content: Any, path: object, *, masks: bool) -> None:
    """Checks the lists of the instances JSON ``path``, not yet its annotations.

    Raises:
        UserError: a list or a field is missing; of images the sizes where ``masks`` are compared.
    """
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= set(content):
        raise UserError(f"{path} is not a COCO instances file: images, annotations, categories.")
    sizes = ("height", "width") if masks else ()
    for kind, keys in (("image", ("id", *sizes)), ("category", ("id", "name"))):
        for place, entry in enumerate(content["images" if kind == "image" else "categories"]):
            if sentence := _lacking(entry, keys):
                raise UserError(f"{path}: {kind} {place} {sentence}.")


def entry_problems(
    entries: Sequence[Any],
    images: Mapping[Any, Mapping[str, Any]],
    categories: Collection[int],
    keys: Sequence[str],
) -> Iterator[tuple[int, str]]:
    """(place, what is wrong) of annotations or results.

    Args:
        entries: of the JSON.
        images: of the truth, by id.
        categories: ids that the truth lists.
        keys: what an entry has to have, beside ``image_id`` and ``category_id``.
    """
    compressed = []
    for place, entry in enumerate(entries):
        if sentence := _problem(entry, images, categories, keys):
            yield place, sentence
        elif "segmentation" in keys and not _is_list(entry["segmentation"]):
            compressed.append(place)
    counts = [entries[place]["segmentation"]["counts"] for place in compressed]
    pixels = [math.prod(entries[place]["segmentation"]["size"]) for place in compressed]
    for row, sentence in damaged_run_lengths(counts, pixels):
        yield compressed[row], sentence


def _problem(
    entry: Any,
    images: Mapping[Any, Mapping[str, Any]],
    categories: Collection[int],
    keys: Sequence[str],
) -> str:
    """What is wrong with one, "" where nothing is that a look at it tells."""
    if sentence := _lacking(entry, ("image_id", "category_id", *keys)):
        return sentence
    try:
        if entry["image_id"] not in images:
            return f"is on image {entry['image_id']!r}, which the truth does not list"
        if entry["category_id"] not in categories:
            return f"has category {entry['category_id']!r}, which the truth does not list"
    except TypeError:  # a list or the like
        return f"has the image {entry['image_id']!r}, the category {entry['category_id']!r}"
    for key in keys:
        sentence = ""
        if key == "bbox":
            sentence = _box_problem(entry["bbox"])
        elif key == "segmentation":
            sentence = _mask_problem(entry["segmentation"], images[entry["image_id"]])
        elif not _is_number(entry[key]):
            value = entry[key]
            sentence = f"has the {key} {'NaN' if value != value else repr(value)}"
        if sentence:
            return sentence
    return ""


def _lacking(entry: Any, keys: Sequence[str]) -> str:
    if not isinstance(entry, dict):
        return f"is {entry!r}, no object with the fields {', '.join(keys)}"
    lacking = [key for key in keys if key not in entry]
    return f"has no {lacking[0]!r}" if lacking else ""


def _is_list(mask: Any) -> bool:
    """Polygons, or run lengths that are not compressed."""
    return isinstance(mask, list) or isinstance(mask["counts"], list)


def _is_number(value: Any) -> bool:
    """Neither NaN nor something else."""
    return isinstance(value, int | float) and value == value


def _box_problem(box: Any) -> str:
    if isinstance(box, list | tuple) and len(box) == 4 and all(map(_is_finite, box)):
        return ""
    return f"has the box {box!r}, not 4 numbers"


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _mask_problem(mask: Any, image: Mapping[str, Any]) -> str:
    """A mask is a list of polygons or run lengths, compressed or not."""
    size = [image["height"], image["width"]]
    if isinstance(mask, dict):
        if list(mask.get("size", ())) != size:
            return f"has a mask of the size {list(mask.get('size', ()))}, its image {size}"
        counts = mask.get("counts")
        if isinstance(counts, list):
            if all(isinstance(run, int) and run >= 0 for run in counts):
                total = sum(counts)
                return "" if total == size[0] * size[1] else f"has run lengths of {total} pixels"
        elif isinstance(counts, str | bytes):
            return ""
        return f"has the counts {counts!r:.50}, which are no run lengths"
    if not isinstance(mask, list) or not mask:
        return f"has the segmentation {mask!r:.50}, neither polygons nor run lengths"
    for polygon in mask:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            return f"has the polygon {polygon!r:.50}, not x and y of 3 points or more"
        if not all(map(_is_finite, polygon)):
            return f"has the polygon {polygon!r:.50}, in which not all are numbers"
    return ""

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
    lists = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not set(lists) <= set(content):
        raise UserError(f"{path} is not a COCO instances file: images, annotations, categories.")
    for key in lists:
        if not isinstance(content[key], list):
            raise UserError(f"{path}: {key} is {content[key]!r:.50}, not a list.")
    sizes = ("height", "width") if masks else ()
    for place, image in enumerate(content["images"]):
        if sentence := lacking(image, ("id", *sizes)) or _size_problem(image, sizes):
            raise UserError(f"{path}: image {place} {sentence}.")
    for place, category in enumerate(content["categories"]):
        if sentence := lacking(category, ("id", "name")):
            raise UserError(f"{path}: category {place} {sentence}.")
    check_ids(content["images"], "image", path)
    check_ids(content["categories"], "category", path)
    check_names(content["categories"], path)


def _size_problem(image: Mapping[str, Any], keys: Sequence[str]) -> str:
    for key in keys:
        if type(image[key]) is not int or image[key] < 1:
            return f"has the {key} {image[key]!r:.50}, not a number of pixels"
    return ""


def check_ids(entries: Sequence[Mapping[str, Any]], kind: str, path: object) -> None:
    """Refuses ids of several types, or that two different entries have."""
    first: dict[Any, Mapping[str, Any]] = {}
    for entry in entries:
        if not isinstance(entry["id"], int | float | str):
            raise UserError(f"{path}: the {kind} id {entry['id']!r:.50} is no number and no text.")
        if first.setdefault(entry["id"], entry) != entry:
            raise UserError(f"{path}: two {kind} entries that differ have the id {entry['id']!r}.")
    if len({isinstance(key, str) for key in first}) > 1:
        raise UserError(f"{path}: some {kind} ids are texts, others numbers; use one of both.")


def check_names(categories: Sequence[Mapping[str, Any]], path: object) -> None:
    """Refuses what would be one line of the table."""
    ids: dict[str, Any] = {}
    for category in categories:
        name = category["name"]
        if not isinstance(name, str):
            raise UserError(
                f"{path}: category {category['id']} has the name {name!r:.50}, no text."
            )
        if ids.setdefault(name, category["id"]) != category["id"]:
            raise UserError(
                f"{path}: the categories {ids[name]} and {category['id']} are both named {name!r}; "
                "scores are listed by name, so give each one of its own."
            )


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
    if sentence := lacking(entry, ("image_id", "category_id", *keys)):
        return sentence
    try:
        if entry["image_id"] not in images:
            return f"is on image {entry['image_id']!r}, which the truth does not list"
        if entry["category_id"] not in categories:
            return f"has category {entry['category_id']!r}, which the truth does not list"
    except TypeError:  # a list or the like
        return f"has the image {entry['image_id']!r}, the category {entry['category_id']!r}"
    for key in keys:
        if key == "bbox":
            sentence = _box_problem(entry["bbox"])
        elif key == "segmentation":
            sentence = _mask_problem(entry["segmentation"], images[entry["image_id"]])
        else:
            sentence = _number_problem(key, entry[key])
        if sentence:
            return sentence
    if entry.get("iscrowd", 0) not in (0, 1):
        return f"has the iscrowd {entry['iscrowd']!r:.50}, neither 0 nor 1"
    return ""


def _number_problem(key: str, value: Any) -> str:
    """Of a score or an area."""
    if _is_number(value) and (key != "area" or value >= 0):
        return ""
    return f"has the {key} {'NaN' if value != value else repr(value):.50}"


def lacking(entry: Any, keys: Sequence[str]) -> str:
    """A sentence that names the first of ``keys`` which ``entry`` lacks, "" where it has all."""
    if not isinstance(entry, dict):
        return f"is {entry!r}, no object with the fields {', '.join(keys)}"
    lacking = [key for key in keys if key not in entry]
    return f"has no {lacking[0]!r}" if lacking else ""


def _is_list(mask: Any) -> bool:
    """Polygons, or run lengths that are not compressed."""
    return isinstance(mask, list) or isinstance(mask["counts"], list)


def _is_number(value: Any) -> bool:
    """Neither NaN nor something else, nor too large for a float."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**1023
    return isinstance(value, float) and value == value


def _box_problem(box: Any) -> str:
    if isinstance(box, list | tuple) and len(box) == 4 and all(map(_is_finite, box)):
        return ""
    return f"has the box {box!r}, not 4 numbers"


def _is_finite(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value)


def _mask_problem(mask: Any, image: Mapping[str, Any]) -> str:
    """A mask is a list of polygons or run lengths, compressed or not."""
    size = [image["height"], image["width"]]
    if isinstance(mask, dict):
        if mask.get("size") != size:
            return f"has a mask of the size {mask.get('size')!r:.50}, its image {size}"
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


def box_note(results: Sequence[Mapping[str, Any]], images: Mapping[Any, Mapping[str, Any]]) -> str:
    """What result boxes look like that are not x, y, width, height in pixels; "" if they are not.

    Args:
        results: with boxes, checked.
        images: of the truth, by id; those without a size tell nothing.
    """
    sized = [r for r in results if _has_size(images[r["image_id"]])]
    if not sized:
        return ""
    ends = [(r["bbox"][0] + r["bbox"][2], r["bbox"][1] + r["bbox"][3]) for r in sized]
    if all(max(end) <= 1 for end in ends):
        return (
            "All boxes of the results lie within the first pixel of their image: boxes are x, y, "
            "width, height in pixels, not shares of the image."
        )
    # Rounding and padded images take boxes a little beyond, corners far.
    beyond = sum(
        x > 1.1 * images[r["image_id"]]["width"] or y > 1.1 * images[r["image_id"]]["height"]
        for r, (x, y) in zip(sized, ends, strict=True)
    )
    negative = sum(min(r["bbox"][2:]) < 0 for r in sized)
    if beyond + negative <= 0.1 * len(sized):
        return ""
    return (
        f"Of {len(sized)} boxes of the results {beyond} reach far beyond their image, {negative} "
        "have a negative side: boxes are x, y, width, height, not the corners x0, y0, x1, y1."
    )


def _has_size(image: Mapping[str, Any]) -> bool:
    return all(_is_number(image.get(key)) for key in ("height", "width"))

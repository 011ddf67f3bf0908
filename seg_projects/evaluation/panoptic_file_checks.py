"""What may be wrong with a COCO panoptic JSON, beyond what its PNGs tell."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from seg_projects.errors import UserError
from seg_projects.evaluation.instance_file_checks import check_ids, check_names, lacking
from seg_projects.evaluation.scores import Problems


def check_panoptic_categories(categories: Sequence[Any], path: object) -> None:
    """Raises a UserError where an id, a name or ``isthing`` is missing, doubled or of no use."""
    for place, category in enumerate(categories):
        sentence = lacking(category, ("id", "name", "isthing"))
        if not sentence and category["isthing"] not in (0, 1):
            sentence = f"has the isthing {category['isthing']!r:.50}, neither 0 nor 1"
        if sentence:
            raise UserError(f"{path}: category {place} {sentence}.")
    check_ids(categories, "category", path)
    check_names(categories, path)


def check_panoptic_annotations(annotations: Sequence[Any], path: object) -> None:
    """Raises a UserError that names the annotations, and segments, that lack a field."""
    problems = Problems()
    for place, annotation in enumerate(annotations):
        for sentence in _annotation_problems(annotation):
            problems.add(f"annotation {place}", sentence)
    problems.raise_if_any(f"{path}")


def _annotation_problems(annotation: Any) -> Iterator[str]:
    if sentence := lacking(annotation, ("image_id", "file_name", "segments_info")):
        yield sentence
        return
    if not isinstance(annotation["image_id"], int | float | str):
        yield f"has the image_id {annotation['image_id']!r:.50}, no number and no text"
    if not isinstance(annotation["file_name"], str):
        yield f"has the file_name {annotation['file_name']!r:.50}, no text"
    if not isinstance(annotation["segments_info"], list):
        yield f"has the segments_info {annotation['segments_info']!r:.50}, not a list"
        return
    for place, segment in enumerate(annotation["segments_info"]):
        if sentence := _segment_problem(segment):
            yield f"segment {place} {sentence}"


def _segment_problem(segment: Any) -> str:
    if sentence := lacking(segment, ("id", "category_id")):
        return sentence
    number = segment["id"]
    if not isinstance(number, int) and not (isinstance(number, float) and number.is_integer()):
        return f"has the id {number!r:.50}, not a whole number"
    if not isinstance(segment["category_id"], int | float | str):
        return f"has the category_id {segment['category_id']!r:.50}, which is no category"
    if segment.get("iscrowd", 0) not in (0, 1):
        return f"has the iscrowd {segment['iscrowd']!r:.50}, neither 0 nor 1"
    return ""


def other_names(categories: Any, truth: Sequence[Mapping[str, Any]], path: object) -> list[str]:
    """A note where the ``categories`` of a prediction give ids other names than the truth does."""
    names = {category["id"]: category["name"] for category in truth}
    differing = [
        f"{category['id']} is {category.get('name')!r}, not {names[category['id']]!r}"
        for category in (categories if isinstance(categories, list) else [])
        if isinstance(category, dict)
        and isinstance(category.get("id"), int | str)
        and category.get("name") != names.get(category["id"], category.get("name"))
    ]
    if not differing:
        return []
    return [
        f"{path} names {len(differing)} categories otherwise than the truth: {differing[0]}. Ids "
        "are compared; check that both sides mean the same by them."
    ]


def encoding_hint(unlisted: Collection[int], listed: Collection[int]) -> str:
    """What an image, whose ids no segment lists, seems to be; "" where nothing is apparent."""
    parts = [(i & 255, i >> 8 & 255, i >> 16) for i in unlisted]
    if all(red == green == blue for red, green, blue in parts):
        return "; the picture is grey, ids are R + 256 G + 65536 B"
    if all(red << 16 | green << 8 | blue in listed for red, green, blue in parts):
        return "; red and blue are exchanged, ids are R + 256 G + 65536 B"
    return ""

"""Which image of the truth an image of a prediction file is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def truth_image_ids(images: Any, truth_images: Any) -> Mapping[Any, Any]:
    """The truth's id of each image id of a prediction file, by the names of their files.

    Results for COCO's tools have the ids of the truth. A file that lists its images, such as one
    of a prediction of a folder, may number them as it likes.

    Args:
        images: the list ``images`` of the prediction file, if it has one.
        truth_images: that of the truth, if it has one.

    Returns:
        {} where ids are to be taken as they are: a list is missing, lists names twice, or the
        truth does not have all of the names.
    """
    found, wanted = _ids_by_name(images), _ids_by_name(truth_images)
    if not found.keys() <= wanted.keys():
        return {}
    return {number: wanted[name] for name, number in found.items()}


def _ids_by_name(images: Any) -> dict[str, Any]:
    """Ids by file name; {} where not every image has a name of its own and an id of its own."""
    if not isinstance(images, list):
        return {}
    sound = [
        (image["file_name"], image["id"])
        for image in images
        if isinstance(image, dict)
        and isinstance(image.get("file_name"), str)
        and isinstance(image.get("id"), int | str)
    ]
    ids = dict(sound)
    unique = len(ids) == len(set(ids.values())) == len(images)
    return ids if unique else {}

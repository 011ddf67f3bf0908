"""What the preparations share: every image once, beside each other, with a progress bar."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from seg_projects.errors import UserError
from seg_projects.files import write_json

Item = TypeVar("Item")
Result = TypeVar("Result")
Record = dict[str, Any]


def in_parallel(
    function: Callable[[Item], Result], items: Sequence[Item], title: str
) -> list[Result]:
    """``function`` of each item, in order, in as many threads as there are cores.

    Decoding, encoding and numpy's sorting release the interpreter's lock.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        done = pool.map(function, items)
        return list(tqdm(done, total=len(items), desc=title, unit="image"))


def require_files(paths: Iterable[Path], remedy: str) -> None:
    """Raises for the first of ``paths`` that is absent.

    Raises:
        UserError: it ends with ``remedy``.
    """
    for path in paths:
        if not path.exists():
            raise UserError(
                f"{path} does not exist: {remedy}. The folder of all data sets is the environment "
                "variable DETECTRON2_DATASETS, else ./datasets."
            )


def write_instances_json(
    path: Path, images: Sequence[Record], objects: Sequence[Sequence[Record]], categories: object
) -> None:
    """Writes a COCO instances file.

    Args:
        path: the file; its folder is made.
        images: COCO's image records.
        objects: of each image, annotations without ``id`` and ``image_id``.
        categories: COCO's records.
    """
    annotations = [
        {"image_id": image["id"], **record}
        for image, records in zip(images, objects, strict=True)
        for record in records
    ]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_json(path, content)

"""The writer of label maps: a class per pixel, things and stuff alike."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import replace
from itertools import count
from pathlib import Path, PurePosixPath

import numpy as np

from seg_projects.data.conversion.annotated import AnnotatedImage, ConversionLog, Record
from seg_projects.data.conversion.categories import ALL_OTHERS, CategoryChoice
from seg_projects.data.conversion.coco_panoptic import paint_segments, write_png
from seg_projects.data.conversion.output import OutputFolder
from seg_projects.errors import UserError
from seg_projects.files import write_atomically

VOID = 255


def write_label_maps(
    images: Iterable[AnnotatedImage],
    choice: CategoryChoice,
    output: OutputFolder,
    log: ConversionLog,
    *,
    overlap: str = "later-on-top",
    unlabelled: str | None = None,
) -> Path:
    """Writes 8-bit maps into ``output.masks``; returns the file of the class names.

    Class k is the k-th category from 0 on, 255 is void. Crowds have the class of their category.
    Images of subfolders come into one folder, as data sets of label maps have it; their names less
    the suffix, which are unique, are listed in ``output.stems_file``.

    Raises:
        UserError: the classes are not named one by one, there are more than 255, or as for
            :func:`write_coco_panoptic`.
    """
    if ALL_OTHERS in (*choice.things, *choice.stuff):
        raise UserError('Label maps need every class by name: "*" gives their values no order.')
    choice.require_stuff(unlabelled)
    names = [record["name"] for record in choice.records()]
    if len(names) > VOID:
        raise UserError(f"{len(names)} classes do not fit into 8 bits beside void, {VOID}.")
    values = {name: value for value, name in enumerate(names)}
    records: list[Record] = []
    stems: dict[str, None] = {}
    for image in images:
        stem = _free_stem(image.file_name, stems)
        stems[stem] = None
        named = replace(image, file_name=stem + PurePosixPath(image.file_name).suffix)
        records.append(output.add_image(named, len(records) + 1))
        ids, segments = paint_segments(image, choice, overlap=overlap, unlabelled=unlabelled)
        table = [VOID, *(values[segment["category_id"]] for segment in segments)]
        labels = np.array(table, dtype=np.uint8)[ids]
        write_png(output.masks / f"{stem}.png", labels)
    output.require_images(records)
    choice.raise_for_unknown()
    write_atomically(output.stems_file, "".join(f"{stem}\n" for stem in stems).encode())
    write_atomically(output.classes_file, "".join(f"{name}\n" for name in names).encode())
    return output.classes_file


def _free_stem(file_name: str, taken: Container[str]) -> str:
    """The name without folders' separators and suffix; numbered where it is ``taken``."""
    path = PurePosixPath(file_name)
    stem = "_".join(path.with_suffix("").parts)
    if stem not in taken:
        return stem
    return next(name for n in count(2) if (name := f"{stem}_{n}") not in taken)

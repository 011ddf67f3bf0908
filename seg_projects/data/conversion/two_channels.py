"""panopticapi's two-channel PNG: red is the category id, green the number of the instance.

0 in red is void; stuff has the number 0, crowds have 255. Ids and numbers end at 255.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from seg_projects.data.conversion.annotated import (
    AnnotatedImage,
    ConversionLog,
    MaskedObject,
    ReaderOptions,
    Record,
)
from seg_projects.data.conversion.categories import ALL_OTHERS, CategoryChoice
from seg_projects.data.conversion.coco_panoptic import paint_segments, split_ids, write_png
from seg_projects.data.conversion.image_files import (
    checked_size,
    find_image,
    list_images,
    read_mask,
    read_names,
    require_folder,
)
from seg_projects.data.conversion.output import OutputFolder
from seg_projects.errors import UserError
from seg_projects.files import write_json

CROWD = 255
MAX_VALUE = 255


def write_two_channels(
    images: Iterable[AnnotatedImage],
    choice: CategoryChoice,
    output: OutputFolder,
    log: ConversionLog,
    *,
    overlap: str = "later-on-top",
    unlabelled: str | None = None,
) -> Path:
    """Writes RGB files, blue being 0, into ``output.masks``; returns the JSON of the categories.

    Raises:
        UserError: the classes are not named one by one, an id or a number exceeds 255, or as for
            :func:`write_coco_panoptic`.
    """
    if ALL_OTHERS in (*choice.things, *choice.stuff):
        raise UserError('Two channels need every class by name: "*" gives their ids no order.')
    choice.require_stuff(unlabelled)
    categories = choice.records()
    ids = {record["name"]: record["id"] for record in categories}
    if too_large := [name for name, i in ids.items() if not 0 < i <= MAX_VALUE]:
        raise UserError(f"The id of {too_large[0]!r} does not fit into a channel of 8 bits.")
    records: list[Record] = []
    for image in images:
        records.append(output.add_image(image, len(records) + 1))
        places, segments = paint_segments(image, choice, overlap=overlap, unlabelled=unlabelled)
        table = np.zeros((len(segments) + 1, 3), dtype=np.uint8)
        used: Counter[str] = Counter()
        for place, segment in enumerate(segments, start=1):
            label = segment["category_id"]
            number = CROWD if segment["iscrowd"] else used[label]
            used[label] += 1 - segment["iscrowd"]
            if number == CROWD and not segment["iscrowd"]:
                raise UserError(f"{image.file_name} has more than {CROWD} objects of {label!r}.")
            table[place, :2] = ids.get(label, 0), number
        write_png(output.masks / output.mask_name(image.file_name), table[places])
    output.require_images(records)
    choice.raise_for_unknown()
    content = {"images": records, "annotations": [], "categories": categories}
    write_json(output.json_file, content)
    return output.json_file


def read_two_channels(
    source: Path, options: ReaderOptions, log: ConversionLog
) -> Iterator[AnnotatedImage]:
    """The images of the two-channel files in the folder ``source``.

    Images of the same folders and stems lie in ``images``; ``names`` gives the category of each id.
    """
    if options.images is None or options.names is None:
        raise UserError("Two channels need --images, and the names of their ids in --categories.")
    names = read_names(options.names)
    for file in list_images(require_folder(source, "it holds the PNG files")):
        folder = file.relative_to(source).parent
        image = find_image(options.images / folder, file.stem)
        if image is None:
            log.note("missing image", f"{file}: no image {file.stem} in {options.images}; left out")
            continue
        name = (folder / image.name).as_posix()
        size = checked_size(image, name, log)
        pixels = None if size is None else _read_channels(file, size, log)
        if size is not None and pixels is not None:
            yield AnnotatedImage(
                file_name=name,
                source=image,
                size=size,
                objects=list(_objects(pixels, names, file, log)),
            )


def _read_channels(file: Path, size: tuple[int, int], log: ConversionLog) -> np.ndarray | None:
    """(H, W, 2) int32; None, with a note, where the file cannot be used."""
    pixels = read_mask(file, size, log)
    if pixels is None:
        return None
    if pixels.ndim != 3:
        log.note("mask of one channel", f"{file}: expected two values per pixel; left out")
        return None
    return pixels[..., :2].astype(np.int32)


def _objects(
    pixels: np.ndarray, names: dict[int, str], file: Path, log: ConversionLog
) -> Iterator[MaskedObject]:
    """One per pair of values, in the order of the ids; pairs of id 0 are void."""
    for value, mask in split_ids(pixels[..., 0] * (CROWD + 1) + pixels[..., 1]).items():
        category, number = divmod(value, CROWD + 1)
        if category in names:
            yield MaskedObject(label=names[category], mask=mask, is_crowd=number == CROWD)
        elif category:
            log.note("label value without name", f"{file}: {category}; void")

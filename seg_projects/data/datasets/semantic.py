"""Data sets of label maps: a folder of images, a folder of label maps of the same names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from seg_projects.colors import spread_color
from seg_projects.data.datasets.declared import (
    dataset_root,
    declared_entries,
    forget_dataset,
    require_present,
)
from seg_projects.data.label_maps import IGNORED, class_table
from seg_projects.errors import UserError

REQUIRED_KEYS = ("NAME", "IMAGES", "LABELS", "CLASSES")
OPTIONAL_KEYS = ("VALUE_MAP", "IGNORE_LABEL", "STEMS", "SPACING")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def declare_semantic_datasets(cfg: CfgNode) -> None:
    """Registers every entry of ``cfg.DATASETS.SEMANTIC``; the same entry twice is no error."""
    root = dataset_root(cfg)
    for entry in declared_entries(cfg, "SEMANTIC", REQUIRED_KEYS, OPTIONAL_KEYS):
        _check_values(entry)
        register_semantic(
            entry["NAME"],
            image_root=root / entry["IMAGES"],
            label_root=root / entry["LABELS"],
            classes=[str(name) for name in entry["CLASSES"]],
            value_map=entry.get("VALUE_MAP"),
            ignore_label=entry.get("IGNORE_LABEL", IGNORED),
            stems=listed_stems(root, entry),
            spacing=entry.get("SPACING"),
        )


def _check_values(entry: dict[str, Any]) -> None:
    key = "DATASETS.SEMANTIC"
    for name, kinds in (("CLASSES", list), ("STEMS", list | str)):
        if not isinstance(entry.get(name, []), kinds):
            raise UserError(f"{key} {entry['NAME']!r}: {name} is {entry[name]!r}; it is a list.")
    pairs = entry.get("VALUE_MAP", {})
    whole = isinstance(pairs, dict) and all(
        isinstance(number, int) for pair in pairs.items() for number in pair
    )
    if not whole or not isinstance(entry.get("IGNORE_LABEL", 0), int):
        raise UserError(
            f"{key} {entry['NAME']!r}: VALUE_MAP is {{value in the file: class}} and "
            "IGNORE_LABEL a value in the file, all whole numbers."
        )
    if "SPACING" in entry and not _is_spacing(entry["SPACING"]):
        raise UserError(
            f"{key} {entry['NAME']!r}: SPACING is {entry['SPACING']!r}; it is [row, column], the "
            "height and width of a pixel in millimetres, both above 0."
        )


def listed_stems(root: Path, entry: Mapping[str, Any]) -> list[str | int] | None:
    """``STEMS`` of a declared data set: in the config, or in a text file, a line each.

    Raises:
        UserError: that file is missing or cannot be read.
    """
    listed = entry.get("STEMS")
    if not isinstance(listed, str):
        return listed
    require_present(entry["NAME"], paths=[root / listed])
    try:
        lines = (root / listed).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"{root / listed} cannot be read as a list of names: {error}.") from error
    return [line.strip() for line in lines if line.strip()]


def _is_spacing(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(part, int | float) and 0 < part < math.inf for part in value)
    )


def register_semantic(
    name: str,
    *,
    image_root: Path,
    label_root: Path,
    classes: Sequence[str],
    value_map: Mapping[int, int] | None = None,
    ignore_label: int = IGNORED,
    stems: Sequence[str | int] | None = None,
    spacing: Sequence[float] | None = None,
) -> None:
    """Registers the data set ``name``.

    Args:
        name: for ``DATASETS.TRAIN`` and ``DATASETS.TEST``.
        image_root: folder of the images.
        label_root: folder of the label maps, image files of one channel.
        classes: names of the classes 0 to K - 1.
        value_map: value in the file -> class; None where values are classes.
        ignore_label: value in the file of pixels that do not count.
        stems: only these files, by their name less the suffix, in this order; all, sorted, if None.
        spacing: height and width of a pixel, in millimetres, where surface distances are.

    Raises:
        UserError: a folder is missing, a class or value is out of range.
    """
    require_present(name, folders=(image_root, label_root))
    table = class_table(len(classes), value_map=value_map, ignore_label=ignore_label)
    forget_dataset(name)
    catalog_label_maps(
        name,
        lambda: load_semantic_records(image_root, label_root, stems, spacing),
        classes=classes,
        table=table,
        image_root=image_root,
        label_root=label_root,
    )


def catalog_label_maps(
    name: str,
    load: Callable[[], list[dict[str, Any]]],
    *,
    classes: Sequence[str],
    table: np.ndarray,
    image_root: Path,
    label_root: Path,
    colors: Sequence[Sequence[int]] | None = None,
) -> None:
    """Puts a data set of label maps into the catalogs.

    Args:
        name: not yet in the catalogs.
        load: gives the records, see :func:`label_map_records`; called when they are asked for.
        classes: names of the classes 0 to K - 1.
        table: value in the file -> class, see :func:`class_table`.
        image_root: folder of the images.
        label_root: folder of the label maps.
        colors: RGB of the classes; distinct ones where None.
    """
    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(
        image_root=str(image_root),
        sem_seg_root=str(label_root),
        evaluator_type="label_maps",
        ignore_label=IGNORED,
        stuff_classes=list(classes),
        stuff_colors=[
            list(color) for color in (colors or [spread_color(i) for i in range(len(classes))])
        ],
        label_table=table,
    )


def load_semantic_records(
    image_root: Path,
    label_root: Path,
    stems: Sequence[str | int] | None = None,
    spacing: Sequence[float] | None = None,
) -> list[dict[str, Any]]:
    """Detectron2 records: ``file_name``, ``sem_seg_file_name``, ``image_id``, the size.

    Where it is given, ``spacing``, the height and width of a pixel, is in each of them too.

    Raises:
        UserError: there is no image, or an image has no label map.
    """
    images, labels = files_by_stem(image_root), files_by_stem(label_root)
    wanted = list(images) if stems is None else [str(stem) for stem in stems]
    if not wanted:
        raise UserError(f"{image_root} holds no image ({', '.join(IMAGE_SUFFIXES)}).")
    for stem in wanted:
        for folder, files in ((image_root, images), (label_root, labels)):
            if stem not in files:
                raise UserError(f"{folder} has no file {stem!r} ({', '.join(IMAGE_SUFFIXES)}).")
    records = label_map_records((stem, images[stem], labels[stem]) for stem in wanted)
    if spacing is None:
        return records
    height, width = map(float, spacing)
    return [record | {"spacing": (height, width)} for record in records]


def label_map_records(files: Iterable[tuple[str, Path, Path]]) -> list[dict[str, Any]]:
    """Detectron2 records of (image id, image, label map); only the images' headers are read.

    Raises:
        UserError: an image cannot be read.
    """
    return [
        {
            "file_name": str(image),
            "sem_seg_file_name": str(label),
            "image_id": image_id,
            "height": height,
            "width": width,
        }
        for image_id, image, label in files
        for height, width in (displayed_size_of(image),)
    ]


def displayed_size_of(path: Path) -> tuple[int, int]:
    """(H, W) of an image as viewers show it.

    Raises:
        UserError: it cannot be read.
    """
    # Imported here: a record's size is asked for by those alone who load one.
    from seg_projects.data.conversion.image_files import displayed_size

    try:
        return displayed_size(path)
    except OSError as error:
        raise UserError(f"The image {path} cannot be read: {error}.") from error


def files_by_stem(folder: Path) -> dict[str, Path]:
    """The image files in ``folder`` by their names less the suffix; none where it is no folder."""
    if not folder.is_dir():
        return {}
    files = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return {path.stem: path for path in sorted(files)}

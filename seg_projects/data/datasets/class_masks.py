"""Data sets of binary masks, one per class and image: a pixel may have several classes or none.

Folders: ``MASKS/CLASS/NAME.png`` or ``MASKS/NAME/CLASS.png``. A class without a file is nowhere
in that image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from seg_projects.colors import spread_color
from seg_projects.data.class_masks import check_class_names, mask_table
from seg_projects.data.datasets.declared import (
    dataset_root,
    declared_entries,
    forget_dataset,
    require_present,
)
from seg_projects.data.datasets.semantic import (
    IMAGE_SUFFIXES,
    displayed_size_of,
    files_by_stem,
    listed_stems,
)
from seg_projects.data.label_maps import IGNORED
from seg_projects.errors import UserError

GROUP = "CLASS_MASKS"
REQUIRED_KEYS = ("NAME", "IMAGES", "MASKS", "CLASSES")
OPTIONAL_KEYS = ("STEMS", "IGNORE_LABEL")
EVALUATOR_TYPE = "class_masks"


def declare_class_masks(cfg: CfgNode) -> None:
    """Registers every entry of ``cfg.DATASETS.CLASS_MASKS``; the same entry twice is no error."""
    root = dataset_root(cfg)
    for entry in declared_entries(cfg, GROUP, REQUIRED_KEYS, OPTIONAL_KEYS):
        _check_values(entry)
        register_class_masks(
            entry["NAME"],
            image_root=root / entry["IMAGES"],
            mask_root=root / entry["MASKS"],
            classes=[str(name) for name in entry["CLASSES"]],
            stems=listed_stems(root, entry),
            ignore_label=entry.get("IGNORE_LABEL"),
        )


def _check_values(entry: dict[str, Any]) -> None:
    where = f"DATASETS.{GROUP} {entry['NAME']!r}"
    for name, kinds in (("CLASSES", list), ("STEMS", list | str)):
        if not isinstance(entry.get(name, []), kinds):
            raise UserError(f"{where}: {name} is {entry[name]!r}; it is a list.")
    if not isinstance(entry.get("IGNORE_LABEL", 1), int):
        raise UserError(f"{where}: IGNORE_LABEL is a value in the file, a whole number.")


def holds_class_masks(cfg: CfgNode) -> bool:
    """Whether the data sets that ``cfg`` names are of this kind; their files need not be there."""
    names = {*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST}
    declared = {entry.get("NAME") for entry in cfg.DATASETS[GROUP] if isinstance(entry, dict)}
    registered = names.intersection(DatasetCatalog.list())
    return bool(names & declared) or any(
        MetadataCatalog.get(name).get("evaluator_type") == EVALUATOR_TYPE for name in registered
    )


def register_class_masks(
    name: str,
    *,
    image_root: Path,
    mask_root: Path,
    classes: Sequence[str],
    stems: Sequence[str | int] | None = None,
    ignore_label: int | None = None,
) -> None:
    """Registers the data set ``name``.

    Args:
        name: for ``DATASETS.TRAIN`` and ``DATASETS.TEST``.
        image_root: folder of the images.
        mask_root: folder of ``CLASS/NAME.png`` or ``NAME/CLASS.png``: 0, or 1, 255 or 65535.
        classes: names of the classes, as the folders or files are called.
        stems: only these images, by name less the suffix, in this order; all, sorted, if None.
        ignore_label: value in the masks of pixels that do not count for that class.

    Raises:
        UserError: a folder is missing, there is no class or one is named twice.
    """
    require_present(name, folders=(image_root, mask_root))
    check_class_names(classes)
    table = mask_table(ignore_label)
    forget_dataset(name)
    DatasetCatalog.register(
        name, lambda: load_class_mask_records(image_root, mask_root, classes, stems)
    )
    MetadataCatalog.get(name).set(
        image_root=str(image_root),
        mask_root=str(mask_root),
        evaluator_type=EVALUATOR_TYPE,
        ignore_label=IGNORED,
        stuff_classes=list(classes),
        stuff_colors=[list(spread_color(i)) for i in range(len(classes))],
        label_table=table,
    )


def load_class_mask_records(
    image_root: Path,
    mask_root: Path,
    classes: Sequence[str],
    stems: Sequence[str | int] | None = None,
) -> list[dict[str, Any]]:
    """Detectron2 records: ``file_name``, ``class_mask_file_names``, ``image_id``, the size.

    Raises:
        UserError: there is no image, an image has no mask at all, or a class has none.
    """
    images = files_by_stem(image_root)
    wanted = list(images) if stems is None else [str(stem) for stem in stems]
    if not wanted:
        raise UserError(f"{image_root} holds no image ({', '.join(IMAGE_SUFFIXES)}).")
    records = []
    for stem, masks in find_class_masks(mask_root, classes, wanted):
        if stem not in images:
            raise UserError(f"{image_root} has no file {stem!r} ({', '.join(IMAGE_SUFFIXES)}).")
        if not any(masks):
            raise UserError(
                f"{mask_root} has no mask of the image {stem!r}, neither {classes[0]}/{stem}.png "
                f"nor {stem}/{classes[0]}.png nor one of another class: of an image without any "
                "class, one mask of zeros says so."
            )
        records.append(class_mask_record(stem, images[stem], masks))
    for index, name in enumerate(classes):
        if not any(record["class_mask_file_names"][index] for record in records):
            raise UserError(f"{mask_root} has no mask of the class {name!r} for these images.")
    return records


def find_class_masks(
    mask_root: Path, classes: Sequence[str], stems: Sequence[str]
) -> Iterator[tuple[str, list[Path | None]]]:
    """The masks of each of ``stems`` by class; None where there is none."""
    by_class = [files_by_stem(mask_root / name) for name in classes]
    for stem in stems:
        of_image = files_by_stem(mask_root / stem)
        yield (
            stem,
            [
                files.get(stem) or of_image.get(name)
                for name, files in zip(classes, by_class, strict=True)
            ],
        )


def class_mask_record(stem: str, image: Path, masks: Sequence[Path | None]) -> dict[str, Any]:
    """The record of one image; of it, only the header is read.

    Raises:
        UserError: it cannot be read.
    """
    height, width = displayed_size_of(image)
    return {
        "file_name": str(image),
        "class_mask_file_names": [None if mask is None else str(mask) for mask in masks],
        "image_id": stem,
        "height": height,
        "width": width,
    }

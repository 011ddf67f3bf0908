"""The data sets that are known by name as soon as ``seg_projects.data`` is imported.

Names that the installed Detectron2 has (``coco_2017_*``, ``cityscapes_fine_*``,
``ade20k_sem_seg_*``, ``voc_2012_{train,val}`` for boxes) stay as they are. Files are looked for
when a set is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json
from detectron2.data.datasets.builtin_meta import ADE20K_SEM_SEG_CATEGORIES, CITYSCAPES_CATEGORIES
from seg_projects.colors import spread_color
from seg_projects.data.datasets import cityscapes, coco_stuff, pascal_voc
from seg_projects.data.datasets.label_map_sets import CAMVID_CLASSES, PET_CLASSES
from seg_projects.data.datasets.panoptic import catalog_panoptic
from seg_projects.data.datasets.preparation import Record, require_files
from seg_projects.data.datasets.semantic import (
    catalog_label_maps,
    label_map_records,
    load_semantic_records,
)
from seg_projects.data.label_maps import IGNORED, class_table


def register_builtin(root: Path) -> None:
    """Registers the sets below ``root`` whose names the catalogs do not have."""
    _register_cityscapes(root / "cityscapes")
    _register_voc(root / "VOC2012")
    _register_coco_stuff(root / "coco")
    for name, classes, splits in (
        ("oxford_pets", PET_CLASSES, ("train", "val")),
        ("camvid", CAMVID_CLASSES, ("train", "val", "test")),
        ("ade20k_150", ADE20K_SEM_SEG_CATEGORIES, ("train", "val")),
    ):
        _register_prepared(name, root, classes, splits)


def builtin_root() -> Path:
    """The folder of all data sets: ``DETECTRON2_DATASETS``, else ``./datasets``."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()


def _is_new(name: str) -> bool:
    return name not in DatasetCatalog.list()


def _register_cityscapes(root: Path) -> None:
    classes = [c["name"] for c in CITYSCAPES_CATEGORIES]
    colors = [c["color"] for c in CITYSCAPES_CATEGORIES]
    for split in cityscapes.SPLITS:
        images = root / "leftImg8bit" / split
        _register_label_maps(
            f"cityscapes_sem_seg_{split}",
            partial(_load_cityscapes_sem_seg, root, split),
            classes=classes,
            value_map=_with_void(cityscapes.TRAIN_IDS, 34),
            image_root=images,
            label_root=root / "gtFine" / split,
            colors=colors,
        )
        if _is_new(name := f"cityscapes_panoptic_{split}"):
            annotations = cityscapes.panoptic_json(root, split)
            catalog_panoptic(
                name,
                partial(cityscapes.load_cityscapes_panoptic, root, split),
                categories=cityscapes.CATEGORIES,
                image_root=images,
                panoptic_json=annotations,
                panoptic_root=annotations.with_suffix(""),
            )
        _register_instances(
            f"cityscapes_instance_seg_{split}",
            cityscapes.instances_json(root, split),
            images,
            cityscapes.THING_CATEGORIES,
            cityscapes.PREPARE,
        )


def _load_cityscapes_sem_seg(root: Path, split: str) -> list[Record]:
    images = cityscapes.cityscapes_images(root, split)
    return label_map_records((i.name, i.image, i.label_ids) for i in images)


def _register_voc(root: Path) -> None:
    for split in pascal_voc.SPLITS:
        _register_label_maps(
            f"voc_2012_sem_seg_{split}",
            partial(pascal_voc.load_voc_sem_seg, root, split),
            classes=pascal_voc.CLASSES,
            image_root=root / "JPEGImages",
            label_root=root / "SegmentationClass",
        )
        _register_instances(
            f"voc_2012_instance_seg_{split}",
            pascal_voc.instances_json(root, split),
            root / "JPEGImages",
            pascal_voc.CATEGORIES,
            "run `python datasets/prepare_voc.py` first",
        )


def _register_coco_stuff(root: Path) -> None:
    for split in coco_stuff.SPLITS:
        _register_label_maps(
            f"coco_2017_{split}_stuff",
            partial(coco_stuff.load_coco_stuff, root, split),
            classes=coco_stuff.CLASSES,
            value_map=coco_stuff.VALUE_MAP,
            image_root=root / f"{split}2017",
            label_root=root / "stuffthingmaps" / f"{split}2017",
        )


def _register_prepared(
    name: str, root: Path, classes: Sequence[str], splits: Sequence[str]
) -> None:
    """What ``datasets/prepare_{pets,camvid,ade}.py`` write."""
    script = {"oxford_pets": "pets", "camvid": "camvid", "ade20k_150": "ade"}[name]
    folder = root / f"prepared_{script}"
    for split in splits:
        images, labels = folder / "images" / split, folder / "labels" / split
        _register_label_maps(
            f"{name}_{split}",
            partial(_load_prepared, images, labels, script),
            classes=classes,
            image_root=images,
            label_root=labels,
        )


def _load_prepared(images: Path, labels: Path, script: str) -> list[Record]:
    require_files([images, labels], f"run `python datasets/prepare_{script}.py SOURCE` first")
    return load_semantic_records(images, labels)


def _register_label_maps(
    name: str,
    load: Callable[[], list[Record]],
    *,
    classes: Sequence[str],
    value_map: Mapping[int, int] | None = None,
    image_root: Path,
    label_root: Path,
    colors: Sequence[Sequence[int]] | None = None,
) -> None:
    """As ``catalog_label_maps``; ``value_map`` is {value in the file: class}, where they differ."""
    if _is_new(name):
        catalog_label_maps(
            name,
            load,
            classes=classes,
            table=class_table(len(classes), value_map=value_map, ignore_label=IGNORED),
            image_root=image_root,
            label_root=label_root,
            colors=colors,
        )


def _register_instances(
    name: str, json_file: Path, images: Path, categories: Sequence[Record], remedy: str
) -> None:
    """A COCO instances file that a preparation writes."""
    if not _is_new(name):
        return

    def load() -> list[Record]:
        require_files([json_file], remedy)
        return load_coco_json(str(json_file), str(images), name)

    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(
        json_file=str(json_file),
        image_root=str(images),
        evaluator_type="coco",
        thing_classes=[c["name"] for c in categories],
        thing_colors=[list(spread_color(i)) for i in range(len(categories))],
        thing_dataset_id_to_contiguous_id={c["id"]: i for i, c in enumerate(categories)},
    )


def _with_void(value_map: Mapping[int, int], count: int) -> dict[int, int]:
    """``value_map`` with the other values below ``count`` as void."""
    return dict.fromkeys(range(count), IGNORED) | dict(value_map)

"""Built-in data sets below a folder of the test, and the publishers' layouts on generated files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from converted_sets import save_image
from PIL import Image

from detectron2.data import DatasetCatalog, MetadataCatalog
from seg_projects.data import register_builtin
from seg_projects.data.conversion.coco_panoptic import write_png
from seg_projects.data.datasets.builtin import builtin_root

OURS = ("cityscapes_sem", "cityscapes_pan", "cityscapes_inst", "voc_2012_sem", "voc_2012_inst")
OURS += ("coco_2017_train_stuff", "coco_2017_val_stuff", "oxford_pets", "camvid", "ade20k_150")


def _forget() -> None:
    for name in DatasetCatalog.list():
        if name.startswith(OURS):
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


@pytest.fixture
def builtin_sets(tmp_path: Path) -> Iterator[Path]:
    """A folder of data sets that the built-in names stand for, in this test."""
    _forget()
    register_builtin(tmp_path)
    yield tmp_path
    _forget()
    register_builtin(builtin_root())


# A road, a car 26001 that hides part of another, a group of cars, a licence plate-less rest.
INSTANCE_IDS = np.array(
    [
        [7, 7, 7, 7, 23, 23],
        [26001, 26001, 26000, 7, 26, 26],
        [26001, 26001, 26000, 24000, 4, 0],
    ],
    np.uint16,
)


@pytest.fixture
def cityscapes(builtin_sets: Path) -> Path:
    """One image of each split, with raw label ids and instance ids."""
    root = builtin_sets / "cityscapes"
    labels = np.where(INSTANCE_IDS < 1000, INSTANCE_IDS, INSTANCE_IDS // 1000).astype(np.uint8)
    for split, city in (("train", "aachen"), ("val", "munster")):
        stem = f"{city}_000000_000019"
        save_image(root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", 6, 3)
        truth = root / "gtFine" / split / city
        write_png(truth / f"{stem}_gtFine_labelIds.png", labels)
        write_png(truth / f"{stem}_gtFine_instanceIds.png", INSTANCE_IDS)
    return root


VOC_CLASSES = np.array([[0, 255, 15, 15], [1, 1, 255, 15]], np.uint8)
VOC_OBJECTS = np.array([[0, 255, 1, 1], [3, 3, 255, 2]], np.uint8)


@pytest.fixture
def voc(builtin_sets: Path) -> Path:
    """An image to train with, one to validate: palette PNG files."""
    root = builtin_sets / "VOC2012"
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for kind, values in (("Class", VOC_CLASSES), ("Object", VOC_OBJECTS)):
        folder = root / f"Segmentation{kind}"
        folder.mkdir()
        for stem in ("2007_000001", "2007_000002"):
            image = Image.fromarray(values, mode="P")
            image.putpalette(bytes(range(256)) * 3)
            image.save(folder / f"{stem}.png")
    for split, stems in {"train": [1], "val": [2], "trainval": [1, 2]}.items():
        (lists / f"{split}.txt").write_text("".join(f"2007_00000{s}\n" for s in stems))
    for stem in ("2007_000001", "2007_000002"):
        save_image(root / "JPEGImages" / f"{stem}.jpg", 4, 2)
    return root


@pytest.fixture
def run_preparation() -> Callable[..., int]:
    """``main`` of ``datasets/prepare_NAME.py``."""
    import runpy

    from tiny_runs import REPOSITORY

    def run(name: str, *arguments: str | Path) -> int:
        script = REPOSITORY / "datasets" / f"prepare_{name}.py"
        return runpy.run_path(str(script))["main"]([str(a) for a in arguments])

    return run

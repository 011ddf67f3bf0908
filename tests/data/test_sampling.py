"""Images with rare classes are shown more often, whatever the kind of their annotations."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detectron2.config import CfgNode, get_cfg
from detectron2.data import MetadataCatalog
from detectron2.data.samplers import TrainingSampler
from seg_projects.config import add_seg_projects_config
from seg_projects.data.label_maps import class_table
from seg_projects.data.sampling import build_train_sampler, classes_of_images
from seg_projects.errors import UserError

# Sixteen images: class 0 in all, class 1 in the last one alone.
CLASSES = [{0}] * 15 + [{0, 1}]


@pytest.fixture
def cfg() -> CfgNode:
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.SEED = 3
    cfg.DATASETS.TRAIN = ("sampling",)
    cfg.DATALOADER.SAMPLER_TRAIN = "RepeatFactorTrainingSampler"
    cfg.DATALOADER.REPEAT_THRESHOLD = 1.0
    return cfg


def _annotated(key: str) -> list[dict[str, Any]]:
    crowd = {"category_id": 7, "iscrowd": 1}
    return [{key: [*({"category_id": c} for c in found), crowd]} for found in CLASSES]


def _label_maps(folder: Path) -> list[dict[str, Any]]:
    records = []
    for number, found in enumerate(CLASSES):
        path = str(folder / f"{number}.png")
        # In the files class 0 is 10, class 1 is 20; 255 does not count.
        Image.fromarray(np.array([[10 * (c + 1) for c in found] + [255]], np.uint8)).save(path)
        records.append({"file_name": path, "sem_seg_file_name": path})
    return records


@pytest.mark.parametrize("kind", ["annotations", "segments_info", "label maps"])
def test_an_image_with_a_rare_class_comes_by_its_factor(cfg, tmp_path, kind):
    records = _label_maps(tmp_path) if kind == "label maps" else _annotated(kind)
    MetadataCatalog.pop("sampling", None)
    if kind == "label maps":
        table = class_table(2, value_map={10: 0, 20: 1}, ignore_label=255)
        MetadataCatalog.get("sampling").label_table = table
    sampler = build_train_sampler(cfg, records)
    # sqrt(1 / (1 / 16)) = 4 times, the others once: 4 of 19.
    shown = list(itertools.islice(sampler, 19 * 10))
    assert shown.count(15) == 40
    assert all(shown.count(index) == 10 for index in range(15))


@pytest.mark.parametrize("seed", [0, 3])
def test_a_seed_gives_the_same_order_again(cfg, seed):
    cfg.SEED = seed
    first, second = (build_train_sampler(cfg, _annotated("annotations")) for _ in range(2))
    assert list(itertools.islice(first, 190)) == list(itertools.islice(second, 190))


def test_other_samplers_are_detectron2s(cfg):
    cfg.DATALOADER.SAMPLER_TRAIN = "TrainingSampler"
    found = build_train_sampler(cfg, _annotated("annotations"))
    expected = TrainingSampler(16, seed=3)
    assert list(itertools.islice(found, 40)) == list(itertools.islice(expected, 40))
    cfg.DATALOADER.SAMPLER_TRAIN = "RandomSubsetTrainingSampler"
    assert build_train_sampler(cfg, _annotated("annotations")) is None


def test_crowds_do_not_make_a_class_present():
    assert classes_of_images(_annotated("segments_info"), None) == CLASSES


# A label map says nothing where no table tells what its values mean.
@pytest.mark.parametrize("record", [{}, {"sem_seg_file_name": "a.png"}])
def test_records_without_classes_are_named(record):
    with pytest.raises(UserError, match=r"The record of a\.jpg names no classes"):
        classes_of_images([{"file_name": "a.jpg"} | record], None)

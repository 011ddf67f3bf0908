"""Loaders of a config: workers share the records, and their own memory does not grow."""

from __future__ import annotations

import itertools
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from seg_projects.config import add_seg_projects_config
from seg_projects.data import PanopticMapper, SemanticMapper
from seg_projects.data.loading import build_train_loader, build_train_mapper, mapper_class
from seg_projects.errors import UserError

RECORDS = 2000
SEGMENTS = 40


def _private_kilobytes() -> int:
    """Memory of this process that no other one shares (USS)."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


class ProbingMapper:
    """Reads a record through and through, as a mapper does, and tells the worker's memory."""

    def __init__(self, cfg: CfgNode, is_train: bool) -> None:
        self.is_train = is_train

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        areas = sum(segment["area"] for segment in record["segments_info"])
        result = {"id": record["image_id"], "areas": areas, "worker": os.getpid()}
        # The kernel walks all pages to tell: only now and then.
        return result | ({"memory": _private_kilobytes()} if result["id"] % 100 == 0 else {})


def _records() -> list[dict[str, Any]]:
    # Distinct objects, as a parsed JSON has them: about 20 MB in all.
    return [
        {
            "file_name": f"image_{i}.jpg",
            "image_id": i,
            "height": 8,
            "width": 8,
            "segments_info": [
                {"id": 1000 * i + s, "category_id": 300 + s, "area": 1000 + i + s, "iscrowd": 0}
                for s in range(SEGMENTS)
            ],
        }
        for i in range(RECORDS)
    ]


@pytest.fixture
def cfg() -> Any:
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.DATASETS.TRAIN = ("loading",)
    cfg.DATALOADER.NUM_WORKERS = 2
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = False
    cfg.SOLVER.IMS_PER_BATCH = 50
    cfg.SEED = 1
    DatasetCatalog.register("loading", _records)
    MetadataCatalog.get("loading").set(evaluator_type="panoptic")
    yield cfg
    DatasetCatalog.remove("loading")
    MetadataCatalog.remove("loading")


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").is_file(), reason="needs Linux's /proc")
def test_the_private_memory_of_workers_does_not_grow_with_epochs(cfg):
    batches = iter(build_train_loader(cfg, ProbingMapper))
    epochs: list[dict[int, int]] = []
    per_epoch = RECORDS // cfg.SOLVER.IMS_PER_BATCH
    for _ in range(3):
        last: dict[int, int] = {}
        seen: set[int] = set()
        for batch in itertools.islice(batches, per_epoch):
            for item in batch:
                last[item["worker"]] = item.get("memory", last.get(item["worker"], 0))
                seen.add(item["id"])
        epochs.append(last)
        assert len(seen) == RECORDS
    assert len(epochs[0]) == 2
    for worker, first in epochs[0].items():
        # The records, copied page by page by reference counting, would add about 20 MB.
        assert epochs[-1][worker] - first < 3000


def test_mappers_and_loaders_survive_pickling(cfg, tmp_path):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "b.png")
    cfg.INPUT.AUGMENTATIONS = [["rotation", {"angle": 9}], "grey", ["noise", {"sigma": 3}]]
    MetadataCatalog.get("loading").label_table = np.zeros(65536, np.int16)
    record = {"file_name": str(tmp_path / "a.png"), "sem_seg_file_name": str(tmp_path / "b.png")}
    mapper = SemanticMapper(cfg, is_train=True)
    results = []
    for copied in (mapper, pickle.loads(pickle.dumps(mapper))):
        np.random.seed(0)  # noqa: NPY002  # Detectron2's augmentations use this generator
        results.append(copied(record))
    assert torch.equal(results[0]["image"], results[1]["image"])
    assert pickle.loads(pickle.dumps(results[0])).keys() == results[0].keys()


def test_label_maps_have_nothing_to_paste(cfg):
    cfg.INPUT.AUGMENTATIONS = ["copy_paste"]
    with pytest.raises(UserError, match="copy_paste moves objects, and a data set of label maps"):
        build_train_mapper(cfg, SemanticMapper, [])


def test_detectron2s_data_sets_get_our_mapper_where_its_own_is_not_enough(cfg):
    MetadataCatalog.get("coco").evaluator_type = "coco"
    assert mapper_class(cfg, "loading") is PanopticMapper
    assert mapper_class(cfg, "coco") is None
    cfg.INPUT.AUGMENTATIONS = ["grey"]
    assert mapper_class(cfg, "coco") is not None
    MetadataCatalog.remove("coco")

"""Several processes give the numbers of one, to the last digit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from process_groups import results_of_processes

from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, Instances
from seg_projects.data.datasets.panoptic import register_panoptic
from seg_projects.evaluation import build_evaluator

NAME = "processes"
NUM_IMAGES = 5
SEGMENTS = [(1, 8, 0), (2, 3, 0), (3, 5, 0)]


def _ids(number: int) -> np.ndarray:
    rng = np.random.default_rng(number)
    return np.repeat(np.repeat(rng.integers(1, 4, (4, 5)), 3, axis=0), 3, axis=1)


def _output(number: int) -> dict[str, Any]:
    """The truth shifted by a pixel: neither perfect nor wrong."""
    ids = np.roll(_ids(number), 1, axis=1)
    present = [(1, True, 1), (2, True, 0), (3, False, 1)]
    segments = [
        {"id": i, "isthing": thing, "category_id": c} for i, thing, c in present if (ids == i).any()
    ]
    things = [s for s in segments if s["isthing"]]
    instances = Instances(ids.shape)
    masks = np.zeros((len(things), *ids.shape), dtype=bool)
    for row, thing in enumerate(things):
        masks[row] = ids == thing["id"]
    instances.pred_masks = torch.from_numpy(masks)
    instances.pred_boxes = Boxes(torch.tensor([[0.0, 0, 15, 12]]).repeat(len(things), 1))
    instances.scores = torch.full((len(things),), 0.5)
    instances.pred_classes = torch.tensor([s["category_id"] for s in things], dtype=torch.long)
    logits = torch.nn.functional.one_hot(torch.from_numpy(ids == 3).long(), 3).permute(2, 0, 1)
    return {
        "panoptic_seg": (torch.from_numpy(ids), segments),
        "instances": instances,
        "sem_seg": logits.float(),
    }


def _results(images: list[int], folder: Path) -> Any:
    metrics = ["boundary_f1", "boundary_iou", "surface_distance"]
    evaluator = build_evaluator(NAME, folder, semantic_metrics=metrics, boundary_share=0.05)
    evaluator.reset()
    records = {record["image_id"]: record for record in DatasetCatalog.get(NAME)}
    evaluator.process([records[i] for i in images], [_output(i) for i in images])
    return evaluator.evaluate()


@pytest.fixture
def registered(tmp_path: Path, write_panoptic: Any) -> None:
    scenes = []
    for number in range(NUM_IMAGES):
        ids = _ids(number)
        scenes.append((ids, [s for s in SEGMENTS if (ids == s[0]).any()]))
    path = write_panoptic(tmp_path / "set", scenes)
    register_panoptic(
        NAME,
        image_root=tmp_path / "set/images",
        panoptic_json=path,
        panoptic_root=tmp_path / "set/masks",
    )


# The last ones: the sampler has dealt out image 0 twice; one process has nothing.
SHARES = [[[0, 1, 2], [3, 4]], [[4, 0], [2, 3], [1, 0]], [[3, 1, 0, 4, 2], []]]


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("shares", SHARES, ids=["uneven", "padded", "idle"])
def test_processes_give_the_numbers_of_one(tmp_path: Path, shares: list[list[int]]) -> None:
    expected = json.dumps(_results(list(range(NUM_IMAGES)), tmp_path / "one"))
    results = results_of_processes(
        len(shares), lambda rank: _results(shares[rank], tmp_path / "several"), tmp_path
    )
    assert json.dumps(results) == expected
    for file in (tmp_path / "one").iterdir():
        assert (tmp_path / "several" / file.name).read_bytes() == file.read_bytes()
    assert (tmp_path / "one/panoptic.json").is_file()
    scores = json.loads(expected)
    assert 10 < scores["panoptic_seg"]["BPQ"] < scores["panoptic_seg"]["PQ"] < 90
    assert 10 < scores["sem_seg"]["mBF1"] < 90
    assert 10 < scores["sem_seg"]["mBIoU"] < 90
    assert 0 < scores["sem_seg"]["mHD95"] < 20

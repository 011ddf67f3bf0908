"""Panoptic-DeepLab's outputs, a map without segments, are judged like any other's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOPanopticEvaluator
from detectron2.structures import BitMasks, Instances
from seg_projects.config import add_seg_projects_config
from seg_projects.data import declare_panoptic_datasets
from seg_projects.evaluation import build_evaluator

NAME = "joint_outputs"
# Truth: two cats (category 3) and a dog (8) before grass (11), a corner of void.
IDS = np.full((12, 16), 90)
IDS[1:5, 1:7], IDS[1:5, 8:14], IDS[7:11, 2:9], IDS[0, 0] = 1, 2, 300, 0
SEGMENTS = [(1, 3, 0), (2, 3, 0), (300, 8, 0), (90, 11, 0)]
# Joint classes: cat 0, dog 1, sky 2, grass 3.
LABELS = {1: 1, 2: 2, 300: 1001, 90: 3000, 0: -1}


@pytest.fixture
def declared(tmp_path: Path, write_panoptic: Any) -> Path:
    write_panoptic(tmp_path / "set", [(IDS, SEGMENTS)])
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "SegPanopticDeepLab"
    cfg.DATASETS.ROOT = str(tmp_path / "set")
    files = {"IMAGES": "images", "PANOPTIC_JSON": "panoptic.json", "PANOPTIC_MASKS": "masks"}
    cfg.DATASETS.PANOPTIC = [{"NAME": NAME, **files}]
    cfg.DATASETS.TRAIN = (NAME,)
    declare_panoptic_datasets(cfg)
    return tmp_path


def _output(labels: np.ndarray) -> dict[str, Any]:
    """What the model gives for a map of labels: logits and scored instances that agree with it."""
    classes = torch.from_numpy(np.maximum(labels, 0) // 1000)
    logits = torch.nn.functional.one_hot(classes, 4).permute(2, 0, 1).float()
    things = [label for label in np.unique(labels) if 0 <= label < 2000]
    instances = Instances(labels.shape)
    instances.pred_masks = torch.from_numpy(labels == np.array(things, dtype=int)[:, None, None])
    instances.pred_boxes = BitMasks(instances.pred_masks).get_bounding_boxes()
    instances.pred_classes = torch.tensor([int(i) // 1000 for i in things], dtype=torch.int64)
    instances.scores = torch.linspace(0.9, 0.5, len(things))
    panoptic = torch.from_numpy(labels)
    return {"sem_seg": logits, "panoptic_seg": (panoptic, None), "instances": instances}


def _labels() -> np.ndarray:
    return np.vectorize(LABELS.__getitem__)(IDS)


INPUT = {"image_id": 0, "file_name": "0.png", "height": 12, "width": 16}


def _results(folder: Path, output: dict[str, Any]) -> dict[str, Any]:
    evaluator = build_evaluator(NAME, folder)
    evaluator.reset()
    evaluator.process([INPUT], [output])
    return evaluator.evaluate()


def test_the_truth_itself_scores_100_everywhere(declared: Path) -> None:
    results = _results(declared, _output(_labels()))
    assert results["panoptic_seg"]["PQ"] == pytest.approx(100)
    assert results["segm"]["AP"] == pytest.approx(100)
    assert results["bbox"]["AP"] == pytest.approx(100)
    assert results["sem_seg"]["mIoU"] == pytest.approx(100)


def test_an_error_costs_what_detectron2s_evaluator_says(declared: Path) -> None:
    labels = _labels()
    labels[1:5, 8:14] = 1  # the second cat as part of the first one
    labels[7:11, 7:9] = 3000  # a part of the dog as grass
    output = _output(labels)
    theirs = COCOPanopticEvaluator(NAME, str(declared / "theirs"))
    theirs.reset()
    # It adds 1 to the map in place.
    theirs.process([INPUT], [output | {"panoptic_seg": (output["panoptic_seg"][0].clone(), None)}])
    expected = theirs.evaluate()["panoptic_seg"]
    found = _results(declared, output)["panoptic_seg"]
    assert 0 < expected["PQ"] < 100
    for key, value in expected.items():
        assert found[key] == pytest.approx(value), key


def test_an_image_without_instances_counts_as_missed(declared: Path) -> None:
    output = _output(np.full((12, 16), 3000))
    del output["instances"]
    results = _results(declared, output)
    assert results["segm"]["AP"] == 0
    assert results["panoptic_seg"]["PQ_th"] == 0
    assert results["sem_seg"]["IoU-cat"] == 0


def test_metadata_of_detectron2s_joint_sets_gives_evaluators(declared: Path) -> None:
    # As coco_2017_val_panoptic: all names in thing_classes, instances in a JSON.
    ours = MetadataCatalog.get(NAME).as_dict()
    names = {"name": "joint_upstream", "evaluator_type": "coco_panoptic_seg"}
    upstream = ours | names | {"thing_classes": ours["stuff_classes"], "json_file": "x.json"}
    MetadataCatalog.pop("joint_upstream", None)
    MetadataCatalog.get("joint_upstream").set(**upstream)
    from seg_projects.evaluation.build import _things_alone

    assert MetadataCatalog.get(_things_alone("joint_upstream")).thing_classes == ["cat", "dog"]
    assert _things_alone(NAME) == NAME

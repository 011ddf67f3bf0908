"""Published architectures with known weights: detections, maps and losses of one image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden import Golden, weight_rule
from matching import check_masks, check_panoptic, match_detections
from torch import nn

from detectron2 import model_zoo
from detectron2.modeling.meta_arch import build_model
from detectron2.structures import BitMasks, Instances
from detectron2.utils.events import EventStorage

pytestmark = pytest.mark.slow

DETECTORS = ["mask_rcnn", "cascade_mask_rcnn", "panoptic_fpn"]


class RecordedModel:
    """The filled model of a recorded case, with its input."""

    def __init__(self, case: str) -> None:
        self.golden = Golden(case)
        params = self.golden.params
        cfg = model_zoo.get_config(params["config"])
        cfg.merge_from_list([*params["opts"], "MODEL.DEVICE", "cpu"])
        self.model: nn.Module = weight_rule().fill(
            build_model(cfg), params["seed"], params["gains"]
        )

    def inputs(self) -> dict[str, Any]:
        height, width = self.golden.params["out"]
        return {"image": self.golden.input("image"), "height": height, "width": width}

    def training_inputs(self) -> dict[str, Any]:
        golden = self.golden
        image, masks = golden.input("image"), BitMasks(golden.input("gt_masks"))
        instances = Instances(
            tuple(image.shape[1:]),
            gt_boxes=masks.get_bounding_boxes(),
            gt_classes=golden.input("gt_classes"),
            gt_masks=masks,
        )
        inputs: dict[str, Any] = {"image": image, "instances": instances}
        if golden.name == "panoptic_fpn":
            inputs["sem_seg"] = golden.input("sem_seg_gt").long()
        return inputs

    def result(self) -> dict[str, Any]:
        self.model.eval()
        with torch.no_grad():
            [result] = self.model([self.inputs()])
        assert sorted(result) == self.golden.json("facts")["result_keys"]
        return result


@pytest.fixture(scope="module", params=DETECTORS)
def recorded(request: pytest.FixtureRequest) -> RecordedModel:
    return RecordedModel(request.param)


def check_semantic(golden: Golden, scores: torch.Tensor) -> None:
    golden.check("sem_seg", scores[:, ::6, ::6])
    golden.check("sem_seg_argmax", scores.argmax(dim=0).to(torch.uint8))


def test_results_are_the_recorded_ones(recorded: RecordedModel) -> None:
    golden, result = recorded.golden, recorded.result()
    instances, facts = result["instances"], recorded.golden.json("facts")
    assert list(instances.get_fields()) == facts["fields"]
    assert len(instances) == facts["num_det"]
    pairs = match_detections(golden, instances)
    check_masks(golden, instances.pred_masks.numpy(), pairs)
    if "panoptic_seg" in result:
        panoptic, segments = result["panoptic_seg"]
        assert str(panoptic.dtype) == facts["panoptic_dtype"]
        check_panoptic(golden, panoptic.numpy(), segments)
        check_semantic(golden, result["sem_seg"])


def test_losses_are_the_recorded_ones(recorded: RecordedModel) -> None:
    recorded.model.train()
    with EventStorage() as storage, torch.no_grad():
        losses = recorded.model([recorded.training_inputs()])
        stored = {k: v[0] for k, v in storage.latest().items()}
    recorded.golden.check_json("losses", {k: v.item() for k, v in losses.items()})
    recorded.golden.check_json("storage", stored)
    assert list(losses) == list(recorded.golden.json("losses"))


def test_semantic_fpn_scores_are_the_recorded_ones() -> None:
    recorded = RecordedModel("semantic_fpn")
    check_semantic(recorded.golden, recorded.result()["sem_seg"])

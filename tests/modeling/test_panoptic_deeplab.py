"""Panoptic-DeepLab as a whole, beside the recorded model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from golden import Golden, check_json, reference_json, weight_rule
from torch import nn

import seg_projects.modeling  # noqa: F401 - registers the models
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from seg_projects import add_seg_projects_config
from seg_projects.data.panoptic_deeplab_targets import PanopticDeepLabTargetGenerator


@pytest.fixture(scope="module")
def case() -> Golden:
    return Golden("panoptic_deeplab")


def _config(case: Golden) -> CfgNode:
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.merge_from_list(case.params["opts"])
    cfg.MODEL.META_ARCHITECTURE = "SegPanopticDeepLab"
    return cfg


@pytest.fixture(scope="module")
def model(case: Golden) -> nn.Module:
    model = build_model(_config(case))
    weight_rule().fill(model, case.params["seed"], case.params["gains"])
    return model


@pytest.fixture(scope="module")
def result(case: Golden, model: nn.Module) -> dict[str, Any]:
    height, width = case.params["out"]
    with torch.no_grad():
        return model.eval()([{"image": case.input("image"), "height": height, "width": width}])[0]


def test_maps_are_the_recorded_ones(case: Golden, result: dict[str, Any]) -> None:
    assert sorted(result) == case.json("facts")["keys"]
    case.check("sem_seg", result["sem_seg"][:, ::4, ::4])
    case.check("sem_seg_argmax", result["sem_seg"].argmax(dim=0).to(torch.uint8))
    panoptic, segments = result["panoptic_seg"]
    case.check("panoptic_seg", panoptic)
    assert segments is None


def test_instances_are_the_recorded_ones(case: Golden, result: dict[str, Any]) -> None:
    instances = result["instances"]
    case.check("classes", instances.pred_classes)
    case.check("scores", instances.scores)
    case.check("boxes", instances.pred_boxes.tensor)
    case.check("masks", instances.pred_masks[:20])


def test_parameters_are_as_many_as_recorded(case: Golden, model: nn.Module) -> None:
    assert len(model.state_dict()) == case.json("facts")["names"]


def test_training_losses_are_the_recorded_ones(case: Golden, model: nn.Module) -> None:
    generate = PanopticDeepLabTargetGenerator(**case.params["gen"])
    image, ids = case.input("image"), case.input_array("pan")
    batch = []
    for one, map_ in ((image, ids), (image.flip(2), np.ascontiguousarray(ids[:, ::-1]))):
        batch.append({"image": one} | generate(map_, case.params["segments"]))
    losses = model.train()(batch)
    rtol = case.tolerance("json.losses")["rtol"]
    check_json("losses", {k: v.item() for k, v in losses.items()}, case.json("losses"), rtol)
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())


PUBLISHED = [
    "DeepLab/configs/Cityscapes-SemanticSegmentation/deeplab_v3_R_103_os16_mg124_poly_90k_bs16",
    "DeepLab/configs/Cityscapes-SemanticSegmentation/deeplab_v3_plus_R_103_os16_mg124_poly_90k_bs16",
    "Panoptic-DeepLab/configs/COCO-PanopticSegmentation/"
    "panoptic_deeplab_R_52_os16_mg124_poly_200k_bs64_crop_640_640_coco_dsconv",
    "Panoptic-DeepLab/configs/Cityscapes-PanopticSegmentation/"
    "panoptic_deeplab_R_52_os16_mg124_poly_90k_bs32_crop_512_1024",
    "Panoptic-DeepLab/configs/Cityscapes-PanopticSegmentation/"
    "panoptic_deeplab_R_52_os16_mg124_poly_90k_bs32_crop_512_1024_dsconv",
]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_config_has_the_recorded_parameters(name: str) -> None:
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    changed = reference_json("model_configs.json")[f"projects/{name}"]["differs_from_default"]
    for key, value in changed.items():
        cfg.merge_from_list([key, value])
    cfg.MODEL.DEVICE = "cpu"
    state = build_model(cfg).state_dict()
    recorded = reference_json("state_dicts.json")[f"projects/{name}"]["entries"]
    assert list(state) == list(recorded)
    assert {k: list(v.shape) for k, v in state.items()} == {k: v[0] for k, v in recorded.items()}

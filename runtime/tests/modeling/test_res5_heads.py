"""Heads of models without a feature pyramid, whose last ResNet stage runs per region."""

from __future__ import annotations

import pytest
import torch
from golden import check_json, weight_rule

from detectron2.config import CfgNode, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import Res5ROIHeads, build_roi_heads
from detectron2.structures import BitMasks, Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage

SHAPES = {"res4": ShapeSpec(channels=16, stride=16)}
SIZE = (64, 80)
BOXES = torch.tensor([[0.0, 0, 40, 40], [20, 10, 70, 60], [5, 30, 60, 62], [50, 0, 78, 30]])


def c4_config() -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.MASK_ON = True
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS, cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 4, 2
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 1000
    cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 4
    return cfg


@pytest.fixture
def heads() -> Res5ROIHeads:
    return weight_rule().fill(build_roi_heads(c4_config(), SHAPES))


def forward(
    heads: Res5ROIHeads, targets: list[Instances] | None = None, count: int = 4
) -> tuple[list[Instances], dict[str, torch.Tensor]]:
    features = {"res4": torch.linspace(-1, 1, 16 * 4 * 5).reshape(1, 16, 4, 5)}
    proposals = Instances(
        SIZE,
        proposal_boxes=Boxes(BOXES[:count].clone()),
        objectness_logits=torch.zeros(count),
    )
    return heads(ImageList(torch.zeros(1, 3, *SIZE), [SIZE]), features, [proposals], targets)


def ground_truth() -> Instances:
    masks = torch.zeros(2, *SIZE, dtype=torch.bool)
    masks[0, 5:40, 5:40] = True
    masks[1, 10:60, 20:70] = True
    boxes = torch.tensor([[5.0, 5, 40, 40], [20, 10, 70, 60]])
    classes = torch.tensor([1, 2])
    return Instances(SIZE, gt_boxes=Boxes(boxes), gt_classes=classes, gt_masks=BitMasks(masks))


def test_stage_and_heads_have_upstream_names(heads: Res5ROIHeads) -> None:
    modules = list(dict.fromkeys(k.rpartition(".")[0] for k in heads.state_dict()))
    assert [x for x in modules if not x.startswith("res5.")] == [
        "box_predictor.cls_score",
        "box_predictor.bbox_pred",
        "mask_head.deconv",
        "mask_head.predictor",
    ]
    assert modules[:3] == ["res5.0.shortcut", "res5.0.shortcut.norm", "res5.0.conv1"]
    assert heads.res5[0].conv1.stride == (2, 2)


def test_losses_are_upstream_ones(heads: Res5ROIHeads) -> None:
    heads.train()
    with EventStorage() as storage:
        proposals, losses = forward(heads, [ground_truth()])
        assert storage.latest()["roi_head/num_fg_samples"][0] == 4
    assert proposals == []
    want = {"loss_cls": 2.1123693, "loss_box_reg": 2.1607809, "loss_mask": 0.7878757}
    check_json("losses", {k: v.item() for k, v in losses.items()}, want, rtol=1e-4)


def test_detections_have_masks(heads: Res5ROIHeads) -> None:
    heads.eval()
    with torch.no_grad():
        [detections], losses = forward(heads)
    assert losses == {}
    assert detections.pred_masks.shape == (len(detections), 1, 14, 14)
    assert detections.scores[:3].tolist() == pytest.approx(
        [0.4828064, 0.4787501, 0.4649819], rel=1e-4
    )


def test_no_proposals_give_no_detections(heads: Res5ROIHeads) -> None:
    heads.eval()
    with torch.no_grad():
        [detections], _ = forward(heads, count=0)
    assert len(detections) == 0


def test_images_without_ground_truth_still_train(heads: Res5ROIHeads) -> None:
    heads.train()
    with EventStorage():
        _, losses = forward(heads, [ground_truth()[:0]])
    sum(losses.values()).backward()
    assert losses["loss_mask"].item() == 0
    assert heads.mask_head.predictor.weight.grad is not None


def test_given_boxes_get_masks(heads: Res5ROIHeads) -> None:
    heads.eval()
    instances = Instances(
        SIZE, pred_boxes=Boxes(BOXES.clone()), pred_classes=torch.tensor([0, 1, 2, 0])
    )
    features = {"res4": torch.zeros(1, 16, 4, 5)}
    with torch.no_grad():
        [result] = heads.forward_with_given_boxes(features, [instances])
    assert result.pred_masks.shape == (4, 1, 14, 14)


def test_heads_without_masks_have_none() -> None:
    cfg = c4_config()
    cfg.MODEL.MASK_ON = False
    heads = build_roi_heads(cfg, SHAPES).eval()
    with torch.no_grad():
        [detections], _ = forward(heads)
    assert not detections.has("pred_masks")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.ROI_HEADS.IN_FEATURES", ["res4", "res5"], "one feature map"),
        ("MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False, False, False, True], "DEFORM_ON_PER_STAGE"),
    ],
)
def test_impossible_settings_are_refused(key: str, value: object, message: str) -> None:
    cfg = c4_config()
    cfg.merge_from_list([key, value])
    with pytest.raises(ValueError, match=message):
        build_roi_heads(cfg, SHAPES)

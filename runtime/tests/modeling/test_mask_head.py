"""The mask head and its loss."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from golden import Golden, weight_rule
from torch import Tensor

from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads.mask_head import (
    BaseMaskRCNNHead,
    MaskRCNNConvUpsampleHead,
    build_mask_head,
    mask_rcnn_inference,
    mask_rcnn_loss,
)
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks
from detectron2.utils.events import EventStorage

POOLED = ShapeSpec(channels=6, height=7, width=7)


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden("box_and_mask_heads")


def recorded_instances(golden: Golden, masks: BitMasks | PolygonMasks) -> Instances:
    return Instances(
        (50, 60),
        proposal_boxes=Boxes(golden.input("boxes")),
        gt_classes=golden.input("classes"),
        gt_masks=masks,
    )


def polygons(golden: Golden) -> PolygonMasks:
    return PolygonMasks([[np.asarray(p) for p in polys] for polys in golden.params["polygons"]])


def make_head(golden: Golden) -> MaskRCNNConvUpsampleHead:
    head = MaskRCNNConvUpsampleHead(POOLED, num_classes=3, conv_dims=[4, 4, 5])
    return weight_rule().fill(head, golden.params["seed"])


def one_region(mask: torch.Tensor, **fields: object) -> Instances:
    """One region that covers a 2 x 2 image."""
    return Instances(
        (2, 2),
        proposal_boxes=Boxes(torch.tensor([[0.0, 0, 2, 2]])),
        gt_classes=torch.tensor([0]),
        gt_masks=BitMasks(mask[None]),
        **fields,
    )


def test_logits_and_names_are_the_recorded_ones(golden: Golden) -> None:
    head = make_head(golden)
    golden.check("mask_logits", head.layers(golden.input("x")))
    assert list(head.state_dict()) == golden.json("facts")["mask_names"]


def test_losses_are_the_recorded_ones(golden: Golden) -> None:
    logits = make_head(golden).layers(golden.input("x"))
    bit_masks = BitMasks(golden.input("gt_masks"))
    with EventStorage():
        losses = {
            "bitmask": mask_rcnn_loss(logits, [recorded_instances(golden, bit_masks)]),
            "polygon": mask_rcnn_loss(logits, [recorded_instances(golden, polygons(golden))]),
            "agnostic": mask_rcnn_loss(logits[:, :1], [recorded_instances(golden, bit_masks)]),
            "empty": mask_rcnn_loss(logits[:0], []),
        }
    golden.check_json("losses", {k: v.item() for k, v in losses.items()})


def test_stored_accuracies_are_the_recorded_ones(golden: Golden) -> None:
    logits = make_head(golden).layers(golden.input("x"))
    masks = BitMasks(golden.input("gt_masks"))
    with EventStorage() as storage:
        mask_rcnn_loss(logits, [recorded_instances(golden, masks)])
        golden.check_json("storage", {k: v[0] for k, v in storage.latest().items()})


def test_probabilities_are_the_recorded_ones(golden: Golden) -> None:
    instances = Instances((50, 60), pred_classes=golden.input("classes"))
    mask_rcnn_inference(make_head(golden).layers(golden.input("x")), [instances])
    golden.check("masks", instances.pred_masks)


def test_masks_go_back_to_their_images(golden: Golden) -> None:
    logits = torch.tensor([-50.0, 0, 50])[:, None, None, None].expand(3, 1, 2, 2)
    images = [Instances((8, 8), pred_classes=torch.zeros(n, dtype=torch.int64)) for n in (1, 0, 2)]
    mask_rcnn_inference(logits, images)
    assert [len(x.pred_masks) for x in images] == [1, 0, 2]
    assert images[2].pred_masks[:, 0, 0, 0].tolist() == [0.5, 1.0]


def test_loss_compares_each_mask_with_its_own_class() -> None:
    mask = torch.tensor([[True, False], [True, False]])
    right = torch.tensor([[2.0, -2.0], [2.0, -2.0]])
    logits = torch.stack([right, -right])[None]
    with EventStorage() as storage:
        loss = mask_rcnn_loss(logits, [one_region(mask)])
        assert storage.latest()["mask_rcnn/accuracy"][0] == 1.0
    assert loss.item() == pytest.approx(math.log1p(math.exp(-2)))


def test_images_without_regions_add_nothing() -> None:
    mask = torch.ones(2, 2, dtype=torch.bool)
    image = one_region(mask)
    logits = torch.zeros(1, 2, 2, 2)
    with EventStorage():
        assert mask_rcnn_loss(logits, [image[:0], image]).item() == pytest.approx(math.log(2))


def test_loss_without_regions_still_has_a_gradient() -> None:
    head = MaskRCNNConvUpsampleHead(POOLED, num_classes=3, conv_dims=[4])
    with EventStorage():
        loss = head(torch.zeros(0, 6, 7, 7), [])["loss_mask"]
    loss.backward()
    assert loss.item() == 0
    assert head.predictor.weight.grad is not None


def test_masks_are_stored_as_images_every_period() -> None:
    mask = torch.ones(2, 2, dtype=torch.bool)
    shown: list[tuple[str, tuple[int, ...]]] = []

    class Storage(EventStorage):
        def put_image(self, img_name: str, img_tensor: Tensor | np.ndarray) -> None:
            shown.append((img_name, tuple(img_tensor.shape)))

    with Storage(2):
        mask_rcnn_loss(torch.zeros(1, 1, 2, 2), [one_region(mask)], vis_period=2)
    assert shown == [("Left: mask prediction;   Right: mask GT (0)", (3, 2, 4))]
    with Storage(3):
        mask_rcnn_loss(torch.zeros(1, 1, 2, 2), [one_region(mask)], vis_period=2)
    assert len(shown) == 1


def test_loss_is_weighted() -> None:
    head = MaskRCNNConvUpsampleHead(POOLED, num_classes=1, conv_dims=[2], loss_weight=0.5)
    torch.nn.init.zeros_(head.predictor.weight)
    regions = [one_region(torch.ones(2, 2, dtype=torch.bool))]
    with EventStorage():
        losses = head(torch.zeros(1, 6, 7, 7), regions)
    assert losses["loss_mask"].item() == pytest.approx(0.5 * math.log(2))


def test_base_head_has_no_layers() -> None:
    with pytest.raises(NotImplementedError, match="layers"):
        BaseMaskRCNNHead()(torch.zeros(1, 1, 2, 2), [])


def test_head_without_upsampling_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="conv_dims"):
        MaskRCNNConvUpsampleHead(POOLED, num_classes=1, conv_dims=[])


@pytest.mark.parametrize(("agnostic", "masks"), [(True, 1), (False, 80)])
def test_config_names_the_layers(agnostic: bool, masks: int) -> None:
    cfg = get_cfg()
    cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 1
    cfg.MODEL.ROI_MASK_HEAD.NORM = "GN"
    cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 32
    cfg.MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK = agnostic
    state = build_mask_head(cfg, POOLED).state_dict()
    assert list(state) == [
        "mask_fcn1.weight",
        "mask_fcn1.norm.weight",
        "mask_fcn1.norm.bias",
        "deconv.weight",
        "deconv.bias",
        "predictor.weight",
        "predictor.bias",
    ]
    assert len(state["predictor.bias"]) == masks

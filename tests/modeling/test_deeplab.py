"""DeepLab's backbone, heads and losses beside the recorded ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fvcore.nn.weight_init import c2_msra_fill, c2_xavier_fill
from golden import Golden, check_json, weight_rule
from torch import nn
from torch.nn import functional as F

from detectron2.config import CfgNode, get_cfg
from detectron2.layers import ASPP, ShapeSpec
from seg_projects import add_seg_projects_config
from seg_projects.errors import UserError
from seg_projects.modeling.backbones import build_resnet_deeplab_backbone
from seg_projects.modeling.backbones.deeplab_resnet import DeepLabStem
from seg_projects.modeling.instance_heads import PanopticDeepLabInsEmbedHead
from seg_projects.modeling.losses.hard_pixels import DeepLabCE, hard_pixel_cross_entropy_loss
from seg_projects.modeling.semantic_heads import (
    DeepLabV3Head,
    DeepLabV3PlusHead,
    PanopticDeepLabSemSegHead,
)
from seg_projects.modeling.semantic_heads.deeplab import aspp_on, decoder_convs

SHAPES = {
    "res2": ShapeSpec(channels=8, stride=4),
    "res3": ShapeSpec(channels=12, stride=8),
    "res5": ShapeSpec(channels=16, stride=16),
}
DECODER: dict[str, Any] = {
    "project_channels": [4, 6],
    "aspp_dilations": [2, 3, 4],
    "aspp_dropout": 0.0,
    "decoder_channels": [10, 11, 9],
    "common_stride": 4,
    "norm": "BN",
    "train_size": None,
    "ignore_value": 255,
}
SEMANTIC: dict[str, Any] = {
    "loss_weight": 2.0,
    "loss_type": "hard_pixel_mining",
    "num_classes": 6,
}


@pytest.fixture(scope="module")
def case() -> Golden:
    return Golden("deeplab_heads")


def _config() -> CfgNode:
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.RESNETS.NORM = "BN"
    cfg.MODEL.RESNETS.STEM_OUT_CHANNELS = 128
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    cfg.MODEL.RESNETS.RES5_DILATION = 2
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res5"]
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    return cfg


def _filled(model: nn.Module, case: Golden) -> nn.Module:
    weight_rule().fill(model, case.params["seed"], case.params.get("gains", ()))
    return model.eval()


def _features(case: Golden) -> dict[str, torch.Tensor]:
    return {name: case.input(name) for name in SHAPES}


@torch.no_grad()
def test_features_of_output_stride_16_are_the_recorded_ones() -> None:
    case = Golden("resnet_fpn_features")
    cfg = _config()
    cfg.MODEL.RESNETS.STEM_TYPE = "deeplab"
    cfg.MODEL.RESNETS.STEM_OUT_CHANNELS = 64
    cfg.MODEL.RESNETS.RES5_MULTI_GRID = [1, 2, 4]
    backbone = build_resnet_deeplab_backbone(cfg, ShapeSpec(channels=3))
    # The recorded gains are those of the other ResNets; 0.05 was found by trying.
    gains = [*case.params["gains"][:1], ("stem.conv1.weight", 0.05)]
    weight_rule().fill(backbone, case.params["seed"], gains)
    features = backbone.eval()(case.input("x"))
    case.check("os16_res3", features["res3"][:, ::32])
    case.check("os16_res5", features["res5"][:, ::32])
    facts = case.json("deeplab_facts")
    shapes = backbone.output_shape().items()
    assert {k: [v.channels, v.stride] for k, v in shapes} == facts["output_shape"]
    assert len(backbone.state_dict()) == facts["names"]


def test_losses_are_the_recorded_ones() -> None:
    case = Golden("deeplab_loss")
    losses = []
    for fraction, class_weights, weighted in case.params["calls"]:
        weight = None if class_weights is None else torch.tensor(class_weights)
        loss = DeepLabCE(255, fraction, weight)
        pixel_weights = case.input("pixel_weights") if weighted else None
        losses.append(loss(case.input("logits"), case.input("labels"), pixel_weights).item())
    check_json("losses", losses, case.json("losses"))


def test_fewer_pixels_than_a_fraction_takes_still_give_a_loss() -> None:
    # A fifth of one pixel; equal scores of two classes.
    loss = hard_pixel_cross_entropy_loss(
        torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1).long(), ignore_value=255
    )
    assert loss.item() == pytest.approx(0.693147, rel=1e-5)


def test_fraction_outside_its_range_is_named() -> None:
    with pytest.raises(ValueError, match=r"fraction=1.5 is outside \(0, 1\]"):
        hard_pixel_cross_entropy_loss(
            torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1).long(), ignore_value=255, fraction=1.5
        )


@pytest.mark.parametrize("separable", [False, True])
@torch.no_grad()
def test_v3_plus_is_the_recorded_one(case: Golden, separable: bool) -> None:
    head = DeepLabV3PlusHead(SHAPES, **DECODER, **SEMANTIC, use_depthwise_separable_conv=separable)
    _filled(head, case)
    logits = head.layers(_features(case))
    case.check(f"v3p_{separable}", logits)
    case.check(f"v3p_{separable}_full", head(_features(case))[0][..., ::2, ::2])
    losses = head.losses(logits, case.input("target"))
    want = case.json("losses")[f"v3p_{separable}"]
    check_json("losses", {k: v.item() for k, v in losses.items()}, want, 2e-5)


@torch.no_grad()
def test_pooling_over_windows_of_the_crops_is_that_of_detectron2() -> None:
    ours = _pooled_aspp((32, 48))
    theirs = ASPP(8, 6, [1, 2, 3], norm="", activation=F.relu, pool_kernel_size=(2, 3)).eval()
    theirs.load_state_dict(ours.state_dict())
    for size in ((2, 3), (4, 6), (2, 9)):
        x = torch.randn(2, 8, *size)
        assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("size", [(3, 4), (2, 2), (1, 7), (12, 15)])
@torch.no_grad()
def test_maps_that_no_windows_tile_are_pooled_as_well(size: tuple[int, int]) -> None:
    x = torch.randn(1, 8, *size)
    assert _pooled_aspp((32, 48))(x).shape == (1, 6, *size)
    # A window larger than the map sees all of it, as without crops.
    torch.testing.assert_close(_pooled_aspp((512, 512))(x), _pooled_aspp(None)(x))


def _pooled_aspp(train_size: tuple[int, int] | None) -> nn.Module:
    torch.manual_seed(0)
    aspp = aspp_on(
        ShapeSpec(channels=8, stride=16),
        6,
        [1, 2, 3],
        norm="",
        train_size=train_size,
        dropout=0.0,
        separable=False,
    )
    return aspp.eval()


@pytest.mark.parametrize("separable", [False, True])
@torch.no_grad()
def test_panoptic_deeplab_heads_are_the_recorded_ones(case: Golden, separable: bool) -> None:
    want, features = case.json("losses"), _features(case)
    options = DECODER | {"use_depthwise_separable_conv": separable, "head_channels": 7}
    semantic = PanopticDeepLabSemSegHead(SHAPES, **options, **SEMANTIC, loss_top_k=0.2)
    _filled(semantic, case)
    case.check(f"pdl_sem_{separable}", semantic(features)[0][..., ::2, ::2])
    losses = semantic.losses(semantic.layers(features), case.input("target"), case.input("weights"))
    check_json("sem", {k: v.item() for k, v in losses.items()}, want[f"pdl_sem_{separable}"], 2e-5)
    instance = PanopticDeepLabInsEmbedHead(
        SHAPES, **options, center_loss_weight=200.0, offset_loss_weight=0.01
    )
    _filled(instance, case)
    center, offset, *_ = instance(features)
    case.check(f"pdl_center_{separable}", center[..., ::2, ::2])
    case.check(f"pdl_offset_{separable}", offset[..., ::2, ::2])
    center, offset = instance.layers(features)
    losses = instance.center_losses(center, case.input("center"), case.input("center_w"))
    losses |= instance.offset_losses(offset, case.input("offset"), case.input("offset_w"))
    check_json("ins", {k: v.item() for k, v in losses.items()}, want[f"pdl_ins_{separable}"], 2e-5)
    nothing = torch.zeros_like(case.input("center_w"))
    assert instance.center_losses(center, case.input("center"), nothing)["loss_center"] == 0


def test_parameter_names_are_the_recorded_ones(case: Golden) -> None:
    recorded = case.json("facts")["names"]
    for separable in ("False", "True"):
        names = recorded[separable][0]
        head = DeepLabV3PlusHead(
            SHAPES, **DECODER, **SEMANTIC, use_depthwise_separable_conv=separable == "True"
        )
        assert list(head.state_dict()) == names


@torch.no_grad()
def test_v3_is_the_recorded_one(case: Golden) -> None:
    cfg = _config()
    node = cfg.MODEL.SEM_SEG_HEAD
    node.IN_FEATURES, node.NORM, node.NUM_CLASSES = ["res5"], "BN", 6
    node.ASPP_CHANNELS = node.CONVS_DIM = 9
    node.COMMON_STRIDE, node.ASPP_DILATIONS = 16, [2, 3, 4]
    head = _filled(DeepLabV3Head(cfg, {"res5": SHAPES["res5"]}), case)
    case.check("v3", head({"res5": case.input("res5")})[0][..., ::4, ::4])


def test_backbone_has_the_recorded_shapes() -> None:
    facts = Golden("resnet_fpn_features").json("deeplab_facts")
    backbone = build_resnet_deeplab_backbone(_config(), ShapeSpec(channels=3))
    shapes = {k: [v.channels, v.stride] for k, v in backbone.output_shape().items()}
    assert shapes == facts["output_shape"]
    assert backbone.size_divisibility == facts["div"]
    assert len(backbone.state_dict()) == facts["names"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("DEPTH", 20, "DEPTH is 20"),
        ("STEM_TYPE", "wide", "STEM_TYPE is 'wide'"),
        ("RES4_DILATION", 2, "RES4_DILATION 2 with RES5_DILATION 2"),
        ("RES5_MULTI_GRID", [1, 2], "res5 of DEPTH 50 has 3 blocks"),
    ],
)
def test_backbone_that_there_is_not_is_named(key: str, value: object, message: str) -> None:
    cfg = _config()
    cfg.MODEL.RESNETS[key] = value
    with pytest.raises(ValueError, match=message):
        build_resnet_deeplab_backbone(cfg, ShapeSpec(channels=3))


def test_feature_that_the_backbone_lacks_is_named() -> None:
    cfg = _config()
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["res2", "p7"]
    with pytest.raises(UserError, match=r"'p7'; the backbone gives res2 \(stride 4\), res3"):
        DeepLabV3PlusHead(cfg, SHAPES)


def test_crop_that_does_not_fit_the_stride_is_named() -> None:
    with pytest.raises(ValueError, match="60x96 is no multiple of the stride 16"):
        DeepLabV3PlusHead(SHAPES, **(DECODER | {"train_size": (60, 96)}), **SEMANTIC)


def test_seeds_fill_convolutions_that_are_all_made_before() -> None:
    # Detectron2's DeepLab draws in this order, so that one seed gives one network.
    torch.manual_seed(0)
    plain = [nn.Conv2d(*channels, 3, bias=False) for channels in ((3, 4), (4, 4), (4, 8))]
    for conv in plain:
        c2_msra_fill(conv)
    torch.manual_seed(0)
    stem = DeepLabStem(3, 8, norm="BN")
    for conv, expected in zip((stem.conv1, stem.conv2, stem.conv3), plain, strict=True):
        assert torch.equal(conv.weight, expected.weight)

    torch.manual_seed(0)
    pair = [nn.Conv2d(*channels, 3, bias=False) for channels in ((6, 5), (5, 4))]
    for conv in pair:
        c2_xavier_fill(conv)
    torch.manual_seed(0)
    made = decoder_convs(6, 5, 4, "BN", separable=False)
    assert [torch.equal(a.weight, b.weight) for a, b in zip(made, pair, strict=True)] == [True] * 2

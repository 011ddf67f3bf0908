"""ICNet: three resolutions, fusions, guides; the dilated ResNets of 18 and 34 layers under it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_runs import REPOSITORY
from torch.nn import functional as F

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone, build_model, build_sem_seg_head
from detectron2.modeling.backbone.resnet import BasicBlock
from seg_projects.engine import load_config
from seg_projects.errors import UserError
from seg_projects.modeling.backbones.deeplab_resnet import DilatedBasicBlock
from seg_projects.modeling.semantic_heads.icnet import CascadeFusion, pyramid_sum

SHAPES = {
    "high": ShapeSpec(channels=4, stride=8),
    "medium": ShapeSpec(channels=6, stride=16),
    "low": ShapeSpec(channels=5, stride=32),
}
VOID = 255
CROSS_ENTROPY = "loss_sem_seg_cross_entropy"


def _cfg(**keys: Any) -> CfgNode:
    cfg = load_config(REPOSITORY / "configs" / "camvid" / "icnet.yaml", ["MODEL.DEVICE", "cpu"])
    cfg.MODEL.RESNETS.STEM_OUT_CHANNELS = cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 4
    cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM = 8
    cfg.MODEL.SEM_SEG_HEAD.LOSSES = [["cross_entropy", 1.0]]
    cfg.merge_from_list([part for item in keys.items() for part in item])
    return cfg


@torch.no_grad()
def test_backbone_sees_the_image_in_three_resolutions() -> None:
    backbone = build_backbone(_cfg()).eval()
    shapes = {n: (s.channels, s.stride) for n, s in backbone.output_shape().items()}
    assert shapes == {"high": (64, 8), "medium": (8, 16), "low": (32, 32)}
    features = backbone(torch.randn(1, 3, 70, 97))
    for name, feature in features.items():
        channels, stride = shapes[name]
        assert feature.shape == (1, channels, -(-70 // stride), -(-97 // stride))


@torch.no_grad()
def test_medium_map_is_that_of_the_image_at_half_size() -> None:
    backbone, image = build_backbone(_cfg()).eval(), torch.randn(1, 3, 64, 64)
    half = F.interpolate(image, scale_factor=0.5, mode="bilinear", align_corners=False)
    net = backbone.resnet
    wanted = net.res3[0](net.res2(net.stem(half)))
    torch.testing.assert_close(backbone(image)["medium"], wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(64, 96), (37, 101)])
def test_losses_of_guides_are_weighted_and_reach_every_parameter(size: tuple[int, int]) -> None:
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    labels = torch.randint(0, 11, size)
    seen = []
    for weights in ([0.5, 0.25], [1.0, 1.0]):
        torch.manual_seed(0)
        model = build_model(_cfg(**{"MODEL.ICNET.GUIDE_WEIGHTS": weights})).train()
        seen.append(model([{"image": image, "sem_seg": labels}] * 2))
    guides = [f"{CROSS_ENTROPY}_guide16", f"{CROSS_ENTROPY}_guide8"]
    assert list(seen[0]) == [CROSS_ENTROPY, *guides]
    for name, weight in zip(guides, (0.5, 0.25), strict=True):
        torch.testing.assert_close(seen[0][name], weight * seen[1][name])
    sum(seen[1].values()).backward()
    without = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert without == set()


def test_guides_learn_the_label_in_the_middle_of_their_cells() -> None:
    head = build_sem_seg_head(_cfg(), SHAPES)
    labels = torch.full((1, 20, 33), VOID)
    labels[0, 8, 8], labels[0, 8, 24] = 3, 5
    assert head._sampled(labels, 16).tolist() == [[[3, 5, VOID], [VOID] * 3]]


@torch.no_grad()
def test_logits_are_at_half_the_finest_stride_and_cover_the_image() -> None:
    head = build_sem_seg_head(_cfg(), SHAPES).eval()
    features = {
        n: torch.randn(1, s.channels or 0, 96 // (s.stride or 1), 3) for n, s in SHAPES.items()
    }
    features["high"], features["medium"] = torch.randn(1, 4, 12, 9), torch.randn(1, 6, 6, 5)
    assert head.layers(features).shape == (1, 11, 24, 18)
    assert head(features)[0].shape == (1, 11, 96, 72)


@torch.no_grad()
def test_fusion_sees_the_coarse_neighbours_at_a_distance_of_two() -> None:
    fusion = CascadeFusion(1, 1, 1, norm="")
    coarse = torch.zeros(1, 1, 7, 7)
    coarse[..., 3, 3] = 1e3
    moved = fusion.coarse(coarse) != fusion.coarse(torch.zeros_like(coarse))
    assert moved[0, 0].nonzero().tolist() == [[y, x] for y in (1, 3, 5) for x in (1, 3, 5)]
    assert fusion(coarse, -coarse).shape == coarse.shape


def test_pyramid_adds_four_means_of_a_constant_map() -> None:
    assert (pyramid_sum(torch.ones(1, 2, 5, 3)) == 5).all()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"MODEL.SEM_SEG_HEAD.IN_FEATURES": ["high", "low"]},
            r"\['high', 'low'\]; ICNetHead takes three",
        ),
        ({"MODEL.ICNET.GUIDE_WEIGHTS": [0.4]}, r"GUIDE_WEIGHTS is \[0.4\]; it is two weights"),
        ({"MODEL.ICNET.GUIDE_WEIGHTS": [-1.0, 1.0]}, r"GUIDE_WEIGHTS is \[-1.0, 1.0\]"),
        (
            {"MODEL.SEM_SEG_HEAD.NORM": "GN", "MODEL.SEM_SEG_HEAD.CONVS_DIM": 16},
            "do not divide 16 channels",
        ),
    ],
)
def test_wrong_config_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_sem_seg_head(_cfg(**keys), SHAPES)


@pytest.mark.parametrize(("channels", "stride"), [((4, 4), 1), ((4, 8), 2)])
@torch.no_grad()
def test_block_without_dilation_is_the_one_of_detectron2(
    channels: tuple[int, int], stride: int
) -> None:
    theirs = BasicBlock(*channels, stride=stride, norm="BN").eval()
    ours = DilatedBasicBlock(*channels, stride=stride, norm="BN", dilation=1).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 4, 9, 7)
    torch.testing.assert_close(ours(x), theirs(x))


def test_dilated_block_keeps_the_size_and_looks_further() -> None:
    block = DilatedBasicBlock(1, 1, stride=1, norm="", dilation=3).eval()
    x = torch.rand(1, 1, 15, 15, requires_grad=True)
    block(x)[0, 0, 7, 7].backward()
    # Twice three positions either way.
    assert set(x.grad[0, 0].nonzero().flatten().tolist()) <= {1, 4, 7, 10, 13}


@pytest.mark.parametrize(("depth", "blocks"), [(18, 2), (34, 3)])
def test_dilations_of_resnets_of_basic_blocks_set_the_output_stride(
    depth: int, blocks: int
) -> None:
    keys = {
        "MODEL.BACKBONE.NAME": "build_dilated_resnet_backbone",
        "MODEL.RESNETS.DEPTH": depth,
        "MODEL.RESNETS.RES5_MULTI_GRID": [1] * blocks,
        "MODEL.RESNETS.OUT_FEATURES": ["res2", "res5"],
    }
    backbone = build_backbone(_cfg(**keys))
    shapes = {n: (s.channels, s.stride) for n, s in backbone.output_shape().items()}
    assert shapes == {"res2": (4, 4), "res5": (32, 8)}
    assert backbone(torch.zeros(1, 3, 33, 40))["res5"].shape == (1, 32, 5, 5)


def test_deformable_stages_need_bottlenecks() -> None:
    keys = {"MODEL.RESNETS.DEFORM_ON_PER_STAGE": [False, False, False, True]}
    with pytest.raises(ValueError, match="for 50 layers or more, not 18"):
        build_backbone(_cfg(**keys))

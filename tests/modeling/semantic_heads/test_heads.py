"""One tester for every semantic head: forward, backward, config, odd sizes, wrong configs."""

from __future__ import annotations

from math import ceil
from typing import Any

import pytest
import torch
from torch import nn

from detectron2.config import CfgNode, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone, build_sem_seg_head
from seg_projects import add_seg_projects_config
from seg_projects.errors import UserError
from seg_projects.modeling.semantic_heads import AttentionUNetHead, FCNHead, UNetHead
from seg_projects.modeling.semantic_heads.unet import AttentionGate

HEADS = ["FCNHead", "UNetHead", "AttentionUNetHead", "XceptionUNetHead"]
SHAPES = {
    "res2": ShapeSpec(channels=6, stride=4),
    "res3": ShapeSpec(channels=8, stride=8),
    "res5": ShapeSpec(channels=10, stride=32),
}
STRIDES = {name: spec.stride or 0 for name, spec in SHAPES.items()}
VOID = 255


def _cfg(name: str, **head: Any) -> CfgNode:
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    chosen = cfg.MODEL.SEM_SEG_HEAD
    chosen.NAME, chosen.IN_FEATURES, chosen.NUM_CLASSES = name, list(SHAPES), 3
    chosen.CONVS_DIM, chosen.NORM = 8, "BN"
    for key, value in head.items():
        chosen[key] = value
    return cfg


def _build(name: str, **head: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_sem_seg_head(_cfg(name, **head), dict(SHAPES))


def _features(height: int, width: int, images: int = 2) -> dict[str, torch.Tensor]:
    return {
        name: torch.randn(
            images, spec.channels or 0, *(ceil(n / STRIDES[name]) for n in (height, width))
        )
        for name, spec in SHAPES.items()
    }


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("size", [(64, 96), (37, 101), (1, 1)])
@torch.no_grad()
def test_logits_cover_the_image(name: str, size: tuple[int, int]) -> None:
    logits, losses = _build(name).eval()(_features(*size))
    # Rounded up to the stride of the finest map.
    assert logits.shape == (2, 3, *(4 * ceil(length / 4) for length in size))
    assert losses == {}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("size", [(64, 96), (37, 101)])
def test_gradients_reach_every_parameter(name: str, size: tuple[int, int]) -> None:
    head = _build(name, LOSSES=[["cross_entropy", 1.0], ["dice", 2.0]], LOSS_WEIGHT=0.5)
    logits, losses = head(_features(*size), torch.randint(0, 3, (2, *size)))
    assert logits is None
    assert losses.keys() == {"loss_sem_seg_cross_entropy", "loss_sem_seg_dice"}
    sum(losses.values()).backward()
    without = {n for n, p in head.named_parameters() if p.grad is None or not p.grad.any()}
    assert without == set()


@pytest.mark.parametrize("name", HEADS)
def test_labels_all_ignored_give_loss_0(name: str) -> None:
    head = _build(name)
    _, losses = head(_features(32, 32), torch.full((2, 32, 32), VOID))
    sum(losses.values()).backward()
    assert losses["loss_sem_seg_cross_entropy"].item() == 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


@pytest.mark.parametrize("name", HEADS)
def test_loss_weight_scales_the_losses(name: str) -> None:
    features, target = _features(32, 32), torch.randint(0, 3, (2, 32, 32))
    losses = [_build(name, LOSS_WEIGHT=w)(features, target)[1] for w in (1.0, 3.0)]
    key = "loss_sem_seg_cross_entropy"
    torch.testing.assert_close(losses[1][key], 3 * losses[0][key])


@pytest.mark.parametrize("name", HEADS)
@torch.no_grad()
def test_order_of_features_does_not_matter(name: str) -> None:
    features = _features(64, 64)
    one, other = _build(name).eval(), _build(name, IN_FEATURES=list(SHAPES)[::-1]).eval()
    torch.testing.assert_close(one(features)[0], other(features)[0])


@pytest.mark.parametrize("name", HEADS)
def test_learns_what_its_features_tell(name: str) -> None:
    head, features = _build(name), _features(32, 64, images=1)
    target = (torch.arange(64) // 32).expand(1, 32, 64)
    for name_, feature in features.items():
        feature[:] = target[:, None, :: SHAPES[name_].stride, :: SHAPES[name_].stride]
    optimizer = torch.optim.SGD(head.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        losses.append(head(features, target)[1]["loss_sem_seg_cross_entropy"])
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"IN_FEATURES": ["res2", "res9"]}, r"'res9'; the backbone gives res2 \(stride 4\), res3"),
        ({"IN_FEATURES": []}, "IN_FEATURES is empty"),
        ({"IN_FEATURES": ["res2", "res2"]}, "'res2' of stride 4 and 'res2' of stride 4"),
        ({"LOSSES": [["dize", 1.0]]}, "unknown loss 'dize'"),
    ],
)
def test_wrong_config_is_refused_when_the_head_is_built(
    name: str, head: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        _build(name, **head)


@pytest.mark.parametrize(("name", "steps"), zip(HEADS, [2, 2, 2, 5], strict=True))
def test_group_norm_asks_for_channels_that_32_divides(name: str, steps: int) -> None:
    with pytest.raises(UserError, match="32 groups, which do not divide 40 channels"):
        _build(name, NORM="GN", CONVS_DIM=40, DECODER_CHANNELS=[40] * steps)


@pytest.mark.parametrize("name", ["UNetHead", "AttentionUNetHead"])
@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"DECODER_CHANNELS": [8]}, "has 1 values; 3 maps in IN_FEATURES make 2 steps"),
        ({"IN_FEATURES": ["res5"]}, "needs two maps or more"),
    ],
)
def test_unets_need_one_channel_count_per_step(
    name: str, head: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=f"{message}"):
        _build(name, **head)


@torch.no_grad()
def test_fcn_adds_the_scores_of_its_skips() -> None:
    head, features = _build("FCNHead").eval(), _features(32, 32)
    assert isinstance(head, FCNHead)
    alone = head.layers(features)
    # The skips start from zero: so far the coarsest map, 1 x 1 here, decides alone.
    torch.testing.assert_close(alone, alone[..., :1, :1].expand_as(alone))
    nn.init.ones_(head.skips[0].weight)
    wanted = alone + features["res2"].sum(dim=1, keepdim=True)
    torch.testing.assert_close(head.layers(features), wanted, atol=1e-5, rtol=1e-5)


def test_fcn_of_one_map_is_32s() -> None:
    head = _build("FCNHead", IN_FEATURES=["res5"]).eval()
    assert head(_features(64, 64))[0].shape == (2, 3, 64, 64)
    assert head.stride == 32


def test_unet_takes_the_channels_of_the_skips() -> None:
    head = _build("UNetHead")
    assert isinstance(head, UNetHead)
    assert [step.convs[-1].out_channels for step in head.steps] == [8, 6]


@torch.no_grad()
def test_attention_gate_lets_pass_a_share_of_each_position() -> None:
    gate = AttentionGate(4, 6, ratio=2, norm="")
    skip, below = torch.randn(1, 4, 7, 9), torch.randn(1, 6, 4, 5)
    shares = gate.coefficients(skip, below)
    assert shares.shape == (1, 1, 7, 9)
    assert ((shares > 0) & (shares < 1)).all()
    torch.testing.assert_close(gate(skip, below), gate.out(skip * shares))
    # A closed gate passes nothing.
    nn.init.constant_(gate.score.bias, -1e4)
    assert not gate.coefficients(skip, below).any()


def test_attention_unet_is_a_unet_with_gates() -> None:
    plain = {n for n, _ in _build("UNetHead").named_parameters()}
    gated = {n for n, _ in _build("AttentionUNetHead").named_parameters()}
    assert issubclass(AttentionUNetHead, UNetHead)
    assert plain < gated
    assert all(".gate." in name for name in gated - plain)


def _unet_cfg(channels: list[int]) -> CfgNode:
    cfg = _cfg("UNetHead", IN_FEATURES=[f"down{i}" for i in range(len(channels))])
    cfg.MODEL.BACKBONE.NAME = "build_unet_backbone"
    cfg.MODEL.UNET.CHANNELS = channels
    return cfg


@torch.no_grad()
def test_unet_on_its_contracting_path_keeps_any_size() -> None:
    cfg = _unet_cfg([4, 8, 12])
    backbone = build_backbone(cfg).eval()
    head = build_sem_seg_head(cfg, backbone.output_shape()).eval()
    assert {n: s.stride for n, s in backbone.output_shape().items()} == {
        "down0": 1,
        "down1": 2,
        "down2": 4,
    }
    for size in ((16, 24), (17, 11), (1, 1)):
        assert head(backbone(torch.randn(1, 3, *size)))[0].shape == (1, 3, *size)


def test_complete_unet_has_the_published_layers() -> None:
    cfg = _unet_cfg([64, 128, 256, 512, 1024])
    with torch.device("meta"):
        backbone = build_backbone(cfg)
        head = build_sem_seg_head(cfg, backbone.output_shape())
    convs = [m for part in (backbone, head) for m in part.modules() if isinstance(m, nn.Conv2d)]
    ups = [m for m in head.modules() if isinstance(m, nn.ConvTranspose2d)]
    # "In total the network has 23 convolutional layers", the up-convolutions being four of them.
    assert (len(convs), len(ups)) == (19, 4)
    assert [m.in_channels for m in ups] == [1024, 512, 256, 128]


def test_backbone_of_one_level_is_refused() -> None:
    with pytest.raises(UserError, match=r"MODEL.UNET.CHANNELS is \[8\]"):
        build_backbone(_unet_cfg([8]))

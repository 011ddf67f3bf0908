"""SETR's decoders: sizes, gradients, auxiliary heads, aggregation, wrong configs, on a real ViT."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from detectron2.config import CfgNode, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone, build_sem_seg_head
from seg_projects import add_seg_projects_config
from seg_projects.errors import UserError

HEADS = {
    "SETRNaiveHead": ["block3"],
    "SETRPUPHead": ["block3"],
    "SETRMLAHead": ["block1", "block3"],
}


def _cfg(name: str, **head: Any) -> CfgNode:
    import seg_projects.modeling  # noqa: F401 - registers

    cfg = get_cfg()
    add_seg_projects_config(cfg)
    chosen = cfg.MODEL.SEM_SEG_HEAD
    chosen.NAME, chosen.IN_FEATURES, chosen.NUM_CLASSES = name, HEADS[name], 3
    chosen.CONVS_DIM, chosen.NORM = 8, "BN"
    for key, value in head.items():
        chosen[key] = value
    return cfg


def _build(name: str, *, stride: int = 16, **head: Any) -> nn.Module:
    torch.manual_seed(0)
    shapes = {f"block{i}": ShapeSpec(channels=6, stride=stride) for i in range(4)}
    return build_sem_seg_head(_cfg(name, **head), shapes)


def _features(height: int, width: int) -> dict[str, torch.Tensor]:
    return {f"block{i}": torch.randn(2, 6, height, width) for i in range(4)}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("stride", [8, 16])
@torch.no_grad()
def test_logits_have_the_size_of_the_image(name: str, stride: int) -> None:
    logits, _ = _build(name, stride=stride).eval()(_features(2, 3))
    assert logits.shape == (2, 3, 2 * stride, 3 * stride)


@pytest.mark.parametrize(
    ("name", "stride"), [("SETRNaiveHead", 16), ("SETRPUPHead", 1), ("SETRMLAHead", 4)]
)
@torch.no_grad()
def test_decoder_ends_at_its_stride(name: str, stride: int) -> None:
    head = _build(name).eval()
    assert head.layers(_features(2, 3)).shape == (2, 3, 32 // stride, 48 // stride)


@pytest.mark.parametrize("name", HEADS)
def test_gradients_reach_every_parameter(name: str) -> None:
    head = _build(name)
    logits, losses = head(_features(3, 3), torch.randint(0, 3, (2, 43, 48)))
    assert logits is None
    assert losses.keys() == {"loss_sem_seg_cross_entropy"}
    sum(losses.values()).backward()
    assert {n for n, p in head.named_parameters() if p.grad is None or not p.grad.any()} == set()


def test_auxiliary_heads_are_naive_decoders() -> None:
    classifier = _build("SETRPUPHead").auxiliary_classifier(6)
    theirs = _build("SETRNaiveHead", IN_FEATURES=["block1"])
    shapes = {n: p.shape for n, p in classifier.state_dict().items()}
    assert shapes == {n: p.shape for n, p in theirs.decoder.state_dict().items()}


def test_pup_doubles_the_size_four_times() -> None:
    head = _build("SETRPUPHead")
    convs = [m.kernel_size[0] for m in head.modules() if isinstance(m, nn.Conv2d)]
    assert convs == [3, 3, 3, 3, 1]
    assert sum(isinstance(m, nn.Upsample) for m in head.modules()) == 4


@torch.no_grad()
def test_mla_hands_deeper_maps_down_alone() -> None:
    head, features = _build("SETRMLAHead").eval(), _features(3, 3)
    streams: list[torch.Tensor] = []
    for stream in head.decoder.streams:
        stream.register_forward_hook(lambda _module, _inputs, output: streams.append(output))
    head.layers(features)
    head.layers(features | {"block3": torch.randn(2, 6, 3, 3)})
    head.layers(features | {"block1": torch.randn(2, 6, 3, 3)})
    shallow, deep = streams[::2], streams[1::2]
    assert not torch.allclose(shallow[0], shallow[1])
    assert torch.equal(deep[0], deep[2])


@torch.no_grad()
def test_order_of_features_does_not_matter() -> None:
    features = _features(2, 2)
    one = _build("SETRMLAHead").eval()
    other = _build("SETRMLAHead", IN_FEATURES=["block3", "block1"]).eval()
    assert torch.equal(one(features)[0], other(features)[0])


@pytest.mark.parametrize(
    ("name", "stride", "head", "message"),
    [
        ("SETRNaiveHead", 16, {"IN_FEATURES": ["block9"]}, r"'block9'; the backbone gives block0"),
        ("SETRNaiveHead", 16, {"IN_FEATURES": []}, "IN_FEATURES is empty"),
        ("SETRNaiveHead", 16, {"IN_FEATURES": ["block0", "block1"]}, "SETRNaiveHead takes one map"),
        ("SETRPUPHead", 14, {}, "'block3' of stride 14; SETRPUPHead doubles"),
        ("SETRMLAHead", 16, {"IN_FEATURES": ["block1"]}, "takes two maps or more"),
        ("SETRMLAHead", 14, {}, "a multiple of 4"),
    ],
)
def test_wrong_config_is_refused_when_the_head_is_built(
    name: str, stride: int, head: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        _build(name, stride=stride, **head)


@torch.no_grad()
def test_stands_on_a_vit_of_timm() -> None:
    pytest.importorskip("timm", reason="the extra `models` is not installed")
    cfg = _cfg("SETRMLAHead", IN_FEATURES=["block1", "block2"])
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.FREEZE_AT = "build_timm_backbone", 0
    cfg.MODEL.TIMM.NAME, cfg.MODEL.TIMM.OUT_INDICES = "vit_tiny_patch16_224", [1, 2]
    backbone = build_backbone(cfg).eval()
    head = build_sem_seg_head(cfg, backbone.output_shape()).eval()
    assert head(backbone(torch.randn(1, 3, 32, 48)))[0].shape == (1, 3, 32, 48)

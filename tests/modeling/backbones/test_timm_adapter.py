"""``timm`` models as backbones: shapes, names, equality, norms, frozen stages, wrong configs."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import nn

from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_backbone, build_sem_seg_head
from seg_projects import add_seg_projects_config
from seg_projects.errors import UserError

timm = pytest.importorskip("timm", reason="the extra `models` is not installed")

RESNET = {"res1": (64, 2), "res2": (64, 4), "res3": (128, 8), "res4": (256, 16), "res5": (512, 32)}
MODELS: dict[str, tuple[int, dict[str, tuple[int, int]]]] = {
    # name: side of the image, {map: (channels, stride)}
    "mobilenetv3_small_100": (
        64,
        {"res1": (16, 2), "res2": (16, 4), "res3": (24, 8), "res4": (48, 16), "res5": (576, 32)},
    ),
    "resnet18.a1_in1k": (64, RESNET),
    "convnext_atto": (
        64,
        {"res2": (40, 4), "res3": (80, 8), "res4": (160, 16), "res5": (320, 32)},
    ),
    # Those two are trained at 224; here equal to timm, which takes no other size by itself.
    "swin_tiny_patch4_window7_224": (
        224,
        {"res2": (96, 4), "res3": (192, 8), "res4": (384, 16), "res5": (768, 32)},
    ),
    "vit_tiny_patch16_224": (
        224,
        {"block9": (192, 16), "block10": (192, 16), "block11": (192, 16)},
    ),
}


def _cfg(
    name: str, *, freeze_at: int = 0, backbone: str = "build_timm_backbone", **keys: Any
) -> CfgNode:
    import seg_projects.modeling  # noqa: F401 - registers

    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.FREEZE_AT = backbone, freeze_at
    cfg.MODEL.TIMM.NAME = name
    for key, value in keys.items():
        cfg.MODEL.TIMM[key] = value
    return cfg


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_maps_are_those_of_timm(name: str) -> None:
    size, wanted = MODELS[name]
    backbone = build_backbone(_cfg(name)).eval()
    shapes = backbone.output_shape()
    assert {n: (s.channels, s.stride) for n, s in shapes.items()} == wanted
    theirs = timm.create_model(name, pretrained=False, features_only=True, feature_cls="getter")
    # Their names are ours: what timm saves of a whole model loads here.
    theirs.model.load_state_dict(backbone.model.state_dict())
    x = torch.randn(1, 3, size, size)
    for (map_name, got), expected in zip(backbone(x).items(), theirs.eval()(x), strict=True):
        channels, stride = wanted[map_name]
        assert got.shape == (1, channels, size // stride, size // stride)
        assert torch.equal(got, expected)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"])
@torch.no_grad()
def test_transformers_take_any_multiple_of_the_stride(name: str) -> None:
    backbone = build_backbone(_cfg(name, OUT_INDICES=[0, 1])).eval()
    for height, width in ((32, 96), (64, 48)):
        features = backbone(torch.randn(1, 3, height, width))
        assert len(features) == 2
        for key, feature in features.items():
            stride = backbone.output_shape()[key].stride
            assert feature.shape[-2:] == (height // stride, width // stride)


@torch.no_grad()
def test_chosen_maps_alone_are_computed() -> None:
    whole, part = (build_backbone(_cfg("resnet18", OUT_INDICES=i)) for i in ([], [1, 2]))
    assert list(part.output_shape()) == ["res2", "res3"]
    assert part.size_divisibility == 8
    # What follows them is gone.
    dropped = whole.state_dict().keys() - part.state_dict().keys()
    assert {name.split(".")[1] for name in dropped} == {"layer3", "layer4"}


@torch.no_grad()
def test_dilated_stages_keep_their_names() -> None:
    backbone = build_backbone(_cfg("resnet18", OUTPUT_STRIDE=8)).eval()
    assert [s.stride for s in backbone.output_shape().values()] == [2, 4, 8, 8, 8]
    assert list(backbone.output_shape()) == ["res1", "res2", "res3", "res4", "res5"]
    assert backbone(torch.randn(1, 3, 64, 64))["res5"].shape[-2:] == (8, 8)


def test_gray_images_have_one_channel() -> None:
    cfg = _cfg("resnet18", OUT_INDICES=[0])
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [0.5], [0.25]
    assert build_backbone(cfg)(torch.randn(1, 1, 8, 8))["res1"].shape == (1, 64, 4, 4)


@torch.no_grad()
def test_pyramid_and_head_stand_on_it() -> None:
    cfg = _cfg("mobilenetv3_small_100", backbone="build_timm_fpn_backbone")
    cfg.MODEL.FPN.IN_FEATURES, cfg.MODEL.FPN.OUT_CHANNELS = ["res2", "res3", "res4", "res5"], 8
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 3
    backbone = build_backbone(cfg).eval()
    features = backbone(torch.randn(1, 3, 64, 64))
    assert {n: tuple(f.shape[1:]) for n, f in features.items()} == {
        f"p{level}": (8, 64 >> level, 64 >> level) for level in range(2, 7)
    }
    logits, _ = build_sem_seg_head(cfg, backbone.output_shape()).eval()(features)
    assert logits.shape == (1, 3, 64, 64)


@torch.no_grad()
def test_pyramid_ends_above_the_coarsest_map_whatever_its_stride() -> None:
    cfg = _cfg("resnet18", backbone="build_timm_fpn_backbone")
    cfg.MODEL.FPN.IN_FEATURES, cfg.MODEL.FPN.OUT_CHANNELS = ["res3", "res4"], 8
    backbone = build_backbone(cfg).eval()
    features = backbone(torch.randn(1, 3, 64, 64))
    strides = {name: shape.stride for name, shape in backbone.output_shape().items()}
    assert strides == {"p3": 8, "p4": 16, "p5": 32}
    assert {name: 64 // feature.shape[-1] for name, feature in features.items()} == strides


NORMS = {
    "BN": nn.BatchNorm2d,
    "SyncBN": nn.SyncBatchNorm,
    "GN": nn.GroupNorm,
    "FrozenBN": nn.Module,
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["mobilenetv3_small_100", "resnet18"])
def test_batch_norm_becomes_the_norm_of_the_config(name: str, norm: str) -> None:
    backbone = build_backbone(_cfg(name, NORM=norm, OUT_INDICES=[0, 1]))
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d | nn.SyncBatchNorm)]
    assert bool(norms) == (norm in ("BN", "SyncBN"))
    assert backbone.model.bn1.weight.shape == (16 if "mobile" in name else 64,)
    assert isinstance(backbone.model.bn1, NORMS[norm])
    sum(f.sum() for f in backbone.train()(torch.randn(2, 3, 64, 64)).values()).backward()
    assert backbone.model.bn1.weight.requires_grad == (norm != "FrozenBN")


@torch.no_grad()
def test_group_norm_keeps_the_activation() -> None:
    backbone = build_backbone(_cfg("mobilenetv3_small_100", NORM="GN", OUT_INDICES=[0])).eval()
    hard_swish = backbone(torch.randn(1, 3, 32, 32))["res1"]
    assert hard_swish.min() == pytest.approx(-3 / 8, abs=0.01)


@pytest.mark.parametrize(
    ("name", "freeze_at", "frozen"),
    [
        ("resnet18", 0, set()),
        ("resnet18", 1, {"conv1", "bn1"}),
        ("resnet18", 3, {"conv1", "bn1", "layer1", "layer2"}),
        ("swin_tiny_patch4_window7_224", 1, {"patch_embed"}),
        ("swin_tiny_patch4_window7_224", 2, {"patch_embed", "layers.0"}),
        ("vit_tiny_patch16_224", 1, {"cls_token", "pos_embed", "patch_embed"}),
        ("vit_tiny_patch16_224", 2, {"cls_token", "pos_embed", "patch_embed", "blocks.0"}),
        ("mobilenetv3_small_100", 2, {"conv_stem", "bn1", "blocks.0"}),
    ],
)
def test_frozen_stages_take_no_gradient(name: str, freeze_at: int, frozen: set[str]) -> None:
    model = build_backbone(_cfg(name, freeze_at=freeze_at)).model
    still = {n for n, p in model.named_parameters() if not p.requires_grad}
    still |= {n for n, _ in model.named_buffers() if n.endswith("bn1.weight")}
    assert {n for n in still if not any(f"{n}.".startswith(f"{f}.") for f in frozen)} == set()
    learning = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {n for n in learning if any(f"{n}.".startswith(f"{f}.") for f in frozen)} == set()
    assert learning


def test_frozen_batch_norm_keeps_its_statistics() -> None:
    backbone = build_backbone(_cfg("resnet18", freeze_at=2)).train()
    before = {n: b.clone() for n, b in backbone.named_buffers()}
    backbone(torch.randn(2, 3, 64, 64))
    changed = {n for n, b in backbone.named_buffers() if not torch.equal(b, before[n])}
    assert {name.split(".")[1] for name in changed} == {"layer2", "layer3", "layer4"}


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("resnet81", {}, "'resnet81', which timm .* does not have. Near names: .*resnet18"),
        ("hf_hub:someone/model", {}, "does not have"),
        ("resnet18", {"OUT_INDICES": [9]}, "resnet18 does not go with OUT_INDICES"),
        ("vit_tiny_patch16_224", {"OUTPUT_STRIDE": 8}, "does not go with OUTPUT_STRIDE 8"),
        ("resnet18", {"NORM": "bn"}, "NORM is 'bn'; known: '', 'BN'"),
        ("vit_tiny_patch16_224", {"NORM": "GN"}, "vit_tiny_patch16_224 has no BatchNorm"),
    ],
)
def test_wrong_config_is_refused_when_the_backbone_is_built(
    name: str, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build_backbone(_cfg(name, **keys))


def test_pyramid_names_the_maps_that_there_are() -> None:
    cfg = _cfg("resnet18", backbone="build_timm_fpn_backbone")
    cfg.MODEL.FPN.IN_FEATURES = ["p2"]
    with pytest.raises(UserError, match=r"'p2'; resnet18 gives res1 \(stride 2\), res2"):
        build_backbone(cfg)
    cfg.MODEL.FPN.IN_FEATURES = []
    with pytest.raises(UserError, match=r"FPN.IN_FEATURES is empty; resnet18 gives res1"):
        build_backbone(cfg)


def test_missing_timm_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match="pip install timm"):
        build_backbone(_cfg("resnet18"))

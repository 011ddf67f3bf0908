"""The Xception-style U-Net: the published sizes, images of any size, wrong configs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_runs import REPOSITORY
from torch import nn

from detectron2.config import CfgNode, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone, build_model, build_sem_seg_head
from seg_projects import add_seg_projects_config
from seg_projects.engine import load_config
from seg_projects.errors import UserError


def _cfg(**keys: Any) -> CfgNode:
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.MODEL.BACKBONE.NAME = "build_xception_unet_backbone"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.XCEPTION_UNET.CHANNELS = [4, 6, 8]
    head = cfg.MODEL.SEM_SEG_HEAD
    head.NAME, head.IN_FEATURES, head.NUM_CLASSES, head.NORM = (
        "XceptionUNetHead",
        ["down3"],
        3,
        "BN",
    )
    cfg.merge_from_list([part for item in keys.items() for part in item])
    return cfg


def test_config_of_the_pets_has_the_parameters_of_the_published_network() -> None:
    cfg = load_config(REPOSITORY / "configs" / "pets" / "xception_unet.yaml")
    cfg.MODEL.DEVICE = "meta"
    model = build_model(cfg)
    count = sum(p.numel() for p in model.parameters())
    # Keras's example has 2,058,979 parameters, of which 3,776 are running means and variances of
    # 1,888 normalised channels. The convolutions before these have a bias each there, which the
    # normalisation takes away again; ours have none.
    assert count == 2_058_979 - 3_776 - 1_888
    separable = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert [m.in_channels for m in separable] == [32, 64, 64, 128, 128, 256]


@torch.no_grad()
def test_backbone_halves_any_size_and_the_head_gives_it_back() -> None:
    cfg = _cfg()
    backbone = build_backbone(cfg).eval()
    shapes = {n: (s.channels, s.stride) for n, s in backbone.output_shape().items()}
    assert shapes == {"down1": (4, 2), "down2": (6, 4), "down3": (8, 8)}
    head = build_sem_seg_head(cfg, backbone.output_shape()).eval()
    features = backbone(torch.randn(1, 3, 17, 26))
    assert [f.shape[-2:] for f in features.values()] == [(9, 13), (5, 7), (3, 4)]
    # The image lies in the upper left corner.
    assert head(features)[0].shape == (1, 3, 24, 32)


@torch.no_grad()
def test_doubling_last_is_doubling_first() -> None:
    head = build_sem_seg_head(_cfg(), {"down3": ShapeSpec(channels=8, stride=8)}).eval()
    block, x = head.blocks[0], torch.randn(1, 8, 3, 5)
    wide = nn.functional.interpolate(x, scale_factor=2)
    wanted = nn.functional.interpolate(block.convs(x), scale_factor=2) + block.residual(wide)
    torch.testing.assert_close(block(x), wanted)


def test_finer_maps_are_added_where_their_size_is_reached() -> None:
    shapes = {f"down{i}": ShapeSpec(channels=4, stride=2**i) for i in (1, 2, 3)}
    cfg = _cfg(**{"MODEL.SEM_SEG_HEAD.IN_FEATURES": ["down1", "down3"]})
    head = build_sem_seg_head(cfg, shapes)
    # Blocks end at strides 4, 2 and 1, with 4, 2 and 1 channels.
    assert {name: skip.out_channels for name, skip in head.skips.items()} == {"down1": 2}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"MODEL.XCEPTION_UNET.CHANNELS": [8]}, r"XCEPTION_UNET.CHANNELS is \[8\]"),
        ({"MODEL.XCEPTION_UNET.NORM": "GN"}, "32 groups, which do not divide 4"),
    ],
)
def test_wrong_backbone_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_backbone(_cfg(**keys))


@pytest.mark.parametrize(
    ("stride", "channels", "message"),
    [
        (8, [4, 4], "has 2 values; from stride 8 to 1 there are 3 blocks"),
        (6, [], "has stride 6; XceptionUNetHead doubles sizes"),
        (1, [], "has stride 1; XceptionUNetHead doubles sizes"),
    ],
)
def test_wrong_number_of_doublings_is_refused(
    stride: int, channels: list[int], message: str
) -> None:
    cfg = _cfg(**{"MODEL.SEM_SEG_HEAD.DECODER_CHANNELS": channels})
    with pytest.raises(UserError, match=message):
        build_sem_seg_head(cfg, {"down3": ShapeSpec(channels=8, stride=stride)})
